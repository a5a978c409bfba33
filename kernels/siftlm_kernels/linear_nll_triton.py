"""The fused kernel of `linear_nll`: products, exponentials and sums of one tile of logits at a time, on chip.

Shapes: R rows (tokens), D hidden size, V vocabulary, S vocabulary splits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from siftlm_kernels.linear_nll_reference import Head, chunked_nll

BLOCK_R, BLOCK_V, BLOCK_D = 128, 256, 64
SPLIT_V = 8192  # a split's classifier rows stay in the L2 cache while all row blocks read them


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _split_sums(  # type: ignore[no-untyped-def]
    hidden, classifier, bias, target_logits, sums,
    rows, width, vocabulary, hidden_stride, classifier_stride, scale, softcap, split_tiles,
    HAS_BIAS: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_SOFTCAP: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """sums[s, r] = sum of exp(l_rv - l_rt) over the vocabulary of split s: one program a row block and split.

    Neighbouring programs share the split, so its classifier tiles are in the L2 cache. A split's tiles are added in
    ascending order by one program: no atomics, the same order on every run.
    """
    row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    split = tl.program_id(1)
    row_ok = row < rows
    shift = tl.load(target_logits + row, mask=row_ok, other=0.0)
    total = tl.zeros((BLOCK_R,), dtype=tl.float32)
    for tile in range(split * split_tiles, (split + 1) * split_tiles):
        token = tile * BLOCK_V + tl.arange(0, BLOCK_V)
        token_ok = token < vocabulary
        logits = tl.zeros((BLOCK_R, BLOCK_V), dtype=tl.float32)
        for start in range(0, width, BLOCK_D):
            column = start + tl.arange(0, BLOCK_D)
            h = tl.load(
                hidden + row[:, None].to(tl.int64) * hidden_stride + column[None, :],
                mask=row_ok[:, None] & (column < width)[None, :],
                other=0.0,
            )
            w = tl.load(
                classifier + token[None, :].to(tl.int64) * classifier_stride + column[:, None],
                mask=token_ok[None, :] & (column < width)[:, None],
                other=0.0,
            )
            logits = tl.dot(h, w, logits, input_precision="ieee")
        if HAS_BIAS:
            logits += tl.load(bias + token, mask=token_ok, other=0.0)[None, :]
        if HAS_SCALE:
            logits *= scale
        if HAS_SOFTCAP:
            logits = softcap * (2.0 * tl.sigmoid(2.0 * logits / softcap) - 1.0)  # tanh
        shifted = tl.where(token_ok[None, :], logits - shift[:, None], float("-inf"))
        total += tl.sum(tl.exp(shifted), axis=1)
    tl.store(sums + split.to(tl.int64) * rows + row, total, mask=row_ok)


def fused_nll(hidden_RD: torch.Tensor, target_R: torch.Tensor, head: Head) -> torch.Tensor:
    """`linear_nll` by the kernel; rows whose sum overflows are computed again by the reference.

    Raises:
        ValueError: the tensors are on no CUDA device, and Triton does not interpret.
    """
    if not (hidden_RD.is_cuda or triton.knobs.runtime.interpret):
        raise ValueError(f"impl: triton needs CUDA tensors, got {hidden_RD.device}; TRITON_INTERPRET=1 emulates it")
    ignored = target_R == head.ignore_index
    target_R = target_R.masked_fill(ignored, 0)
    shift_R = head.target_logits(hidden_RD, target_R)[:, 0].contiguous()
    total_R = _ordered_sum(_sums(hidden_RD, shift_R, head))
    nll_R = total_R.log().clamp_min_(0.0)
    overflowed = torch.isposinf(nll_R)
    if bool(overflowed.any()):
        nll_R[overflowed] = chunked_nll(hidden_RD[overflowed], target_R[overflowed], head)
    return nll_R.masked_fill_(ignored, 0.0)


def _sums(hidden_RD: torch.Tensor, shift_R: torch.Tensor, head: Head) -> torch.Tensor:
    """float32 `[S, R]`. S follows from the vocabulary alone, so that a row's order of sums has nothing else in it."""
    hidden_RD, classifier = hidden_RD.contiguous(), head.classifier
    (rows, width), vocabulary = hidden_RD.shape, len(classifier)
    splits = triton.cdiv(vocabulary, SPLIT_V)
    sums_SR = torch.empty((splits, rows), dtype=torch.float32, device=hidden_RD.device)
    if rows == 0:
        return sums_SR
    assert classifier.stride(1) == 1, f"classifier rows must be contiguous, got strides {classifier.stride()}"
    kernel: Any = _split_sums
    kernel[(triton.cdiv(rows, BLOCK_R), splits)](
        hidden_RD, classifier, shift_R if head.bias is None else head.bias.contiguous(), shift_R, sums_SR,
        rows, width, vocabulary, hidden_RD.stride(0), classifier.stride(0),
        1.0 if head.scale is None else head.scale, 1.0 if head.softcap is None else head.softcap, SPLIT_V // BLOCK_V,
        HAS_BIAS=head.bias is not None, HAS_SCALE=head.scale is not None, HAS_SOFTCAP=head.softcap is not None,
        BLOCK_R=BLOCK_R, BLOCK_V=BLOCK_V, BLOCK_D=BLOCK_D, num_warps=8, num_stages=3,
    )  # fmt: skip
    return sums_SR


def _ordered_sum(sums_SR: torch.Tensor) -> torch.Tensor:
    """The splits added one after the other."""
    total_R = sums_SR[0].clone()
    for split in sums_SR[1:]:
        total_R += split
    return total_R
