"""Computes `linear_nll` in one Triton kernel, a tile of logits at a time.

Devices with a bulk copy engine (compute capability 9.0 and later) read tiles by it; those of 8.x read smaller ones by
pointers, which fit their shared memory and registers.

Shapes: R rows (tokens), D hidden size, V vocabulary, S vocabulary splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch.nn.functional import pad
from triton.tools.tensor_descriptor import TensorDescriptor

from siftlm_kernels.linear_nll_reference import Head, chunked_nll

COPY_ENGINE = (9, 0)  # the first compute capability with one
POINTERS = (8, 0)  # the first with matrix units for bfloat16, and copies to shared memory that do not wait
STEP_BYTES = 128  # of a row in one step of a product
STAGES = 4  # steps whose inputs are in shared memory or on their way, at most
SPLIT_V = 8192  # a split's classifier rows stay in the L2 cache while all row blocks read them
LOG2_E = tl.constexpr(1.4426950408889634)


@dataclass(frozen=True)
class Tiling:
    """States how a device computes tiles of logits.

    `rows` and `tokens` are those of a tile, `step` the values of a row in one step of a product, `stages` the steps
    whose inputs are in shared memory or on their way.
    """

    bulk: bool  # by the copy engine
    rows: int
    tokens: int
    step: int
    stages: int
    warps: int


def tiling(capability: tuple[int, int], shared_bytes: int, value_bytes: int) -> Tiling:
    """Returns the tiling for a device.

    Args:
        capability: Its compute capability.
        shared_bytes: Shared memory that a block may have: 227 KiB on an H200, 163 on an A100, 99 on an L4.
        value_bytes: Bytes of an input value: 2, or 4 of float32, which has no matrix unit.
    """
    step = STEP_BYTES // value_bytes
    if value_bytes == 4:
        rows, tokens, warps = 64, 64, 8
    elif capability >= COPY_ENGINE:
        rows, tokens, warps = 128, 256, 8
    else:
        rows, tokens, warps = 128, 128, 8
    return Tiling(capability >= COPY_ENGINE, rows, tokens, step, stages(shared_bytes, rows + tokens), warps)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _tile_sums(  # type: ignore[no-untyped-def]
    logits, bias, shift, token, vocabulary, scale, softcap, last,
    HAS_BIAS: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_SOFTCAP: tl.constexpr,
):  # fmt: skip
    """Of every row the sum of exp(l_rv - l_rt) over a tile of logits; `shift` has l_rt times LOG2_E."""
    if HAS_BIAS:
        logits += tl.load(bias + token, mask=token < vocabulary, other=0.0)[None, :]
    if HAS_SCALE:
        logits *= scale
    if HAS_SOFTCAP:
        logits = softcap * (2.0 * tl.sigmoid(2.0 * logits / softcap) - 1.0)  # tanh
    shifted = logits * LOG2_E - shift[:, None]
    if last:
        shifted = tl.where((token < vocabulary)[None, :], shifted, float("-inf"))
    return tl.sum(tl.exp2(shifted), axis=1)


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
        token = tile * BLOCK_V + tl.arange(0, BLOCK_V)
        total += _tile_sums(
            logits,
            bias,
            shift,
            token,
            vocabulary,
            scale,
            softcap,
            (tile + 1) * BLOCK_V > vocabulary,
            HAS_BIAS,
            HAS_SCALE,
            HAS_SOFTCAP,
        )
    tl.store(sums + split.to(tl.int64) * rows + row, total, mask=row_ok)


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator, unused-ignore]
def _split_sums_by_pointers(  # type: ignore[no-untyped-def]
    hidden, classifier, bias, target_logits, sums, rows, vocabulary, tiles, split_tiles, scale, softcap,
    hidden_stride, classifier_stride,
    WIDTH: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_SOFTCAP: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The same as `_split_sums` by plain loads, which devices without a copy engine make without waiting.

    Rows and tokens past the end are those at the end again, so that no load has a mask but where WIDTH is no multiple
    of BLOCK_D; what they give is not added, or not stored.
    """
    row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    split = tl.program_id(1)
    column = tl.arange(0, BLOCK_D)
    row_ok = row < rows
    h_at = hidden + tl.minimum(row, rows - 1)[:, None].to(tl.int64) * hidden_stride + column[None, :]
    shift = tl.load(target_logits + row, mask=row_ok, other=0.0) * LOG2_E
    total = tl.zeros((BLOCK_R,), dtype=tl.float32)
    for tile in range(split * split_tiles, tl.minimum((split + 1) * split_tiles, tiles)):
        token = tile * BLOCK_V + tl.arange(0, BLOCK_V)
        w_at = (
            classifier + tl.minimum(token, vocabulary - 1)[None, :].to(tl.int64) * classifier_stride + column[:, None]
        )
        logits = tl.zeros((BLOCK_R, BLOCK_V), dtype=tl.float32)
        for start in tl.range(0, WIDTH, BLOCK_D, num_stages=STAGES):
            if WIDTH % BLOCK_D == 0:
                h = tl.load(h_at + start)
                w = tl.load(w_at + start)
            else:
                ok = start + column < WIDTH
                h = tl.load(h_at + start, mask=ok[None, :], other=0.0)
                w = tl.load(w_at + start, mask=ok[:, None], other=0.0)
            logits = tl.dot(h, w, logits, input_precision="ieee")
        total += _tile_sums(
            logits,
            bias,
            shift,
            token,
            vocabulary,
            scale,
            softcap,
            (tile + 1) * BLOCK_V > vocabulary,
            HAS_BIAS,
            HAS_SCALE,
            HAS_SOFTCAP,
        )
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
    chosen = device_tiling(hidden_RD)
    splits, tiles = triton.cdiv(vocabulary, SPLIT_V), triton.cdiv(vocabulary, chosen.tokens)
    sums_SR = torch.empty((splits, rows), dtype=torch.float32, device=hidden_RD.device)
    if rows == 0:
        return sums_SR
    hidden_RD, classifier = _copyable(hidden_RD), _copyable(head.classifier)
    common: list[Any] = [
        shift_R if head.bias is None else head.bias.contiguous(), shift_R, sums_SR,
        rows, vocabulary, tiles, triton.cdiv(tiles, splits),
        1.0 if head.scale is None else head.scale, 1.0 if head.softcap is None else head.softcap,
    ]  # fmt: skip
    options: dict[str, Any] = {
        "WIDTH": hidden_RD.shape[1], "HAS_BIAS": head.bias is not None, "HAS_SCALE": head.scale is not None,
        "HAS_SOFTCAP": head.softcap is not None, "BLOCK_R": chosen.rows, "BLOCK_V": chosen.tokens,
        "BLOCK_D": chosen.step, "num_warps": chosen.warps,
    }  # fmt: skip
    grid = (triton.cdiv(rows, chosen.rows), splits)
    by_copies: Any = _split_sums
    by_pointers: Any = _split_sums_by_pointers
    if chosen.bulk:
        blocks = [
            TensorDescriptor.from_tensor(hidden_RD, [chosen.rows, chosen.step]),
            TensorDescriptor.from_tensor(classifier, [chosen.tokens, chosen.step]),
        ]
        by_copies[grid](*blocks, *common, num_stages=chosen.stages, **options)
    else:
        strides = (hidden_RD.stride(0), classifier.stride(0))
        by_pointers[grid](hidden_RD, classifier, *common, *strides, STAGES=chosen.stages, **options)
    return sums_SR


def device_tiling(hidden: torch.Tensor) -> Tiling:
    """Returns the tiling for the device of a tensor; Triton's interpreter stands for one with a copy engine."""
    if not hidden.is_cuda:
        return tiling(COPY_ENGINE, 1 << 30, hidden.element_size())
    device = hidden.device.index or 0
    properties: dict[str, int] = triton.runtime.driver.active.utils.get_device_properties(device)
    capability = torch.cuda.get_device_capability(device)
    return tiling(capability, properties["max_shared_mem"], hidden.element_size())


def stages(shared_bytes: int, tile_rows: int) -> int:
    """Returns how many pipeline stages of `tile_rows` rows fit into a block's shared memory, at most STAGES.

    That is 4 in an H200's 227 KiB, and 2 in 99 KiB; half as many rows have twice as many.
    """
    return max(1, min(STAGES, shared_bytes // (tile_rows * STEP_BYTES)))


def _copyable(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix as the copy engine takes it: rows of a multiple of 16 bytes, which those of real models have."""
    beyond = -matrix.shape[1] % (16 // matrix.element_size())
    return pad(matrix, (0, beyond)) if beyond else matrix.contiguous()


def _ordered_sum(sums_SR: torch.Tensor) -> torch.Tensor:
    total_R = sums_SR[0].clone()
    for split in sums_SR[1:]:
        total_R += split
    return total_R
