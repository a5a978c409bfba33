"""Computes `packed_attention` in one Triton kernel with online softmax: a program for each head and query block.

Shapes: T tokens, H query heads, G key and value heads, E head size, W blocks of queries.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from siftlm_kernels.packed_attention import BLOCK_Q

BLOCK_K, WARPS, STAGES = 32, 4, 3  # with BLOCK_Q the fastest on an H200 for all but the longest documents
"""They fit devices of compute capability 8.x too: 64 KiB of shared memory for heads of 128, plain loads, no spills."""
LOG2_E = 1.4426950408889634


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _step(  # type: ignore[no-untyped-def]
    q, key, value, at, stop, row, key_t, value_t, scale_log2, largest, total, attended,
    LAST: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The online softmax after BLOCK_K more keys; only LAST steps have keys that a query must not see."""
    token = at + tl.arange(0, BLOCK_K)
    column = tl.arange(0, BLOCK_E)
    k_at = key + token[None, :].to(tl.int64) * key_t + column[:, None]
    v_at = value + token[:, None].to(tl.int64) * value_t + column[None, :]
    if LAST:
        k = tl.load(k_at, mask=(token < stop)[None, :], other=0.0)
        v = tl.load(v_at, mask=(token < stop)[:, None], other=0.0)
    else:
        k = tl.load(k_at)
        v = tl.load(v_at)
    scores = tl.dot(q, k, input_precision="ieee") * scale_log2
    if LAST:
        scores = tl.where(token[None, :] <= row[:, None], scores, float("-inf"))
    above = tl.maximum(largest, tl.max(scores, 1))
    p = tl.exp2(scores - above[:, None])
    shrink = tl.exp2(largest - above)
    total = total * shrink + tl.sum(p, 1)
    attended = tl.dot(p.to(v.dtype), v, attended * shrink[:, None], input_precision="ieee")
    return above, total, attended


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _attend(  # type: ignore[no-untyped-def]
    query, key, value, output, blocks,
    query_t, query_h, key_t, key_g, value_t, value_g, output_t, output_h, scale_log2,
    HEADS_A_GROUP: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Output rows [first, first + BLOCK_Q) of a document that lies in [start, stop)."""
    block = blocks + tl.program_id(0) * 3
    first, start, stop = tl.load(block), tl.load(block + 1), tl.load(block + 2)
    head = tl.program_id(1).to(tl.int64)
    row = first + tl.arange(0, BLOCK_Q)
    column = tl.arange(0, BLOCK_E)
    row_ok = (row < stop)[:, None]
    q_at = query + head * query_h + row[:, None].to(tl.int64) * query_t + column[None, :]
    q = tl.load(q_at, mask=row_ok, other=0.0)
    key += head // HEADS_A_GROUP * key_g
    value += head // HEADS_A_GROUP * value_g
    largest = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    attended = tl.zeros((BLOCK_Q, BLOCK_E), tl.float32)
    for at in tl.range(start, first, BLOCK_K):
        largest, total, attended = _step(
            q, key, value, at, stop, row, key_t, value_t, scale_log2, largest, total, attended, False, BLOCK_E, BLOCK_K
        )
    for at in tl.range(first, tl.minimum(first + BLOCK_Q, stop), BLOCK_K):
        largest, total, attended = _step(
            q, key, value, at, stop, row, key_t, value_t, scale_log2, largest, total, attended, True, BLOCK_E, BLOCK_K
        )
    o_at = output + head * output_h + row[:, None].to(tl.int64) * output_t + column[None, :]
    tl.store(o_at, (attended / total[:, None]).to(output.dtype.element_ty), mask=row_ok)


@torch.library.custom_op("siftlm::causal_blocks", mutates_args=())
def causal_blocks(
    query_THE: torch.Tensor, key_TGE: torch.Tensor, value_TGE: torch.Tensor, blocks: torch.Tensor, scale: float
) -> torch.Tensor:
    """Returns `packed_attention` by the kernel, one operator to a compiler; `blocks` come from `query_blocks`."""
    (tokens, heads, size), groups = query_THE.shape, key_TGE.shape[1]
    output = torch.empty((tokens, heads, size), dtype=query_THE.dtype, device=query_THE.device)
    states = [state if state.stride(-1) == 1 else state.contiguous() for state in (query_THE, key_TGE, value_TGE)]
    strides = [stride for state in (*states, output) for stride in state.stride()[:2]]
    kernel: Any = _attend
    kernel[(len(blocks), heads)](
        *states, output, blocks, *strides, scale * LOG2_E,
        HEADS_A_GROUP=heads // groups, BLOCK_E=size, BLOCK_Q=BLOCK_Q, BLOCK_K=BLOCK_K,
        num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip
    return output


@causal_blocks.register_fake
def _shape(
    query_THE: torch.Tensor, _key: torch.Tensor, _value: torch.Tensor, _blocks: torch.Tensor, _scale: float
) -> torch.Tensor:
    return query_THE.new_empty(query_THE.shape)
