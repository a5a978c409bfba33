"""Computes `linear_nll` in one Triton kernel, a tile of logits at a time.

Shapes: R rows (tokens), D hidden size, V vocabulary, S vocabulary splits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch.nn.functional import pad
from triton.tools.tensor_descriptor import TensorDescriptor

from siftlm_kernels.linear_nll_reference import Head, chunked_nll

TILES = {2: (128, 256), 4: (64, 64)}  # bytes of a value: rows and tokens of a tile; float32 has no matrix unit
STEP_BYTES = 128  # of a row in one step of a product
STAGES = 4  # steps whose inputs are in shared memory or on their way, at most
SPLIT_V = 8192  # a split's classifier rows stay in the L2 cache while all row blocks read them
LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator, unused-ignore]
def _split_sums(  # type: ignore[no-untyped-def]
    hidden, classifier, bias, target_logits, sums, rows, vocabulary, tiles, split_tiles, scale, softcap,
    WIDTH: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_SOFTCAP: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """sums[s, r] = sum of exp(l_rv - l_rt) over the vocabulary of split s: one program a row block and split.

    Neighbouring programs share the split, so its classifier tiles are in the L2 cache. A split's tiles are added in
    ascending order by one program: no atomics, the same order on every run. Tiles come by the bulk copy engine, and
    the flattened loop fetches those of the next product while the exponentials of the last one are taken.
    """
    first_row = tl.program_id(0) * BLOCK_R
    row = first_row + tl.arange(0, BLOCK_R)
    split = tl.program_id(1)
    row_ok = row < rows
    shift = tl.load(target_logits + row, mask=row_ok, other=0.0) * LOG2_E
    total = tl.zeros((BLOCK_R,), dtype=tl.float32)
    for tile in tl.range(split * split_tiles, tl.minimum((split + 1) * split_tiles, tiles), flatten=True):
        logits = tl.zeros((BLOCK_R, BLOCK_V), dtype=tl.float32)
        for start in range(0, WIDTH, BLOCK_D):
            h = hidden.load([first_row, start])
            w = classifier.load([tile * BLOCK_V, start])
            logits = tl.dot(h, w.T, logits, input_precision="ieee")
        if HAS_BIAS:
            token = tile * BLOCK_V + tl.arange(0, BLOCK_V)
            logits += tl.load(bias + token, mask=token < vocabulary, other=0.0)[None, :]
        if HAS_SCALE:
            logits *= scale
        if HAS_SOFTCAP:
            logits = softcap * (2.0 * tl.sigmoid(2.0 * logits / softcap) - 1.0)  # tanh
        shifted = logits * LOG2_E - shift[:, None]
        if (tile + 1) * BLOCK_V > vocabulary:
            token = tile * BLOCK_V + tl.arange(0, BLOCK_V)
            shifted = tl.where((token < vocabulary)[None, :], shifted, float("-inf"))
        total += tl.sum(tl.exp2(shifted), axis=1)
    tl.store(sums + split.to(tl.int64) * rows + row, total, mask=row_ok)


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator, unused-ignore]
def _target_products(  # type: ignore[no-untyped-def]
    hidden, classifier, targets, products, rows, hidden_stride, classifier_stride, width,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """products[r] = hidden[r] . classifier[targets[r]]: float32 products and sums, nothing stored between."""
    row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    row_ok = row < rows
    target = tl.load(targets + row, mask=row_ok, other=0)
    total = tl.zeros((BLOCK_R,), dtype=tl.float32)
    for start in range(0, width, BLOCK_D):
        column = start + tl.arange(0, BLOCK_D)
        ok = row_ok[:, None] & (column < width)[None, :]
        h = tl.load(hidden + row[:, None].to(tl.int64) * hidden_stride + column[None, :], mask=ok, other=0.0)
        w = tl.load(classifier + target[:, None] * classifier_stride + column[None, :], mask=ok, other=0.0)
        total += tl.sum(h.to(tl.float32) * w.to(tl.float32), axis=1)
    tl.store(products + row, total, mask=row_ok)


def fused_nll(hidden_RD: torch.Tensor, target_R: torch.Tensor, head: Head) -> torch.Tensor:
    """Returns `linear_nll` computed by the Triton kernel; rows whose sum overflows are computed by the reference.

    Raises:
        ValueError: the tensors are on no CUDA device, and Triton does not interpret.
    """
    if not (hidden_RD.is_cuda or triton.knobs.runtime.interpret):
        raise ValueError(f"impl: triton needs CUDA tensors, got {hidden_RD.device}; TRITON_INTERPRET=1 emulates it")
    ignored = target_R == head.ignore_index
    target_R = target_R.masked_fill(ignored, 0)
    hidden_RD = hidden_RD.contiguous()
    shift_R = head.finished(_products(hidden_RD, target_R, head), target_R)
    total_R = _ordered_sum(_sums(hidden_RD, shift_R, head))
    nll_R = total_R.log().clamp_min_(0.0)
    overflowed = torch.isposinf(nll_R)
    if bool(overflowed.any()):
        nll_R[overflowed] = chunked_nll(hidden_RD[overflowed], target_R[overflowed], head)
    return nll_R.masked_fill_(ignored, 0.0)


def _products(hidden_RD: torch.Tensor, target_R: torch.Tensor, head: Head) -> torch.Tensor:
    """float32 `[R]`: every row times the classifier's row of its target."""
    (rows, width), strides = hidden_RD.shape, head.classifier.stride()
    assert strides[1] == 1, f"classifier rows must be contiguous, got strides {strides}"
    products_R = torch.empty(rows, dtype=torch.float32, device=hidden_RD.device)
    if rows:
        kernel: Any = _target_products
        kernel[(triton.cdiv(rows, 16),)](
            hidden_RD, head.classifier, target_R, products_R, rows, hidden_RD.stride(0), head.classifier.stride(0),
            width, BLOCK_R=16, BLOCK_D=128,
        )  # fmt: skip
    return products_R


def _sums(hidden_RD: torch.Tensor, shift_R: torch.Tensor, head: Head) -> torch.Tensor:
    """float32 `[S, R]`. S follows from the vocabulary alone, so that a row's order of sums has nothing else in it."""
    rows, vocabulary = len(hidden_RD), len(head.classifier)
    block_r, block_v = TILES[hidden_RD.element_size()]
    splits, tiles = triton.cdiv(vocabulary, SPLIT_V), triton.cdiv(vocabulary, block_v)
    sums_SR = torch.empty((splits, rows), dtype=torch.float32, device=hidden_RD.device)
    if rows == 0:
        return sums_SR
    hidden_RD, classifier = _copyable(hidden_RD), _copyable(head.classifier)
    step = STEP_BYTES // hidden_RD.element_size()
    kernel: Any = _split_sums
    kernel[(triton.cdiv(rows, block_r), splits)](
        TensorDescriptor.from_tensor(hidden_RD, [block_r, step]),
        TensorDescriptor.from_tensor(classifier, [block_v, step]),
        shift_R if head.bias is None else head.bias.contiguous(), shift_R, sums_SR,
        rows, vocabulary, tiles, triton.cdiv(tiles, splits),
        1.0 if head.scale is None else head.scale, 1.0 if head.softcap is None else head.softcap,
        WIDTH=hidden_RD.shape[1],
        HAS_BIAS=head.bias is not None, HAS_SCALE=head.scale is not None, HAS_SOFTCAP=head.softcap is not None,
        BLOCK_R=block_r, BLOCK_V=block_v, BLOCK_D=step, num_warps=8,
        num_stages=stages(_shared_bytes(hidden_RD.device), block_r + block_v),
    )  # fmt: skip
    return sums_SR


def stages(shared_bytes: int, tile_rows: int) -> int:
    """Returns how many pipeline stages of `tile_rows` rows fit into a block's shared memory, at most STAGES.

    That is 4 in an H200's 227 KiB, and 2 in 99 KiB.
    """
    return max(1, min(STAGES, shared_bytes // (tile_rows * STEP_BYTES)))


def _shared_bytes(device: torch.device) -> int:
    """Shared memory that a block may have; any amount where Triton interprets."""
    if device.type != "cuda":
        return 1 << 30
    properties: dict[str, int] = triton.runtime.driver.active.utils.get_device_properties(device.index or 0)
    return properties["max_shared_mem"]


def _copyable(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix as the copy engine takes it: rows of a multiple of 16 bytes, which those of real models have."""
    beyond = -matrix.shape[1] % (16 // matrix.element_size())
    return pad(matrix, (0, beyond)) if beyond else matrix.contiguous()


def _ordered_sum(sums_SR: torch.Tensor) -> torch.Tensor:
    total_R = sums_SR[0].clone()
    for split in sums_SR[1:]:
        total_R += split
    return total_R
