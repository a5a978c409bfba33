"""Holds what a model was measured by at its marks: exact sums of nats, a document each."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from siftlm.proxies.training.sampler import Floats
from siftlm.proxies.training.tokens import TokenFile

MARKS = "marks.parquet"


@dataclass(frozen=True)
class Evaluation:
    """Holds the sums of nats of all documents of a held-out file after some steps, float64 [documents].

    `averaged` says whether they are those of the mean of the last weights.
    """

    step: int
    tokens: int  # trained on until then
    averaged: bool
    nll_sums: Floats


def group_bits_per_byte(file: TokenFile, nll_sums: Floats) -> Floats:
    """Returns sum(nats) / (ln 2 * sum(bytes)) of every group, not a number for one without bytes."""
    nats = np.bincount(file.document_groups, nll_sums, len(file.groups))
    sizes = np.bincount(file.document_groups, file.byte_counts, len(file.groups))
    return np.where(sizes > 0, nats / (log(2) * np.maximum(sizes, 1)), np.nan)


def last_sums(folder: Path) -> Floats:
    """Returns the sums of nats of the last mark of a trained model's folder, float64 [documents].

    Where the last weights were averaged, they are those of the mean.
    """
    table = pq.read_table(folder / MARKS, columns=["step", "averaged", "nll_sum"])
    last = table.filter(pc.equal(table["step"], pc.max(table["step"])))
    if pc.any(last["averaged"]).as_py():
        last = last.filter(last["averaged"])
    return np.asarray(last["nll_sum"], np.float64)
