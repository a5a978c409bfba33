"""Attention a block of queries at a time is the naive expression, and reads no key that the block does not see."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from siftlm_kernels import blocked_attention as module
from siftlm_kernels.blocked_attention import SeenKeys, Sight, all_keys, block_queries, blocked_attention, causal

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a soft cap": {"softcap": 0.7},
    "sinks": {"sinks_H": torch.linspace(-2, 3, 4)},
    "a soft cap and sinks": {"softcap": 2.0, "sinks_H": torch.linspace(-2, 3, 4)},
}


def states(rows: int, queries: int, keys: int, groups: int = 2) -> list[torch.Tensor]:
    """Queries of four heads, keys, and values that are longer than keys."""
    generator = torch.Generator().manual_seed(queries)
    shapes = ((rows, 4, queries, 8), (rows, groups, keys, 8), (rows, groups, keys, 12))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def naive(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, hidden: torch.Tensor, scale: float,
    softcap: float | None = None, sinks_H: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """The expression of the docstring in float64."""
    repeats = q.shape[1] // k.shape[1]
    k, v = k.double().repeat_interleave(repeats, 1), v.double().repeat_interleave(repeats, 1)
    scores = q.double() @ k.transpose(2, 3) * scale
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    scores = scores.masked_fill(hidden, float("-inf"))
    if sinks_H is not None:
        sinks = sinks_H.double().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], -1)
    return (scores.softmax(-1)[..., : k.shape[2]] @ v).float()


def window(behind: int) -> Sight:
    """A sight of so many keys up to a query's own."""

    def sight(first: int, stop: int, device: torch.device) -> SeenKeys:
        begin = max(0, first - behind + 1)
        query, key = torch.arange(first, stop, device=device)[:, None], torch.arange(begin, stop, device=device)
        return SeenKeys(begin, stop, ((key > query) | (key <= query - behind))[None, None])

    return sight


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("queries", [None, 1, 7, 16])
def test_blocks_are_the_naive_expression(options: dict[str, Any], groups: int, queries: int | None) -> None:
    """Causal, within a window, and over all keys, whatever a block's size and however many heads share keys."""
    q, k, v = states(2, 50, 50, groups)
    ahead = torch.ones(50, 50, dtype=torch.bool).triu(1)
    sights = {causal: ahead, window(9): ahead | torch.ones(50, 50, dtype=torch.bool).tril(-9), all_keys(50): ahead & 0}
    for sight, hidden in sights.items():
        found = blocked_attention(q, k, v, sight, scale=0.4, queries=queries, **options)
        torch.testing.assert_close(found, naive(q, k, v, hidden.bool(), 0.4, **options), atol=2e-6, rtol=0)


def test_keys_outside_of_what_a_block_sees_are_not_read() -> None:
    """A product with NaN would be NaN, were it hidden afterwards or not."""
    q, k, v = states(1, 8, 64)
    k[:, :, :40] = v[:, :, :40] = float("nan")
    shown = lambda _first, _stop, _device: SeenKeys(40, 64, None)  # noqa: E731
    assert blocked_attention(q, k, v, shown, scale=1.0).isfinite().all()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_query_that_sees_nothing_gives_numbers(options: dict[str, Any]) -> None:
    """Padding before a text sees nothing, and what it gave would be NaN to every query that hides it."""
    q, k, v = states(1, 20, 20)
    nothing = lambda first, stop, _device: SeenKeys(0, 20, torch.ones(1, 1, stop - first, 20, dtype=torch.bool))  # noqa: E731
    assert blocked_attention(q, k, v, nothing, scale=1.0, **options).isfinite().all()


def test_scores_of_a_block_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more keys, rows and heads, the fewer queries, in powers of two within limits."""
    monkeypatch.setattr(module, "SCORES", 1 << 20)
    assert [block_queries(scores) for scores in (1, 4_096, 30_000, 1 << 15, 1 << 30)] == [256, 256, 32, 32, 16]


def test_half_precision_is_near_the_naive_expression() -> None:
    """Softmax in float32, scores and weights in eight bits."""
    q, k, v = (x.bfloat16() for x in states(2, 70, 70))
    ahead = torch.ones(70, 70, dtype=torch.bool).triu(1)
    found = blocked_attention(q, k, v, causal, scale=0.3, sinks_H=torch.zeros(4, dtype=torch.bfloat16))
    assert found.dtype is torch.bfloat16
    expected = naive(q, k, v, ahead, 0.3, sinks_H=torch.zeros(4))
    torch.testing.assert_close(found.float(), expected, atol=3e-2, rtol=0)
