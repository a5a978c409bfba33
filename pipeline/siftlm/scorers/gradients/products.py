"""Computes norms, products and projections of the gradients of many documents without storing these gradients.

The gradient of a matrix is a sum over tokens of outer products, G = sum_t l_t r_t^T: of a linear layer l_t is the
gradient at its output and r_t its input, of embeddings l_t is the one-hot vector of the token. So

    |G|^2 = sum_{s,t} (l_s . l_t)(r_s . r_t)          (the ghost norm of Li et al. 2021, arXiv 2110.05679)
    <G, V> = sum_t l_t^T V r_t
    A G B^T = sum_t (A l_t)(B r_t)^T

need no matrix of the size of G. Where G is smaller than the products of all pairs of tokens it is made instead. Which
of the two it is depends on the length that a document is padded to, and on nothing of its neighbours.

Shapes: B documents, L tokens of each, behind which l_t is 0; P rows of a matrix and Q columns; K numbers of a
projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

MADE_VALUES = 1 << 24  # float32 values of gradients that exist at once: 64 MiB
Directions = Mapping[str, torch.Tensor]
"""A float64 tensor for each parameter, of its shape: products with it may nearly cancel."""


@dataclass(frozen=True)
class Sketch:
    """Holds the two random matrices that project the gradient of one matrix: left `[K1, P]`, right `[K2, Q]`."""

    left: torch.Tensor
    right: torch.Tensor


class Gradients(Protocol):
    """Gives numbers of the gradients of B documents, all float64 on the CPU."""

    def squares(self) -> torch.Tensor:
        """Returns the squared norm of each gradient over all parameters, [B]."""
        ...

    def dots(self, directions: Directions) -> torch.Tensor:
        """Returns the scalar product of each gradient with one direction, [B]."""
        ...

    def sketches(self, sketches: Mapping[str, Sketch]) -> torch.Tensor:
        """Returns the projections of each gradient by random matrices, added up over the parameters, [B, K1 * K2]."""
        ...


@dataclass(frozen=True)
class Dense:
    """Holds one side of outer products as vectors, `[B, L, P]`."""

    vectors: torch.Tensor

    def gram(self, other: Side) -> torch.Tensor:
        """Returns the scalar products of all tokens of this side with all of another one, [B, L, L]."""
        if isinstance(other, OneHot):
            return _gathered(self.vectors, other.ids)
        return torch.bmm(self.vectors, other.vectors.transpose(1, 2))

    def times(self, matrix_KP: torch.Tensor) -> torch.Tensor:
        """Returns the vectors multiplied by a matrix, [B, L, K]."""
        return self.vectors @ matrix_KP.T

    @property
    def width(self) -> int:
        return int(self.vectors.shape[2])


@dataclass(frozen=True)
class OneHot:
    """Holds one side of outer products as the positions of ones in `width` zeros, int64 `[B, L]`."""

    ids: torch.Tensor
    width: int

    def gram(self, other: Side) -> torch.Tensor:
        if isinstance(other, OneHot):
            return (self.ids[:, :, None] == other.ids[:, None, :]).float()
        return _gathered(other.vectors, self.ids).transpose(1, 2)

    def times(self, matrix_KP: torch.Tensor) -> torch.Tensor:
        return matrix_KP.T[self.ids]


Side = Dense | OneHot


def _gathered(vectors_BLP: torch.Tensor, ids_BM: torch.Tensor) -> torch.Tensor:
    """The components of every vector that the ids name, [B, L, M]."""
    index = ids_BM[:, None, :].expand(-1, vectors_BLP.shape[1], -1)
    return vectors_BLP.gather(2, index)


@dataclass(frozen=True)
class Outer:
    """Holds a gradient as a sum of outer products over tokens: one use of a matrix of a model."""

    left: Side
    right: Dense

    def made(self, rows: slice) -> torch.Tensor:
        """Returns the gradients of some documents, [b, P, Q]."""
        right_BLQ = self.right.vectors[rows]
        if isinstance(self.left, Dense):
            return torch.bmm(self.left.vectors[rows].transpose(1, 2), right_BLQ)
        made_BPQ = right_BLQ.new_zeros(len(right_BLQ), self.left.width, self.right.width)
        for made_PQ, ids_L, vectors_LQ in zip(made_BPQ, self.left.ids[rows], right_BLQ, strict=True):
            made_PQ.index_add_(0, ids_L, vectors_LQ)
        return made_BPQ

    def dots(self, direction_PQ: torch.Tensor) -> torch.Tensor:
        """Returns <G, direction>, [B]: sum_t r_t . (direction^T l_t), by the side that makes the smaller product."""
        left, right_BLQ = self.left, self.right.vectors.double()
        if isinstance(left, OneHot):
            return _total(direction_PQ[left.ids], right_BLQ)
        if left.width > self.right.width:
            return _total(left.vectors.double() @ direction_PQ, right_BLQ)
        return _total(right_BLQ @ direction_PQ.T, left.vectors.double())

    def sketches(self, sketch: Sketch) -> torch.Tensor:
        left_BLK, right_BLK = self.left.times(sketch.left), self.right.times(sketch.right)
        return torch.bmm(left_BLK.transpose(1, 2), right_BLK).flatten(1).double().cpu()


def _total(one_BLX: torch.Tensor, other_BLX: torch.Tensor) -> torch.Tensor:
    """The sum of a product over all but documents."""
    return (one_BLX * other_BLX).sum((1, 2)).cpu()


@dataclass(frozen=True)
class FactoredGradients:
    """Holds the gradients of B documents: of matrices by their outer products, of vectors as they are, `[B, P]`."""

    matrices: Mapping[str, Sequence[Outer]]
    vectors: Mapping[str, torch.Tensor]

    def squares(self) -> torch.Tensor:
        parts = [matrix_squares(uses) for uses in self.matrices.values()]
        parts += [vector.square().sum(1, dtype=torch.float64).cpu() for vector in self.vectors.values()]
        return torch.stack(parts).sum(0)

    def dots(self, directions: Directions) -> torch.Tensor:
        parts = [use.dots(directions[name]) for name, uses in self.matrices.items() for use in uses]
        vectors = self.vectors.items()
        parts += [(vector.double() * directions[name]).sum(1).cpu() for name, vector in vectors]
        return torch.stack(parts).sum(0)

    def sketches(self, sketches: Mapping[str, Sketch]) -> torch.Tensor:
        parts = [use.sketches(sketches[name]) for name, uses in self.matrices.items() for use in uses]
        return torch.stack(parts).sum(0)

    def whole(self, row: int) -> dict[str, torch.Tensor]:
        """Returns the gradient of one document, a tensor of its shape for each parameter."""
        only = slice(row, row + 1)
        made = {name: sum_of([use.made(only)[0] for use in uses]) for name, uses in self.matrices.items()}
        return made | {name: vector[row] for name, vector in self.vectors.items()}


@dataclass(frozen=True)
class WholeGradient:
    """Holds the gradient of one document, a tensor of its shape for each parameter."""

    parameters: Mapping[str, torch.Tensor]

    def squares(self) -> torch.Tensor:
        parts = [gradient.square().sum(dtype=torch.float64).cpu() for gradient in self.parameters.values()]
        return torch.stack(parts).sum()[None]

    def dots(self, directions: Directions) -> torch.Tensor:
        pairs = [(gradient, directions[name]) for name, gradient in self.parameters.items()]
        return torch.stack([(one.double() * other).sum().cpu() for one, other in pairs]).sum()[None]

    def sketches(self, sketches: Mapping[str, Sketch]) -> torch.Tensor:
        pairs = [(gradient, sketches[name]) for name, gradient in self.parameters.items()]
        made = [(sketch.left @ gradient @ sketch.right.T).flatten().double().cpu() for gradient, sketch in pairs]
        return torch.stack(made).sum(0)[None]


def sum_of(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Returns the sum of tensors of one shape, in their order."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def matrix_squares(uses: Sequence[Outer]) -> torch.Tensor:
    """Returns the squared norm of each document's gradient of one matrix, which may have several uses, [B]."""
    tokens, width = uses[0].right.vectors.shape[1], uses[0].left.width + uses[0].right.width
    if len(uses) * tokens * width < uses[0].left.width * uses[0].right.width:
        return sum_of([_pair(one, other) for one in uses for other in uses])
    return _made_squares(uses)


def _pair(one: Outer, other: Outer) -> torch.Tensor:
    """The scalar product of two uses' gradients, [B], with pairs of tokens added up in float64."""
    return (one.left.gram(other.left).double() * one.right.gram(other.right)).sum((1, 2)).cpu()


def _made_squares(uses: Sequence[Outer]) -> torch.Tensor:
    values, documents = uses[0].left.width * uses[0].right.width, len(uses[0].right.vectors)
    at_once = max(1, MADE_VALUES // values)
    parts = [
        sum_of([use.made(slice(start, start + at_once)) for use in uses]).square().sum(2).sum(1, dtype=torch.float64)
        for start in range(0, documents, at_once)
    ]
    return torch.cat(parts).cpu()
