"""Cuts packed documents into blocks of queries for the fused kernel of `packed_attention`.

Shapes: N documents, W blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.ragged import within

BLOCK_Q = 64
HEAD_SIZES = (16, 32, 64, 128)  # of which the kernel can make tiles


def query_blocks(offsets: NDArray[np.int32], block: int = BLOCK_Q) -> NDArray[np.int32]:
    """Returns int32 `[W, 3]`: the first query of each block, and the start and stop of its document.

    Blocks with the most keys come first.

    A document is cut from its own beginning, so that what a block computes depends on its document alone. Two blocks
    at least: what is missing are blocks without a query, for compilers that treat lengths of 0 and 1 as constants.

    Args:
        offsets: int32 `[N + 1]`, ascending; repeated values are empty documents.
    """
    starts, stops = offsets[:-1], offsets[1:]
    counts = -(-(stops - starts) // block)
    document = np.repeat(np.arange(len(counts)), counts)
    place = within(counts)
    order = np.argsort(-place, kind="stable")
    document, place = document[order], place[order]
    blocks = np.stack([starts[document] + place * block, starts[document], stops[document]], 1).astype(np.int32)
    return blocks if len(blocks) > 1 else np.concatenate([blocks, np.zeros((2 - len(blocks), 3), np.int32)])
