"""Computes attention a block of queries at a time, without scores for every pair of tokens.

Shapes: B rows, H query heads, G key and value heads (H = G * R), L queries, S keys, E head size, F size of a value,
Q queries of a block, K keys that a block reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

SCORES = 1 << 24  # values of a block by default: 64 MiB in float32
MOST_QUERIES = 256  # of a block by default
LEAST_QUERIES = 16


class SeenKeys(NamedTuple):
    """Says what a block of queries sees: the keys from `begin` to `end`, but for those that are `hidden`.

    `hidden` is a mask [B or 1, 1, Q, X] that is true where a query does not see one of the last X of these keys. None
    hides nothing.
    """

    begin: int
    end: int
    hidden: torch.Tensor | None


Sight = Callable[[int, int, torch.device], SeenKeys]
"""Tells what the queries from the first number to the second see, with a mask on the device."""


def blocked_attention(
    q_BHLE: torch.Tensor,
    k_BGSE: torch.Tensor,
    v_BGSF: torch.Tensor,
    sight: Sight,
    *,
    scale: float,
    softcap: float | None = None,
    sinks_H: torch.Tensor | None = None,
    queries: int | None = None,
) -> torch.Tensor:
    """Returns attention `[B, H, L, F]`, equal to this naive expression up to rounding:

        scores = q @ k.transpose(2, 3) * scale                               # heads of k and v repeated H / G times
        scores = softcap * tanh(scores / softcap)                            # where there is a soft cap
        scores = scores.masked_fill(what the query does not see, -inf)
        weights = softmax(cat([scores, sinks], -1))[..., :-1]                # where there are sinks, one a head
        output = weights @ v

    Scores and weights are rounded to the dtype of the inputs; the softmax between them is computed in float32. The
    output of a query that sees nothing is the mean of the values that its block reads, never NaN.

    Args:
        queries: Queries of a block; by default `block_queries` of all keys.
    """
    rows, heads, length, size = q_BHLE.shape
    groups, keys = k_BGSE.shape[1:3]
    queries = queries or block_queries(rows * heads * keys)
    q_BGRLE = (q_BHLE * scale).view(rows, groups, heads // groups, length, size)
    output = v_BGSF.new_empty(rows, length, groups, heads // groups, v_BGSF.shape[-1])
    sinks_GR1 = None if sinks_H is None else sinks_H.view(groups, -1, 1)
    for first in range(0, length, queries):
        block = slice(first, min(first + queries, length))
        seen = sight(block.start, block.stop, q_BHLE.device)
        span = slice(seen.begin, seen.end)
        k_BGKE, v_BGKF = k_BGSE[:, :, span], v_BGSF[:, :, span]
        attended = _attended(q_BGRLE[:, :, :, block], k_BGKE, v_BGKF, seen.hidden, softcap, sinks_GR1)
        output[:, block] = attended.permute(0, 3, 1, 2, 4)
    return output.flatten(2, 3).transpose(1, 2)


def causal(first: int, stop: int, device: torch.device) -> SeenKeys:
    """Shows every query the keys up to its own."""
    future = torch.ones(stop - first, stop - first, dtype=torch.bool, device=device).triu(1)
    return SeenKeys(0, stop, future[None, None])


def all_keys(keys: int) -> Sight:
    """Returns a sight of all of so many keys."""
    return lambda _first, _stop, _device: SeenKeys(0, keys, None)


def block_queries(scores: int) -> int:
    """Returns how many queries have about SCORES scores: a power of two from LEAST_QUERIES to MOST_QUERIES.

    Args:
        scores: How many one query has, in all rows and heads.
    """
    most = 1 << max(0, (SCORES // max(1, scores)).bit_length() - 1)
    return max(LEAST_QUERIES, min(MOST_QUERIES, most))


def _attended(
    q_BGRQE: torch.Tensor,
    k_BGKE: torch.Tensor,
    v_BGKF: torch.Tensor,
    hidden: torch.Tensor | None,
    softcap: float | None,
    sinks_GR1: torch.Tensor | None,
) -> torch.Tensor:
    """The output [B, G, R, Q, F] of a block; query heads that share keys are rows of one product."""
    rows, groups, repeats, queries = q_BGRQE.shape[:4]
    scores = (q_BGRQE.flatten(2, 3) @ k_BGKE.transpose(2, 3)).view(rows, groups, repeats, queries, -1)
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    if hidden is not None:
        scores[..., -hidden.shape[-1] :].masked_fill_(hidden[:, :, None], torch.finfo(scores.dtype).min)
    kept = None if sinks_GR1 is None else (scores.float().logsumexp(-1) - sinks_GR1).sigmoid()
    output = (scores.softmax(-1).flatten(2, 3) @ v_BGKF).view(rows, groups, repeats, queries, -1)
    return output if kept is None else output * kept[..., None].to(output.dtype)
