"""Packed attention against one document at a time in float64."""

from __future__ import annotations

import pytest
import torch

from siftlm_kernels.packed_attention import VARLEN_NAMES, equal_length_runs, packed_attention

LENGTHS = [[7], [1, 1, 1], [33, 33, 5, 0, 0, 5, 1], [200, 64, 64, 3]]


def states(tokens: int, heads: int, groups: int, size: int = 16) -> tuple[torch.Tensor, ...]:
    """query, key, value."""
    generator = torch.Generator().manual_seed(tokens)
    return tuple(torch.randn(tokens, count, size, generator=generator) for count in (heads, groups, groups))


def offsets_of(lengths: list[int], spare: int = 0) -> torch.Tensor:
    """Cumulated lengths, the last one repeated `spare` times."""
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    return torch.cat([bounds, bounds[-1:].repeat(spare)]).to(torch.int32)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("impl", ["reference", "sdpa", "blocks", "auto"])
def test_every_document_attends_to_itself_alone(lengths: list[int], heads: int, groups: int, impl: str) -> None:
    """Each document's output is that of the document by itself, with grouped heads too; the rest of the row is 0."""
    query, key, value = states(sum(lengths) + 9, heads, groups)
    packed = packed_attention(query, key, value, offsets_of(lengths, spare=4), scale=0.3, impl=impl)  # type: ignore[arg-type]
    start = 0
    for length in lengths:
        span, start = slice(start, start + length), start + length
        q, k, v = (
            x[span].double().repeat_interleave(heads // x.shape[1], 1).transpose(0, 1) for x in (query, key, value)
        )
        scores = (q @ k.transpose(1, 2) * 0.3).masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
        expected = (scores.softmax(-1) @ v).transpose(0, 1).float()
        torch.testing.assert_close(packed[span], expected, atol=2e-6, rtol=1e-5)
    assert not packed[start:].any()


@pytest.mark.parametrize("impl", ["sdpa", "blocks"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_document_has_the_same_bits_wherever_it_stands(impl: str, dtype: torch.dtype) -> None:
    """Alone, behind others, and beside others of its length."""
    query, key, value = (x.to(dtype) for x in states(64 * 4, 4, 4))
    alone = packed_attention(*(x[64:128] for x in (query, key, value)), offsets_of([64]), impl=impl)  # type: ignore[arg-type]
    for lengths in ([64, 64, 64, 64], [64, 64, 100, 28], [13, 51, 64]):
        packed = packed_attention(query, key, value, offsets_of(lengths), impl=impl)  # type: ignore[arg-type]
        assert torch.equal(packed[64:128], alone)


def test_blocks_of_bfloat16_are_near_the_reference() -> None:
    """Documents of several blocks; scores and weights are rounded to eight bits."""
    query, key, value = (x.bfloat16() for x in states(700, 4, 2))
    offsets = offsets_of([300, 129, 128, 143])
    found = packed_attention(query, key, value, offsets, impl="blocks").float()
    expected = packed_attention(query.float(), key.float(), value.float(), offsets, impl="reference")
    assert (found - expected).abs().max() < 3e-2
    assert (found - expected).abs().mean() < 2e-3


def test_neighbours_of_one_length_share_a_call() -> None:
    """Runs are found across the row; empty documents end a run and cost nothing."""
    assert equal_length_runs([0, 8, 16, 24, 29, 29, 34, 42]) == [(0, 3, 8), (24, 1, 5), (29, 1, 5), (34, 1, 8)]


def test_an_unknown_implementation_is_an_error() -> None:
    """Not a silent default."""
    with pytest.raises(ValueError, match="impl"):
        packed_attention(*states(4, 2, 2), offsets_of([4]), impl="flash")  # type: ignore[arg-type]


def test_the_installed_torch_takes_the_arguments_of_variable_lengths() -> None:
    """Causality is asked for by `window_size`, as by every torch since 2.11."""
    assert {"window_size", "scale"} <= VARLEN_NAMES


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("lengths", [*LENGTHS, [1023, 700, 129, 128, 127, 2]])
@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("impl", ["triton", "varlen"])
def test_kernels_of_the_device_agree(lengths: list[int], size: int, dtype: torch.dtype, impl: str) -> None:
    """Half precision on CUDA against the reference."""
    query, key, value = (x.cuda().to(dtype) for x in states(sum(lengths), 8, 4, size))
    offsets = offsets_of(lengths, spare=3).cuda()
    fast = packed_attention(query, key, value, offsets, impl=impl)  # type: ignore[arg-type]
    expected = packed_attention(query, key, value, offsets, impl="reference")
    torch.testing.assert_close(fast, expected, atol=4e-3 if dtype is torch.float16 else 3e-2, rtol=0)
