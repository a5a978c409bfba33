"""Finds the scales at which the values of a mixture have their shares of the tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any

import numpy as np

from siftlm.errors import UserError
from siftlm.selectors.budgets import CopiesBudget, FillingBudget, Weighed
from siftlm.statistics.cuts import ENTRY_LIMIT
from siftlm.statistics.ordered import Float64Array, Int64Array
from siftlm.statistics.passes import Together
from siftlm.statistics.stored import stored


@stored
@dataclass(frozen=True)
class ShareTokens:
    """Holds, for each share of a mixture, the tokens of its documents of positive weight."""

    tokens: tuple[int, ...]

    @classmethod
    def merged(cls, parts: Iterable[ShareTokens]) -> ShareTokens:
        return cls(tuple(map(sum, zip(*(part.tokens for part in parts), strict=True))))


@stored
@dataclass(frozen=True)
class Shares:
    """Holds the budget of tokens of each share of a mixture, and the state of its search."""

    budgets: tuple[int, ...] = ()
    states: Together | None = None

    @property
    def done(self) -> bool:
        """Tells whether the scale of every share is found."""
        return self.states is not None and self.states.done


@dataclass(frozen=True)
class MixtureBudget:
    """Finds a scale for each share of a mixture, whose budget is its fraction of all tokens.

    Attributes:
        place: Where the mixture stands among the weights.
        fractions: The fraction of each value.
        tokens: The tokens of all shares; None for those that their documents have.
        cap: The most copies of a document.
        epochs: How often the tokens of a value may count, where what it cannot fill goes to the others.
        materialise: Whether whole copies are drawn.
    """

    place: str
    fractions: Mapping[str, float]
    tokens: int | None
    cap: float
    epochs: float | None
    materialise: bool

    def begin(self, entry_limit: int) -> Shares:  # noqa: ARG002
        return Shares()

    def _budget(self, tokens: int) -> CopiesBudget | FillingBudget:
        return CopiesBudget(tokens, int(self.cap)) if self.materialise else FillingBudget(tokens, self.cap)

    def observe(self, rows: Weighed, state: Shares) -> ShareTokens | Together:
        """Returns the tokens of each share or, with budgets known, the histograms or sums that their searches need."""
        shares = self._rows_of(rows)
        if state.states is None:
            return ShareTokens(tuple(int(rows.tokens[share].sum()) for share in shares))
        return Together(
            {
                str(number): self._budget(state.budgets[number]).observe(rows.where(shares[number]), inner)
                for number, inner in self._open(state.states)
            }
        )

    def settle(self, state: Shares, partial: Any) -> Shares:
        """Returns the state after a pass; raises UserError for a value that has too few tokens for its share."""
        if state.states is None:
            there = partial.tokens if partial else (0,) * len(self.fractions)
            budgets = self._divided(there)
            begun = {str(n): self._budget(tokens).begin(ENTRY_LIMIT) for n, tokens in enumerate(budgets) if tokens}
            return Shares(budgets, Together(begun))
        states = dict(state.states.parts)
        for number, inner in self._open(state.states):
            seen = partial.parts[str(number)] if partial else None
            states[str(number)] = self._budget(state.budgets[number]).settle(inner, seen)
        return Shares(state.budgets, Together(states))

    def _open(self, states: Together) -> Iterator[tuple[int, Any]]:
        """The shares without a scale yet, with their states."""
        return ((int(number), inner) for number, inner in states.parts.items() if not inner.done)

    def _rows_of(self, rows: Weighed) -> list[Int64Array]:
        """The indices of the documents of positive weight that each share has."""
        assert rows.group is not None, "documents of a mixture know their share"
        return by_share(np.where(rows.weight > 0, rows.group, -1), len(self.fractions))

    def _divided(self, there: Sequence[int]) -> tuple[int, ...]:
        """The tokens that each share is to fill, in whole numbers that add up."""
        at_hand = sum(n for n, share in zip(there, self.fractions.values(), strict=True) if share)
        total = at_hand if self.tokens is None else self.tokens
        if self.epochs is not None:
            total = self._within_epochs(total, at_hand)
        wanted = [share * total for share in self.fractions.values()]
        if self.epochs is not None:
            wanted = _within(wanted, [self.epochs * n for n in there])
        for (value, share), tokens, n in zip(self.fractions.items(), wanted, there, strict=True):
            if tokens > self.cap * n:
                raise UserError(
                    f"{self.place}.shares.{value}: must be what its tokens can fill, got {share:.4g} of {total:,}; "
                    f"its {n:,} tokens in at most {self.cap:g} copies are {self.cap * n / max(total, 1):.4g} of them; "
                    "lower it or budget_tokens, raise cap, or set epochs"
                )
        whole = [floor(tokens) for tokens in wanted]
        by_rest = sorted(range(len(whole)), key=lambda n: (whole[n] - wanted[n], n))
        for number in by_rest[: round(sum(wanted)) - sum(whole)]:
            whole[number] += whole[number] + 1 <= self.cap * there[number]
        return tuple(whole)

    def _within_epochs(self, total: int, at_hand: int) -> int:
        """The tokens of all shares; a UserError where more are asked for than all values have in their epochs."""
        assert self.epochs is not None, "without epochs nothing goes to other values"
        most = floor(Fraction(self.epochs) * at_hand)
        if self.tokens is not None and total > most:
            raise UserError(
                f"{self.place}.epochs: must let the values of the mixture fill {total:,} tokens, got {self.epochs:g}; "
                f"their {at_hand:,} tokens are {most:,} in so many epochs; ask for fewer tokens, raise epochs and "
                "cap, or keep more documents"
            )
        return min(total, most)

    def expected(self, rows: Weighed, state: Shares) -> Float64Array:
        """Returns the expected number of copies of every document, 0 for those without a share."""
        out = np.zeros(len(rows.weight))
        for budget, mine, inner in self._each(rows, state):
            out[mine] = budget.expected(rows.where(mine), inner)
        return out

    def copies(self, rows: Weighed, state: Shares, expected: Float64Array) -> Int64Array:
        """Returns the number of copies of every document: int64[documents]."""
        if not self.materialise:
            return (expected > 0).astype(np.int64)
        out = np.zeros(len(rows.weight), np.int64)
        for budget, mine, inner in self._each(rows, state):
            out[mine] = budget.copies(rows.where(mine), inner, expected[mine])
        return out

    def _each(self, rows: Weighed, state: Shares) -> Iterator[tuple[CopiesBudget | FillingBudget, Int64Array, Any]]:
        """Each share's budget, the indices of the documents that it weighs, and what was found for it."""
        assert state.states is not None, "the shares are known first"
        shares = self._rows_of(rows)
        for number, inner in state.states.parts.items():
            yield self._budget(state.budgets[int(number)]), shares[int(number)], inner


def by_share(group: Int64Array, shares: int) -> list[Int64Array]:
    """Returns the indices of the documents of each share, ascending; `group` is the share of each, -1 for none."""
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(shares + 1))
    return [order[start:end] for start, end in pairwise(bounds.tolist())]


def _within(wanted: list[float], most: list[float]) -> list[float]:
    """Tokens with none above its most; what is over goes to the others in proportion, while there is room."""
    full: set[int] = set()
    made = wanted
    while over := {n for n, tokens in enumerate(made) if tokens > most[n] and n not in full}:
        full |= over
        rest = sum(tokens for n, tokens in enumerate(wanted) if n not in full)
        left = sum(wanted) - sum(most[n] for n in full)
        scale = left / rest if rest else 0.0
        made = [most[n] if n in full else tokens * scale for n, tokens in enumerate(wanted)]
    return made
