"""Computes the negative log-likelihood of tokens under a linear classifier without keeping the logits.

Shapes: R rows (tokens), D hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import torch

from siftlm_kernels.cpu_units import bfloat16_units
from siftlm_kernels.linear_nll_reference import Head, chunked_nll
from siftlm_kernels.triton_installed import TRITON_INSTALLED

Implementation = Literal["auto", "reference", "bfloat16", "triton"]
TRITON_FROM = (8, 0)  # the first compute capability with matrix units for bfloat16


def linear_nll(
    hidden_RD: torch.Tensor,
    classifier_VD: torch.Tensor,
    target_R: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    vocab_size: int | None = None,
    ignore_index: int = -100,
    impl: Implementation = "auto",
) -> torch.Tensor:
    """Returns the negative log-likelihood of every target in nats, float32 `[R]`, equal to this up to rounding:

        logits = hidden.float() @ classifier.float()[:vocab_size].T + bias[:vocab_size]
        logits = logits * scale
        logits = softcap * tanh(logits / softcap)
        F.cross_entropy(logits, target, reduction="none", ignore_index=ignore_index)

    Forward only. Products accumulate in float32 whatever the inputs' dtype, and no more than one block of logits
    exists at a time. The target's logit l_t comes first, then NLL = log(sum_v exp(l_v - l_t)): no running maximum.
    The sum is at least 1, so it cannot underflow; rows where it overflows (a logit 88 nats above the target's) are
    computed again with a maximum shift. Vocabulary blocks are added in a fixed order, so the same row gives the
    same bits whatever rows are beside it, as long as the matrix product does (see `chunked_nll`).

    Args:
        hidden_RD: float32, bfloat16 or float16.
        classifier_VD: same dtype and device; the output embedding, tied or not.
        target_R: int64 in [0, vocab_size), or `ignore_index`, which gives 0.
        bias: `[V]`, any floating dtype.
        scale: factor on the logits, before the soft cap.
        softcap: bound of the logits.
        vocab_size: rows of the classifier that are tokens; the rest is padding.
        impl: `reference` is chunked torch on any device; `bfloat16` the same by a CPU's bfloat16 units, which round
            each l_v - l_t to bfloat16 (a relative error of 2^-9 at most, 0 near the target), for bfloat16 inputs
            without scale and soft cap; `triton` one fused kernel on CUDA (on a CPU only in Triton's interpreter).
            `auto` takes `triton` for float16 and bfloat16 where Triton is installed, from compute capability 8.0 on
            (before 9.0 by a tiling of its own, see `linear_nll_triton.tiling`), and `bfloat16` where that can run.

    Raises:
        ValueError: shapes that do not fit, a target outside the vocabulary, or `bfloat16` where that cannot run.
    """
    head = Head.checked(hidden_RD, classifier_VD, target_R, bias, scale, softcap, vocab_size, ignore_index)
    if impl not in ("auto", "reference", "bfloat16", "triton"):
        raise ValueError(f"impl: must be auto, reference, bfloat16 or triton, got {impl!r}")
    if impl == "triton" or (impl == "auto" and _triton_is_fast(hidden_RD)):
        from siftlm_kernels.linear_nll_triton import fused_nll

        return fused_nll(hidden_RD, target_R, head)
    if impl == "reference":
        return chunked_nll(hidden_RD, target_R, head)
    by_units = head.by_units(hidden_RD)
    if impl == "bfloat16" and not by_units.rounded:
        raise ValueError(
            "impl: bfloat16 needs bfloat16 tensors on a CPU with units for them, no scale and no soft cap, got "
            f"{hidden_RD.dtype} on {hidden_RD.device}, units {bfloat16_units()}"
        )
    return chunked_nll(hidden_RD, target_R, by_units)


def _triton_is_fast(hidden: torch.Tensor) -> bool:
    if not hidden.is_cuda or hidden.dtype not in (torch.float16, torch.bfloat16):
        return False
    return torch.cuda.get_device_capability(hidden.device) >= TRITON_FROM and TRITON_INSTALLED
