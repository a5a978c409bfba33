"""Windows and rows as arithmetic: every token once, every window once, nothing past the end of a row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siftlm.scorers.lm_packing import Packing, Window, aligned, build_row, stride_tokens, windows

LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=60)


@given(length=st.integers(0, 400), context=st.integers(2, 64), share=st.floats(0.01, 1.0))
def test_every_token_but_the_first_is_scored_once_with_enough_before_it(
    length: int, context: int, share: float
) -> None:
    """Windows fit the context, and tokens after the first window have `context - stride` tokens before them."""
    stride = stride_tokens(share, context)
    found = list(windows(0, length, context, stride))
    scored = [token for window in found for token in range(window.first_new, window.stop)]
    assert scored == list(range(1, length))
    assert all(window.stop - window.start <= context for window in found)
    assert all(window.first_new - window.start >= context - stride for window in found[1:])


def test_the_windows_are_those_of_the_transformers_guide() -> None:
    """The strided loop of the transformers documentation on perplexity, written out."""
    length, context, stride = 1000, 128, 96
    expected, scored_to = [], 0
    for begin in range(0, length, stride):
        end = min(begin + context, length)
        expected.append((begin, end, end - scored_to))  # trg_len of the guide
        scored_to = end
        if end == length:
            break
    found = [(w.start, w.stop, w.stop - w.first_new) for w in windows(0, length, context, stride)]
    first, *rest = expected
    assert found == [(first[0], first[1], first[2] - 1), *rest]  # nothing predicts the very first token


@pytest.mark.parametrize(("stride", "tokens"), [(0.75, 48), ("disjoint", 63), (1.0, 63), (0.001, 1)])
def test_a_stride_is_a_share_of_the_context_and_leaves_one_token_of_overlap(stride: float | str, tokens: int) -> None:
    """Disjoint windows share the token that is read in one and was predicted in the other."""
    assert stride_tokens(stride, 64) == tokens


@given(lengths=LENGTHS, alignment=st.sampled_from([1, 8]), most=st.integers(1, 9))
def test_rows_hold_every_window_once_within_their_bounds(lengths: list[int], alignment: int, most: int) -> None:
    """Only a window that is longer than a row has a row that is longer."""
    lengths = sorted(lengths, reverse=True)
    packing = Packing(64, alignment, most, 0)
    rows = packing.rows(lengths)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    for row in rows:
        assert len(row) <= most
        size = sum(aligned(lengths[index], alignment) for index in row)
        assert size <= 64 or len(row) == 1


@given(lengths=LENGTHS, stretch=st.sampled_from([0, 10]))
def test_a_row_reads_what_comes_before_its_targets(lengths: list[int], stretch: int) -> None:
    """Token ids that count up show it: every target is the token after the one at its place in the row."""
    documents, first = [], 1
    for length in sorted(lengths, reverse=True):
        documents.append(np.arange(first, first + length + 1, dtype=np.int32))
        first += 1000
    all_windows = [w for n, ids in enumerate(documents) for w in windows(n, len(ids), 50, 40)]
    all_windows.sort(key=lambda window: -window.length)
    packing = Packing(64, 8, 8, stretch)
    shapes = set()
    for members in packing.rows([window.length for window in all_windows]):
        row = build_row([all_windows[index] for index in members], documents, packing, fill=0)
        assert (row.tokens[row.read] + 1 == row.targets).all()
        assert (np.diff(row.offsets) >= 0).all()
        assert row.offsets[-1] <= len(row.tokens) == 64
        assert stretch == 0 or row.offsets[-1] == 64
        assert row.positions.max() < 50
        starts = row.offsets[:-1][np.diff(row.offsets) > 0]
        assert (row.positions[starts] == 0).all()
        shapes.add((len(row.tokens), len(row.offsets)))
    assert len(shapes) == 1


def test_a_window_longer_than_a_row_has_its_own() -> None:
    """Its shape is its own aligned length, whatever else is scored."""
    row = build_row([Window(0, 0, 100, 1)], [np.arange(100, dtype=np.int32)], Packing(64, 8, 8, 0), fill=0)
    assert len(row.tokens) == 104
