"""Finds statistics of a whole corpus in passes: what a pass observes, and what follows from it.

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
    """Holds what one pass observes of some rows."""

    @classmethod
    def merged(cls, parts: Iterable[Any]) -> Any:
        """Returns what it observes of the rows of all parts, of which there is at least one."""


class State(Protocol):
    """Tells how far a statistic is known."""

    @property
    def done(self) -> bool:
        """Whether no pass is left."""


StateT = TypeVar("StateT", bound=State)


class Statistic(Protocol[Rows, StateT, PartialT]):
    """Finds something in passes over a corpus."""

    def observe(self, rows: Rows, state: StateT) -> PartialT:
        """Returns what the coming pass needs to know of some rows."""

    def settle(self, state: StateT, partial: PartialT | None) -> StateT:
        """Returns the state after a pass over all rows; `partial` is None where there was nothing to observe."""


def merged(parts: Iterable[PartialT]) -> PartialT:
    """Returns the parts, of which there is at least one, as one."""
    every = list(parts)
    together: PartialT = type(every[0]).merged(every)
    return together


def settled(
    statistic: Statistic[Rows, StateT, PartialT], state: StateT, look: Callable[[StateT], PartialT | None]
) -> StateT:
    """Returns the state in which nothing is left to find; `look` makes a pass over the corpus."""
    while not state.done:
        state = statistic.settle(state, look(state))
    return state


@stored
@dataclass(frozen=True)
class Together:
    """Holds states, or partials, of several statistics that are found in the same passes, by name."""

    parts: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Whether all are done."""
        return all(part.done for part in self.parts.values())

    @classmethod
    def merged(cls, parts: Iterable[Together]) -> Together:
        """Returns the parts of each name as one."""
        every = list(parts)
        return cls({name: merged(part.parts[name] for part in every) for name in every[0].parts})
