"""Computes a language model's loss and its gradients from hidden states, without all logits in memory.

Shapes: N tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 1 << 19  # 2 MiB of float32, which a core's cache holds
SMALLEST_CHUNK = {"cpu": 256, "cuda": 4096}  # tokens: of fewer, the gradient of a large head costs more than they do
SMALLEST = 1e-37  # of probabilities that a logarithm is taken of, a normal float32: 85 nats


def weighed_nats(hidden: Tensor, head: Tensor, targets: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns sum(factors * nats), and nats = -log softmax(hidden @ head^T)[targets] without a gradient.

    Takes [N, D], [V, D], int64 [N] and float32 [N], and returns a scalar and float32 [N]. The gradients for `hidden`
    and `head` are computed in the forward pass, chunk by chunk, as in Hsu et al. 2024 (Liger Kernel, arXiv 2410.10989).
    """
    total, nats = _WeighedNats.apply(hidden, head, targets, factors)  # type: ignore[no-untyped-call]
    return total, nats


@torch.no_grad()
def token_nats(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Returns nats = -log softmax(hidden @ head^T)[targets], float32 [N], for measuring."""
    nats = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    for rows in _chunks(len(hidden), len(head), hidden.device.type):
        logits = (hidden[rows] @ head.T).float()
        right = logits.gather(1, targets[rows, None]).squeeze(1)
        nats[rows] = torch.logsumexp(logits, -1) - right
    return nats


def _chunks(tokens: int, vocabulary: int, device: str) -> Iterator[slice]:
    step = max(SMALLEST_CHUNK[device], CHUNK_LOGITS // vocabulary)
    return (slice(start, start + step) for start in range(0, tokens, step))


class _WeighedNats(torch.autograd.Function):
    """The head and the loss in one."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        of_hidden, of_head = torch.empty_like(hidden), torch.zeros_like(head, dtype=torch.float32)
        nats = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        narrow = head.to(hidden.dtype)
        for rows in _chunks(len(hidden), len(head), hidden.device.type):
            part, target = hidden[rows], targets[rows, None]
            shares = torch.softmax((part @ narrow.T).float(), -1)
            right = shares.gather(1, target)
            nats[rows] = -right.clamp_min(SMALLEST).log().squeeze(1)
            shares.scatter_add_(1, target, torch.full_like(right, -1.0)).mul_(factors[rows, None])
            slopes = shares.to(hidden.dtype)
            of_hidden[rows] = slopes @ narrow
            if slopes.dtype == torch.float32:
                of_head.addmm_(slopes.T, part)
            else:
                of_head += slopes.T @ part
        ctx.save_for_backward(of_hidden, of_head)
        ctx.mark_non_differentiable(nats)
        return (nats * factors).sum(), nats

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_hidden, of_head = ctx.saved_tensors
        return of_hidden * slopes[0].to(of_hidden.dtype), of_head * slopes[0], None, None
