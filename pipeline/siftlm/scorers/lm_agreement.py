"""Measures, when a model loads, whether a reduced precision scores sample texts as another precision does.

What rounding does to a model cannot be known without it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from siftlm.errors import UserError
from siftlm.statistics.ranks import spearman
from siftlm.statistics.units import bits_per_byte, perplexity

log = logging.getLogger(__name__)

PROBABILITY = 0.02  # that a probability may differ by
LONG_TOKENS = 64  # of a document whose mean is compared


@dataclass(frozen=True)
class AgreementBounds:
    """States how well a precision must agree with a more exact one.

    `ranks` is Spearman's correlation over the sample texts, at least; `nats` the difference of the means of those of
    LONG_TOKENS tokens or more, at most, or None where ranks alone decide.
    """

    ranks: float
    nats: float | None = None


BOUNDS = {"int8": AgreementBounds(0.995), "bf16": AgreementBounds(0.9995, 0.01), "fp8": AgreementBounds(0.999)}
"""SmolLM2-135M has a correlation of 0.997 in int8."""


def sample_texts() -> pa.Array:
    """Returns 64 texts of up to 800 characters: 48 web pages of C4 and 16 PEPs."""
    lines = resources.files("siftlm.scorers").joinpath("lm_samples.jsonl").read_text(encoding="utf-8").splitlines()
    return pa.array([json.loads(line)["text"] for line in lines], pa.large_string())


def check_agreement(
    place: str, dtype: str, exact: pa.RecordBatch, rounded: pa.RecordBatch, exact_dtype: str = "fp32"
) -> dict[str, str]:
    """Returns how well two scores of equal texts agree, for the metadata of a score file.

    `rank_agreement` is the lower of the rank correlations of perplexity and bits per byte, and `mean_difference` the
    largest difference of the means of documents of LONG_TOKENS tokens or more, in nats.

    Raises:
        UserError: at `place` (`score.<name>.dtype`), where they are beyond the BOUNDS of `dtype`.
    """
    bounds = BOUNDS[dtype]
    agreement = {
        name: _spearman([rate(batch["nll_sum"], batch[count]) for batch in (exact, rounded)])
        for name, rate, count in (
            ("perplexity", perplexity, "scored_token_count"),
            ("bits per byte", bits_per_byte, "byte_count"),
        )
    }
    lowest, difference = min(agreement.values()), mean_difference(exact, rounded)
    said = ", ".join(f"{value:.4f} by {name}" for name, value in agreement.items())
    apart = f"means within {difference:.4f} nats"
    log.info(
        "%s: %s ranks %d sample texts as %s does: Spearman %s; %s", place, dtype, len(exact), exact_dtype, said, apart
    )
    if not lowest >= bounds.ranks:
        raise UserError(
            f"{place}: must rank sample texts as {exact_dtype} does, with a Spearman correlation of {bounds.ranks} or "
            f"more, got {dtype} with {said}; use {exact_dtype}"
        )
    if bounds.nats is not None and not difference <= bounds.nats:
        raise UserError(
            f"{place}: must give sample texts the means of {exact_dtype} within {bounds.nats} nats, got {dtype} with "
            f"differences of up to {difference:.4f}; use {exact_dtype}"
        )
    return {"rank_agreement": f"{lowest:.4f}", "mean_difference": f"{difference:.4f}"}


def check_values(
    place: str, exact_NK: NDArray[np.float32], rounded_NK: NDArray[np.float32], probabilities: bool
) -> dict[str, str]:
    """Returns how far a classifier's or rater's outputs in bf16 are from those in float32.

    Both are those of the same N sample texts.

    Raises:
        UserError: at `place` (`annotate.models.<name>.dtype`), where probabilities differ by more than
            PROBABILITY, or where the ranks of an output without bounds have a Spearman correlation below that of bf16
            scores.
    """
    difference = float(np.abs(exact_NK - rounded_NK).max(initial=0.0))
    log.info("%s: bf16 gives %d sample texts the values of fp32 within %.1e", place, len(exact_NK), difference)
    if probabilities:
        if not difference <= PROBABILITY:
            raise UserError(
                f"{place}: must give sample texts the probabilities of fp32 within {PROBABILITY}, got bf16 with "
                f"differences of up to {difference:.4f}; use fp32"
            )
        return {"value_difference": f"{difference:.1e}"}
    columns = [np.stack(pair).astype(np.float64) for pair in zip(exact_NK.T, rounded_NK.T, strict=True)]
    ranks = min(_correlation(*column) for column in columns)
    if not ranks >= BOUNDS["bf16"].ranks:
        raise UserError(
            f"{place}: must rank sample texts as fp32 does, with a Spearman correlation of {BOUNDS['bf16'].ranks} or "
            f"more, got bf16 with {ranks:.4f}; use fp32"
        )
    return {"value_difference": f"{difference:.1e}", "rank_agreement": f"{ranks:.4f}"}


def mean_difference(exact: pa.RecordBatch, rounded: pa.RecordBatch) -> float:
    """Returns the largest difference of the mean nats of documents of LONG_TOKENS tokens or more, 0 without any."""
    tokens = np.asarray(exact["scored_token_count"])
    long = tokens >= LONG_TOKENS
    sums = [np.asarray(batch["nll_sum"].fill_null(np.nan)) for batch in (exact, rounded)]
    differences = np.abs(sums[0] - sums[1])[long] / tokens[long]
    return float(differences.max(initial=0.0))


def _spearman(rates: Sequence[pa.Array]) -> float:
    exact, rounded = (np.asarray(rate.fill_null(np.nan)) for rate in rates)
    return _correlation(exact, rounded)


def _correlation(exact: NDArray[np.float64], rounded: NDArray[np.float64]) -> float:
    agreement = None if np.isnan([exact, rounded]).any() else spearman(exact, rounded)
    return np.nan if agreement is None else agreement
