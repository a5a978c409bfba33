"""Measures how much faster other precisions would score on this machine, for a plan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.errors import UserError
from siftlm.scorers.contract import TokenisedDocuments
from siftlm.scorers.lm_forward import Forward

if TYPE_CHECKING:
    from siftlm.scorers.lm_documents import DocumentScorer

TEXTS, CHARACTERS = 8, 1000  # about 2,000 tokens, a row
CPU_DTYPES = ("bf16", "int8")
WORTH = 1.1  # times as fast as float32, at least, to be told


def faster_dtypes(scorer: DocumentScorer, texts: pa.Array) -> list[str]:
    """Returns a line that says how many times as fast as float32 other precisions score texts; none where none is.

    All of them score the beginnings of the same few texts, in CPU seconds of one thread. Nothing is measured but for a
    model that is float32 on a CPU, and no precision that cannot run here.
    """
    if scorer.device.type != "cpu" or scorer.model.dtype != "fp32":
        return []
    documents = scorer.tokenise(pc.utf8_slice_codeunits(texts.slice(0, TEXTS), 0, CHARACTERS))
    exact = _seconds(scorer, documents, scorer.forward)
    ratios = {dtype: exact / _seconds(scorer, documents, forward) for dtype, forward in _rounded(scorer)}
    worth = [f'"{dtype}" {ratio:.1f}' for dtype, ratio in ratios.items() if ratio >= WORTH]
    if not worth:
        return []
    return [
        f"{scorer.place}.dtype: scores that many times as fast as fp32 here: {', '.join(worth)} (measured on "
        f"{int(documents.token_count.sum()):,} tokens of the sample); each is compared with fp32 when it loads"
    ]


def _rounded(scorer: DocumentScorer) -> Iterator[tuple[str, Forward]]:
    """The precisions that run here, each with a copy of the model."""
    for dtype in CPU_DTYPES:
        try:
            yield dtype, scorer.rounded(dtype, deepcopy(scorer.model))
        except UserError:  # no instructions, no package, or an architecture that is not converted
            continue


def _seconds(scorer: DocumentScorer, documents: TokenisedDocuments, forward: Forward) -> float:
    """CPU seconds of scoring after one document that warms up; memory and tables are made then."""
    scorer.run(documents[np.array([0])], forward)
    started = time.process_time()
    scorer.run(documents, forward)
    return max(time.process_time() - started, 1e-9)
