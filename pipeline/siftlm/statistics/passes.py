"""Defines the interface of statistics that take several passes over a whole corpus.

    state = statistic.begin()
    while not state.done:
        state = statistic.settle(state, merged(statistic.observe(rows, state) for rows in corpus))

A state is plain data, the same for all rows of a pass, and may be written to a file. Neither the order of the rows
nor how they are grouped changes what is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from siftlm.statistics.stored import stored

Rows = TypeVar("Rows", contravariant=True)
PartialT = TypeVar("PartialT", bound="Partial")


class Partial(Protocol):
    """Holds what one pass has counted over some of the rows."""

    @classmethod
    def merged(cls, parts: Iterable[Any]) -> Any:
        """Returns one result for the rows of all `parts`, of which there is at least one."""


class State(Protocol):
    """Holds what is known of a statistic after some passes."""

    @property
    def done(self) -> bool:
        """Tells whether the statistic is known and needs no further pass."""


StateT = TypeVar("StateT", bound=State)


class Statistic(Protocol[Rows, StateT, PartialT]):
    """Computes a statistic of a corpus in one or more passes."""

    def observe(self, rows: Rows, state: StateT) -> PartialT:
        """Returns what the current pass counts over some rows."""

    def settle(self, state: StateT, partial: PartialT | None) -> StateT:
        """Returns the state after a pass over all rows, given what the pass has counted.

        `partial` is None where there was nothing to observe.
        """


def merged(parts: Iterable[PartialT]) -> PartialT:
    """Returns one result for several partial results, of which there is at least one."""
    every = list(parts)
    together: PartialT = type(every[0]).merged(every)
    return together


def settled(
    statistic: Statistic[Rows, StateT, PartialT], state: StateT, look: Callable[[StateT], PartialT | None]
) -> StateT:
    """Makes passes over the corpus until the statistic is known, and returns its last state.

    `look` makes one pass.
    """
    while not state.done:
        state = statistic.settle(state, look(state))
    return state


@stored
@dataclass(frozen=True)
class Together:
    """Holds the states, or the partial results, of several statistics that share their passes, by name."""

    parts: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Tells whether all of the statistics are known."""
        return all(part.done for part in self.parts.values())

    @classmethod
    def merged(cls, parts: Iterable[Together]) -> Together:
        """Returns the partial results of each statistic merged into one."""
        every = list(parts)
        return cls({name: merged(part.parts[name] for part in every) for name in every[0].parts})
