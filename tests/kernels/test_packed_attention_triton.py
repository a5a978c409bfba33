"""The fused kernel in Triton's interpreter, against the reference; in a process of its own, which interprets."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siftlm_kernels.packed_attention import packed_attention, query_blocks

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in the interpreting process")


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.skipif(INTERPRETED, reason="starts the interpreting process")
def test_the_fused_kernel_passes_in_the_interpreter(interpret: Callable[[str], None]) -> None:
    """All tests below, in a process of their own."""
    interpret(__file__)


def states(tokens: int, heads: int, groups: int, size: int) -> tuple[torch.Tensor, ...]:
    """query, key, value."""
    generator = torch.Generator().manual_seed(tokens)
    return tuple(torch.randn(tokens, count, size, generator=generator) for count in (heads, groups, groups))


def offsets_of(lengths: list[int]) -> torch.Tensor:
    """Cumulated lengths, the last one repeated."""
    return torch.tensor(np.cumsum([0, *lengths, 0, 0]), dtype=torch.int32)


@interpreted
@pytest.mark.parametrize(
    ("lengths", "heads", "groups", "size"),
    [([5, 0, 130, 1, 257], 4, 2, 16), ([128], 2, 2, 32), ([64, 65, 63], 2, 1, 64), ([200], 1, 1, 128)],
)
def test_it_equals_the_reference(lengths: list[int], heads: int, groups: int, size: int) -> None:
    """Lengths on both sides of a block's, grouped heads, every size of a head."""
    query, key, value = states(sum(lengths), heads, groups, size)
    fused = packed_attention(query, key, value, offsets_of(lengths), scale=0.3, impl="triton")
    expected = packed_attention(query, key, value, offsets_of(lengths), scale=0.3, impl="reference")
    torch.testing.assert_close(fused, expected, atol=2e-6, rtol=1e-5)


@interpreted
def test_it_reads_states_where_they_lie() -> None:
    """Slices of one product, as GPT-2 makes them, and heads before tokens, as rotary embeddings leave them."""
    whole = torch.randn(40, 3, 2, 16)
    query, key, value = whole.unbind(1)
    expected = packed_attention(query, key, value, offsets_of([30, 10]), impl="reference")
    for parts in ((query, key, value), [x.transpose(0, 1).contiguous().transpose(0, 1) for x in (query, key, value)]):
        fused = packed_attention(*parts, offsets_of([30, 10]), impl="triton")
        torch.testing.assert_close(fused, expected, atol=2e-6, rtol=1e-5)


@interpreted
def test_a_document_has_the_same_bits_wherever_it_stands() -> None:
    """Alone, and between others that shift it by no multiple of a block."""
    query, key, value = states(400, 2, 2, 16)
    alone = packed_attention(*(x[71:271] for x in (query, key, value)), offsets_of([200]), impl="triton")
    among = packed_attention(query, key, value, offsets_of([71, 200, 129]), impl="triton")
    assert torch.equal(among[71:271], alone)


@given(lengths=st.lists(st.integers(0, 40), max_size=20), block=st.sampled_from([1, 8, 16]))
def test_blocks_hold_every_query_once(lengths: list[int], block: int) -> None:
    """In its own document, the blocks with the most keys before them first."""
    offsets = np.cumsum([0, *lengths]).astype(np.int32)
    blocks = query_blocks(offsets, block)
    held = sorted((first, min(first + block, stop)) for first, _, stop in blocks.tolist() if first < stop)
    assert [query for first, stop in held for query in range(first, stop)] == list(range(sum(lengths)))
    documents = {span for span in pairwise(offsets.tolist()) if span[0] < span[1]}
    assert all((start, stop) in documents for first, start, stop in blocks.tolist() if first < stop)
    assert (np.diff(blocks[:, 0] - blocks[:, 1]) <= 0).all()
    assert len(blocks) >= 2
