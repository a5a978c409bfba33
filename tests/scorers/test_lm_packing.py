"""Windows and rows as arithmetic: every token once, every window once, nothing past the end of a row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siftlm.scorers.lm_documents import cuda_row_tokens
from siftlm.scorers.lm_packing import Packing, Windows, aligned, build_row, predicted, stride_tokens, windows


def of_document(length: int, context: int, stride: int) -> Windows:
    """The windows of one document, behind another one of ten tokens."""
    found = windows(np.array([0, 10]), np.array([0, length]), context, stride)
    return Windows(found.start - 10, found.stop - 10, found.first_new - 10)


LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=60)


@given(length=st.integers(0, 400), context=st.integers(2, 64), share=st.floats(0.01, 1.0))
def test_every_token_but_the_first_is_scored_once_with_enough_before_it(
    length: int, context: int, share: float
) -> None:
    """Windows fit the context, and tokens after the first window have `context - stride` tokens before them."""
    stride = stride_tokens(share, context)
    found = of_document(length, context, stride)
    assert predicted(found).tolist() == list(range(1, length))
    assert (found.stop - found.start <= context).all()
    assert (found.first_new - found.start >= context - stride)[1:].all()


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
    windows_found = of_document(length, context, stride)
    new = windows_found.stop - windows_found.first_new
    found = list(zip(windows_found.start.tolist(), windows_found.stop.tolist(), new.tolist(), strict=True))
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
    lengths = sorted(lengths, reverse=True)
    tokens = np.concatenate([np.arange(n * 1000 + 1, n * 1000 + length + 2) for n, length in enumerate(lengths)])
    sizes = np.array(lengths) + 1
    all_windows = windows(np.cumsum(sizes) - sizes, sizes, 50, 40)
    all_windows = all_windows[np.argsort(-all_windows.length, kind="stable")]
    packing = Packing(64, 8, 8, stretch)
    shapes = set()
    for members in packing.rows(all_windows.length.tolist()):
        row = build_row(all_windows[members], tokens.astype(np.int32), packing, fill=0)
        assert (row.tokens[row.read] + 1 == tokens[row.places]).all()
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
    tokens = np.arange(100, dtype=np.int32)
    row = build_row(of_document(100, 100, 75), tokens, Packing(64, 8, 8, 0), fill=0)
    assert len(row.tokens) == 104


@pytest.mark.parametrize(("width", "tokens"), [(128, 1 << 18), (256, 1 << 17), (384, 1 << 16), (768, 1 << 16)])
def test_a_narrow_model_has_longer_rows_on_cuda(width: int, tokens: int) -> None:
    assert cuda_row_tokens(width) == tokens
