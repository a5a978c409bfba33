"""Computes causal attention over documents packed in one row, where no document sees another.

Shapes: T tokens, H query heads, G key and value heads (H a multiple of G), E head size, N documents, W blocks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

from siftlm_kernels.blocked_attention import blocked_attention, causal
from siftlm_kernels.cpu_units import bfloat16_units
from siftlm_kernels.ragged import within
from siftlm_kernels.triton_installed import TRITON_INSTALLED

Implementation = Literal["auto", "reference", "sdpa", "blocks", "triton", "varlen"]
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
BLOCK_Q = 64
PRODUCT_QUERIES = 128  # of `blocks`: their scores fit a core's cache, and half of the last block is thrown away
HEAD_SIZES = (16, 32, 64, 128)  # of which the kernel can make tiles
VARLEN_NAMES = frozenset(inspect.signature(varlen_attn).parameters)  # asked once, like TRITON_INSTALLED


def packed_attention(
    query_THE: torch.Tensor,
    key_TGE: torch.Tensor,
    value_TGE: torch.Tensor,
    offsets: torch.Tensor,
    *,
    scale: float | None = None,
    max_length: int | None = None,
    blocks: torch.Tensor | None = None,
    impl: Implementation = "auto",
) -> torch.Tensor:
    """Returns the attention output `[T, H, E]` of packed documents, equal to this naive expression up to rounding:

        for start, stop in zip(offsets, offsets[1:]):
            q, k, v = (x[start:stop].float().transpose(0, 1) for x in (query, key, value))   # heads repeated H / G
            scores = (q @ k.transpose(1, 2) * scale).masked_fill(not_causal, -inf)
            output[start:stop] = (softmax(scores) @ v).transpose(0, 1)

    Tokens after the last offset belong to no document; their output is 0 (`triton` and `varlen`: undefined, never
    NaN-spreading, since no other row reads it).

    Args:
        offsets: int32 `[N + 1]`, ascending from 0; repeated values are empty documents, so the array can be filled
            up to a fixed length with its last value.
        scale: factor on the scores, default E ** -0.5.
        max_length: tokens of the longest document or more; only `varlen` reads it, default T.
        blocks: the `query_blocks` of the offsets, int32 `[W, 3]` on the device; only `triton` reads them, and makes
            them itself (waiting for the device) where they are not given.
        impl: `reference` is the expression above in float32; `sdpa` one call of torch's fused attention for every
            run of neighbouring documents of equal length; `blocks` matrix products over blocks of queries in the
            place of that call, with scores and weights rounded to the inputs' dtype; `triton` one fused kernel (on a
            CPU only in Triton's interpreter; head sizes of HEAD_SIZES); `varlen` torch's variable-length kernel
            (CUDA, half precision). `auto`: on CUDA in half precision `triton` where it can run, else `varlen`;
            `blocks` for bfloat16 on a CPU with units for it; everywhere else `sdpa`.

    With `sdpa` or `blocks` on a CPU, and with `triton`, a document's output depends on its own tokens alone, bit for
    bit.
    """
    if impl == "auto":
        impl = _fastest(query_THE)
    scale = query_THE.shape[-1] ** -0.5 if scale is None else scale
    if impl == "triton":
        from siftlm_kernels.packed_attention_triton import causal_blocks

        if blocks is None:
            blocks = torch.from_numpy(query_blocks(offsets.cpu().numpy())).to(query_THE.device)
        attended: torch.Tensor = causal_blocks(query_THE, key_TGE, value_TGE, blocks, scale)
        return attended
    if impl == "varlen":
        return _by_varlen(query_THE, key_TGE, value_TGE, offsets, scale, max_length or len(query_THE))
    key_THE, value_THE = _repeated(query_THE, key_TGE, value_TGE)
    if impl == "reference":
        return _by_document(query_THE, key_THE, value_THE, offsets, scale)
    if impl in ("sdpa", "blocks"):
        attend = _fused if impl == "sdpa" else causal_products
        return _by_equal_length(query_THE, key_THE, value_THE, offsets, scale, attend)
    raise ValueError(f"impl: must be auto, reference, sdpa, blocks, triton or varlen, got {impl!r}")


def query_blocks(offsets: NDArray[np.int32], block: int = BLOCK_Q) -> NDArray[np.int32]:
    """Returns the first query of each block and its document's start and stop, as int32 `[W, 3]`.

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


def _fastest(query_THE: torch.Tensor) -> Implementation:
    if not query_THE.is_cuda:
        return "blocks" if query_THE.dtype == torch.bfloat16 and bfloat16_units() else "sdpa"
    if query_THE.dtype not in (torch.float16, torch.bfloat16):
        return "sdpa"
    return "triton" if TRITON_INSTALLED and query_THE.shape[-1] in HEAD_SIZES else "varlen"


def _repeated(query: torch.Tensor, *states_TGE: torch.Tensor) -> list[torch.Tensor]:
    """The states of the heads of keys and values, once for every head of the query."""
    repeats = query.shape[1] // states_TGE[0].shape[1]
    return [states if repeats == 1 else states.repeat_interleave(repeats, dim=1) for states in states_TGE]


def _by_varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, offsets: torch.Tensor, scale: float, longest: int
) -> torch.Tensor:
    """torch's own kernel, in the words of the installed torch.

    Without split-KV, which `num_splits=1` switches off, a document's output is independent of its neighbours.
    """
    if "enable_gqa" not in VARLEN_NAMES:
        key, value = _repeated(query, key, value)
    arguments: dict[str, Any] = {"enable_gqa": query.shape[1] != key.shape[1], "num_splits": 1}
    known = {name: argument for name, argument in arguments.items() if name in VARLEN_NAMES}
    output = varlen_attn(
        query, key, value, offsets, offsets, longest, longest, scale=scale, window_size=(-1, 0), **known
    )
    assert isinstance(output, torch.Tensor), "a second output comes on request only"
    return output


def _by_document(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, offsets: torch.Tensor, scale: float
) -> torch.Tensor:
    output = torch.zeros_like(query)
    for start, stop in pairwise(offsets.tolist()):
        q, k, v = (states[start:stop].float().transpose(0, 1) for states in (query, key, value))
        future = torch.ones(stop - start, stop - start, dtype=torch.bool, device=query.device).triu(1)
        scores = (q @ k.transpose(1, 2) * scale).masked_fill(future, float("-inf"))
        output[start:stop] = (scores.softmax(-1) @ v).transpose(0, 1).to(query.dtype)
    return output


def equal_length_runs(bounds: list[int]) -> list[tuple[int, int, int]]:
    """Returns `(start, documents, length)` of each run of neighbouring non-empty documents of equal length."""
    runs = []
    lengths = [stop - start for start, stop in pairwise(bounds)]
    start = 0
    for length, members in groupby(lengths):
        count = len(list(members))
        if length:
            runs.append((start, count, length))
        start += count * length
    return runs


def _by_equal_length(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, offsets: torch.Tensor, scale: float, attend: Attend
) -> torch.Tensor:
    output = torch.zeros(query.shape, dtype=query.dtype, device=query.device)
    for start, count, length in equal_length_runs(offsets.tolist()):
        span = slice(start, start + count * length)
        q, k, v = (
            states[span].view(count, length, *states.shape[1:]).transpose(1, 2) for states in (query, key, value)
        )
        output[span] = attend(q, k, v, scale).transpose(1, 2).flatten(0, 1)
    return output


def _fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    attended: torch.Tensor = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    return attended


def causal_products(q_CHLE: torch.Tensor, k_CHLE: torch.Tensor, v_CHLE: torch.Tensor, scale: float) -> torch.Tensor:
    """Returns causal attention `[C, H, L, E]`, PRODUCT_QUERIES queries at a time against the keys up to them.

    Scores and weights are rounded to the dtype of the inputs; the softmax between them is computed in float32.
    """
    return blocked_attention(q_CHLE, k_CHLE, v_CHLE, causal, scale=scale, queries=PRODUCT_QUERIES)
