"""Holds a model's weights in one flat vector, with its gradient and AdamW's state beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from siftlm.errors import UserError
from siftlm.proxies.training.model import WeightForm, forms
from siftlm.proxies.training.settings import ModelShape

BETAS = (0.9, 0.95)  # GPT-3, appendix B (Brown et al. 2020, arXiv 2005.14165)
WEIGHT_DECAY = 0.1  # of matrices; the same
CLIPPED_NORM = 1.0  # of the gradient; the same


class FlatWeights:
    """Holds the weights of a model by name, each a view of one float32 vector: matrices first, for their decay."""

    def __init__(self, shape: ModelShape, vocabulary: int, seed: int, device: torch.device) -> None:
        made = sorted(forms(shape, vocabulary), key=lambda form: len(form.size) < 2)
        sizes = [math.prod(form.size) for form in made]
        self.decayed = sum(size for form, size in zip(made, sizes, strict=True) if len(form.size) >= 2)
        self.flat = torch.cat([part.flatten() for part in _initial(forms(shape, vocabulary), made, seed)]).to(device)
        self.gradient = torch.zeros_like(self.flat)
        views = zip(made, pieces(self.flat, sizes), strict=True)
        self.by_name = {form.name: piece.view(form.size).requires_grad_() for form, piece in views}
        slopes = zip(made, pieces(self.gradient, sizes), strict=True)
        self._gradients = [piece.view(form.size) for form, piece in slopes]

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over other weights by name; raises UserError where they are those of another shape or vocabulary."""
        expected, got = ({name: tuple(part.shape) for name, part in of.items()} for of in (self.by_name, weights))
        if got != expected:
            name = min(name for name in {**expected, **got} if expected.get(name) != got.get(name))
            raise UserError(
                f"training: weights to go on from must be those of the model's shape and vocabulary, got {name} as "
                f"{got.get(name)} and not as {expected.get(name)}"
            )
        for name, part in self.by_name.items():
            part.copy_(weights[name])

    def add(self, gradients: Sequence[Tensor]) -> None:
        """Adds gradients in the order of `by_name` to `gradient`."""
        torch._foreach_add_(self._gradients, list(gradients))


def pieces(flat: Tensor, sizes: Sequence[int]) -> Iterator[Tensor]:
    """Yields views of a tensor, one after the other, of so many rows."""
    start = 0
    for size in sizes:
        yield flat[start : start + size]
        start += size


def _initial(order: Sequence[WeightForm], wanted: Sequence[WeightForm], seed: int) -> list[Tensor]:
    """The initial weights, drawn in the model's own order."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {form.name: _begun(form, generator) for form in order}
    return [drawn[form.name] for form in wanted]


def _begun(form: WeightForm, generator: torch.Generator) -> Tensor:
    if not form.deviation:
        return torch.full(form.size, form.constant)
    return torch.empty(form.size).normal_(0.0, form.deviation, generator=generator)


class AdamW:
    """Updates flat weights by AdamW with decay on matrices only (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    def __init__(self, weights: FlatWeights) -> None:
        self._weights = weights
        split = [weights.decayed, len(weights.flat) - weights.decayed]
        self._parts = [torch.nn.Parameter(part) for part in pieces(weights.flat, split)]
        for part, gradient in zip(self._parts, pieces(weights.gradient, split), strict=True):
            part.grad = gradient
        groups = [
            {"params": [part], "weight_decay": d} for part, d in zip(self._parts, (WEIGHT_DECAY, 0.0), strict=True)
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)

    @torch.no_grad()
    def update(self, rate: float) -> None:
        """Clips the gradient by its norm, and updates the weights at a learning rate."""
        gradient = self._weights.gradient
        gradient.mul_((CLIPPED_NORM / (torch.linalg.vector_norm(gradient) + 1e-6)).clamp(max=1.0))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """Returns what the next updates depend on beside the weights; empty before the first."""
        kept = enumerate(self._parts)
        return {f"{name}.{n}": of for n, part in kept for name, of in self._optimizer.state[part].items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from a state."""
        for n, part in enumerate(self._parts):
            names = [name.rpartition(".")[0] for name in state if name.endswith(f".{n}")]
            self._optimizer.state[part] = {name: state[f"{name}.{n}"].to(part.device).clone() for name in names}


class Average:
    """Adds up copies of the weights, for the mean of the last ones."""

    def __init__(self, steps: int, last: int, every: int) -> None:
        self.steps = frozenset(range(steps, 0, -every)[:last]) if last else frozenset()
        self.total: Tensor | None = None
        self.count = 0

    def add(self, flat: Tensor) -> None:
        """Adds the weights as they are."""
        self.total = flat.double() if self.total is None else self.total.add_(flat)
        self.count += 1

    def mean(self) -> Tensor:
        """Returns the mean of all that was added, in float32."""
        assert self.total is not None, "weights were added"
        return (self.total / self.count).float()
