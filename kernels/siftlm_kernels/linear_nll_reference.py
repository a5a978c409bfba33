"""Computes `linear_nll` in chunks, and the per-token statistics that need the whole distribution.

Shapes: R rows (tokens), C rows of a chunk, D hidden size, V vocabulary, B vocabulary of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from siftlm_kernels.cpu_units import bfloat16_units

ROW_CHUNK = 256  # with VOCABULARY_BLOCK: 4 MiB of logits, which stay in a core's cache between product and exp
CUDA_ROW_CHUNK = 2048
VOCABULARY_BLOCK = 4096


@dataclass(frozen=True)
class Head:
    """Holds a classifier over tokens with its bias, scale and soft cap, as `linear_nll` takes them."""

    classifier: torch.Tensor  # [V, D], padding rows cut off
    bias: torch.Tensor | None
    scale: float | None
    softcap: float | None
    ignore_index: int
    rounded: bool = False  # whether distances to the target's logit are rounded to the dtype of the inputs

    @classmethod
    def checked(
        cls, hidden: torch.Tensor, classifier: torch.Tensor, target: torch.Tensor, bias: torch.Tensor | None,
        scale: float | None = None, softcap: float | None = None, vocab_size: int | None = None,
        ignore_index: int = -100,
    ) -> Head:  # fmt: skip
        """Returns a head made of these arguments, or raises a ValueError where they do not fit together."""
        if hidden.ndim != 2 or classifier.ndim != 2 or hidden.shape[1] != classifier.shape[1]:
            raise ValueError(
                f"linear_nll: hidden [R, D] and classifier [V, D] must share D, got {tuple(hidden.shape)} "
                f"and {tuple(classifier.shape)}"
            )
        if hidden.dtype != classifier.dtype:
            raise ValueError(
                f"linear_nll: hidden and classifier must share a dtype, got {hidden.dtype} and {classifier.dtype}"
            )
        if target.shape != hidden.shape[:1]:
            raise ValueError(f"linear_nll: target must be [R] = [{len(hidden)}], got {tuple(target.shape)}")
        size = len(classifier) if vocab_size is None else vocab_size
        if not 0 < size <= len(classifier):
            raise ValueError(f"linear_nll: vocab_size must be in 1..{len(classifier)}, got {vocab_size}")
        outside = (target != ignore_index) & ((target < 0) | (target >= size))
        if not target.is_cuda and bool(outside.any()):  # on CUDA the check would wait for the device
            raise ValueError(f"linear_nll: targets must be in 0..{size - 1}, got {int(target[outside][0])}")
        return cls(classifier[:size], None if bias is None else bias[:size].float(), scale, softcap, ignore_index)

    def capped(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns the logits after scale and soft cap, which are applied in place."""
        if self.scale is not None:
            logits.mul_(self.scale)
        if self.softcap is not None:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits

    def block_logits(self, hidden_CD: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Returns the logits of the tokens from `start` to `stop`, float32 `[C, stop - start]`."""
        logits_CB = product_float32(hidden_CD, self.classifier[start:stop])
        if self.bias is not None:
            logits_CB.add_(self.bias[start:stop])
        return self.capped(logits_CB)

    def by_units(self, hidden: torch.Tensor) -> Head:
        """Returns the head that multiplies by the CPU's bfloat16 units, or itself where those cannot do it."""
        able = not hidden.is_cuda and hidden.dtype == torch.bfloat16 and bool(bfloat16_units())
        return replace(self, rounded=True) if able and self.scale is None and self.softcap is None else self

    def distances(self, hidden_CD: torch.Tensor, target_logits_C1: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Returns the logits of the tokens from `start` to `stop` minus that of each row's target, float32.

        A `rounded` head subtracts the target's logit, itself rounded, where products are added up, in float32: what is
        then rounded is a distance, which is small where it counts, and not a logit.
        """
        if not self.rounded:
            return self.block_logits(hidden_CD, start, stop).sub_(target_logits_C1)
        near_C1 = target_logits_C1.to(hidden_CD.dtype)
        distances_CB = torch.addmm(near_C1, hidden_CD, self.classifier[start:stop].T, beta=-1).float()
        rest_C1 = near_C1.float() - target_logits_C1
        return distances_CB.add_(rest_C1 if self.bias is None else rest_C1 + self.bias[start:stop])

    def target_logits(self, hidden_CD: torch.Tensor, target_C: torch.Tensor) -> torch.Tensor:
        """Returns the logit of each row's target, float32 `[C, 1]`; `target_C` must have no ignored rows."""
        return self.finished((hidden_CD.float() * self.classifier[target_C].float()).sum(-1), target_C)[:, None]

    def finished(self, products_C: torch.Tensor, target_C: torch.Tensor) -> torch.Tensor:
        """Returns the target logits: the products of rows and targets, with bias, scale and cap applied in place."""
        if self.bias is not None:
            products_C.add_(self.bias[target_C])
        return self.capped(products_C)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yields the first and last bound of each block of the vocabulary, in the order of summation."""
        size = len(self.classifier)
        for start in range(0, size, VOCABULARY_BLOCK):
            yield start, min(start + VOCABULARY_BLOCK, size)


class TokenStatistics(NamedTuple):
    """Holds the negative log-likelihood, entropy and EL2N norm of each row, each float32 `[R]`.

    EL2N is the L2 norm of (softmax - one-hot target), as in Paul et al. 2021, eq. 2.
    """

    nll: torch.Tensor
    entropy: torch.Tensor
    el2n: torch.Tensor


class TokenRanks(NamedTuple):
    """Holds what says where each row's target stands among all tokens, each float32 `[R]`.

    With `p` the predicted distribution of a row and `t` its target:

    Attributes:
        max_log_p: Logarithm of the highest probability, in nats.
        quantile: Share of the vocabulary that has at most `p[t]`, the target included.
        top_p: Sum of the probabilities that are at least `p[t]`, the target's included.
    """

    max_log_p: torch.Tensor
    quantile: torch.Tensor
    top_p: torch.Tensor


def product_float32(hidden_CD: torch.Tensor, classifier_BD: torch.Tensor) -> torch.Tensor:
    """Returns `hidden @ classifier.T` computed in float32, in which half-precision inputs are exact."""
    if hidden_CD.is_cuda and hidden_CD.dtype != torch.float32:
        product: torch.Tensor = torch.mm(hidden_CD, classifier_BD.T, out_dtype=torch.float32)
        return product
    return torch.mm(hidden_CD.float(), classifier_BD.float().T)


def chunked_nll(hidden_RD: torch.Tensor, target_R: torch.Tensor, head: Head) -> torch.Tensor:
    """Returns `linear_nll`, computed by blocks of ROW_CHUNK (on CUDA: CUDA_ROW_CHUNK) rows and VOCABULARY_BLOCK tokens.

    Every product has that many rows, the last chunk being filled up with zeros: a matrix library picks its kernel by
    shape, so a fixed shape is what makes a row's bits independent of how many rows there are.
    """
    return _by_chunks([hidden_RD, target_R], head, lambda h, t: (_chunk_nll(h, t, head),))[0]


def linear_token_statistics(
    hidden_RD: torch.Tensor,
    classifier_VD: torch.Tensor,
    target_R: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    nll_R: torch.Tensor | None = None,
) -> TokenStatistics:
    """Returns each target's negative log-likelihood with the entropy and EL2N norm of the predicted distribution.

    With p = softmax(logits): entropy = -sum p log p; el2n = sqrt(sum_v (p_v - [v = target])^2). Ignored rows give 0.
    The nll column is `nll_R` where that is given, so that it has the bits of whatever computed it, and else that of
    `linear_nll(impl="reference")`, on a CPU with bfloat16 units, where those compute all three, `impl="bfloat16"`.
    """
    head = Head.checked(hidden_RD, classifier_VD, target_R, bias).by_units(hidden_RD)
    nll_R = chunked_nll(hidden_RD, target_R, head) if nll_R is None else nll_R
    rows = [hidden_RD, target_R, nll_R]
    return TokenStatistics(*_by_chunks(rows, head, lambda h, t, nll: _chunk_statistics(h, t, nll, head)))


def linear_token_ranks(
    hidden_RD: torch.Tensor,
    classifier_VD: torch.Tensor,
    target_R: torch.Tensor,
    nll_R: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
) -> TokenRanks:
    """Returns where each target stands in its predicted distribution; `nll_R` is what `linear_nll` gives.

    With log p = log_softmax(logits) and log p_t the target's: max log p; mean of [log p <= log p_t]; sum of p where
    log p >= log p_t. Ignored rows give 0.
    """
    head = Head.checked(hidden_RD, classifier_VD, target_R, bias)
    return TokenRanks(*_by_chunks([hidden_RD, target_R, nll_R], head, lambda h, t, nll: _chunk_ranks(h, t, nll, head)))


def _chunk_ranks(hidden_CD: torch.Tensor, target_C: torch.Tensor, nll_C: torch.Tensor, head: Head) -> TokenRanks:
    target_logits, size = head.target_logits(hidden_CD, target_C), len(head.classifier)
    highest_C = torch.zeros_like(nll_C)  # l_v - l_t, of the target itself to begin with
    below_C, mass_C = torch.zeros_like(nll_C), torch.zeros_like(nll_C)
    for start, stop in head.blocks():
        shifted_CB = head.distances(hidden_CD, target_logits, start, stop)
        inside = ((target_C >= start) & (target_C < stop)).nonzero()[:, 0]
        shifted_CB[inside, target_C[inside] - start] = 0.0  # which a product may miss by its last bits
        highest_C = torch.maximum(highest_C, shifted_CB.max(-1).values)
        below_C += (shifted_CB <= 0).sum(-1)
        mass_C += (shifted_CB - nll_C[:, None]).exp_().mul_(shifted_CB >= 0).sum(-1)
    return TokenRanks((highest_C - nll_C).clamp_max_(0.0), below_C / size, mass_C.clamp_max_(1.0))


def _by_chunks(
    rows: Sequence[torch.Tensor], head: Head, columns: Callable[..., tuple[torch.Tensor, ...]]
) -> tuple[torch.Tensor, ...]:
    """The columns of all rows (hidden states, targets and what else has a row each), computed on full chunks.

    Ignored rows are 0.
    """
    hidden_RD, target_R, *others = rows
    ignored = target_R == head.ignore_index
    given = [hidden_RD, target_R.masked_fill(ignored, 0), *others]
    chunk = CUDA_ROW_CHUNK if hidden_RD.is_cuda else ROW_CHUNK
    parts = []
    for start in range(0, max(len(hidden_RD), 1), chunk):
        stop = min(start + chunk, len(hidden_RD))
        made = columns(*(_filled(values[start:stop], chunk) for values in given))
        parts.append([column[: stop - start] for column in made])
    return tuple(torch.cat(column).masked_fill_(ignored, 0.0) for column in zip(*parts, strict=True))


def _filled(values: torch.Tensor, rows: int) -> torch.Tensor:
    """The values of a chunk, filled up with zeros to so many rows."""
    missing = rows - len(values)
    return torch.nn.functional.pad(values, [0, 0] * (values.ndim - 1) + [0, missing]) if missing else values


def _chunk_nll(hidden_CD: torch.Tensor, target_C: torch.Tensor, head: Head) -> torch.Tensor:
    target_logits = head.target_logits(hidden_CD, target_C)
    total_C = torch.zeros(len(hidden_CD), dtype=torch.float32, device=hidden_CD.device)
    for start, stop in head.blocks():
        total_C += head.distances(hidden_CD, target_logits, start, stop).exp_().sum(-1)
    # The gathered logit and the product's differ in their last bits, so a sure token can come out at -1e-7.
    nll_C = total_C.log().clamp_min_(0.0)
    overflowed = torch.isposinf(nll_C)
    if bool(overflowed.any()):
        nll_C = torch.where(overflowed, _shifted_nll(hidden_CD, target_logits, head), nll_C)
    return nll_C


def _shifted_nll(hidden_CD: torch.Tensor, target_logits: torch.Tensor, head: Head) -> torch.Tensor:
    """The same with a maximum shift in each block: for rows whose plain sum of exponentials overflows."""
    blocks = [head.block_logits(hidden_CD, start, stop).logsumexp(-1) for start, stop in head.blocks()]
    return torch.stack(blocks, -1).logsumexp(-1) - target_logits[:, 0]


def _chunk_statistics(
    hidden_CD: torch.Tensor, target_C: torch.Tensor, nll_C: torch.Tensor, head: Head
) -> TokenStatistics:
    target_logits = head.target_logits(hidden_CD, target_C)
    mean_shift_C = torch.zeros_like(nll_C)  # sum_v p_v (l_v - l_t)
    squares_C = torch.zeros_like(nll_C)  # sum_v p_v^2
    for start, stop in head.blocks():
        shifted_CB = head.distances(hidden_CD, target_logits, start, stop)
        p_CB = (shifted_CB - nll_C[:, None]).exp_()
        mean_shift_C += (p_CB * shifted_CB).sum(-1)
        squares_C += p_CB.square_().sum(-1)
    el2n_C = (squares_C - 2 * (-nll_C).exp() + 1).clamp_min_(0.0).sqrt()
    return TokenStatistics(nll_C, (nll_C - mean_shift_C).clamp_min_(0.0), el2n_C)
