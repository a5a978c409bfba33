"""Defines what rules and weight factors have in common: what they say of themselves, and statistics of the corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from siftlm.errors import UserError
from siftlm.selectors.rows import Rows
from siftlm.settings import Settings
from siftlm.statistics.passes import Partial, State


class Mention(NamedTuple):
    """Names values of a column that a configuration lists; `keeps` where documents without one of them go."""

    place: str
    column: str
    values: tuple[str, ...]
    keeps: bool = False


class Component(Settings):
    """Describes itself, as every rule and weight factor does. All methods are functions of their arguments.

    One that needs statistics of the whole corpus begins with a state, and gives `observe` and `settle`: see
    `statistics.passes`. Its state is made of arrays, numbers and dataclasses marked `stored`.

    Attributes:
        paper: Where the method comes from: authors, year, arXiv; empty where nobody has to be cited.
        example: A whole configuration of it, which the contract test runs.
    """

    kind: str
    paper: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]]

    def columns(self) -> set[str]:
        """Returns the columns that it reads, the column of tokens aside."""
        raise NotImplementedError(f"{self.kind} must say which columns it reads")

    def reasons(self) -> tuple[str, ...]:
        """Returns the reasons for which it can drop a document."""
        raise NotImplementedError(f"{self.kind} must say for which reasons it drops")

    def words(self) -> str:
        """Returns what it asks of a document, in words."""
        raise NotImplementedError(f"{self.kind} must say in words what it does")

    def describe(self) -> str:
        """Returns what it asks of a document, in words, with the documents that it is limited to."""
        return self.words()

    def mentions(self) -> list[Mention]:
        """Returns the values that it lists by name, at places within itself."""
        return []

    @property
    def grouped_by(self) -> tuple[str, str] | None:
        """The key and its value, a column of strings whose values tell documents apart; None where none does."""
        return None

    @property
    def passes(self) -> int:
        """The passes over a small corpus that it takes; 0 where it looks at each row alone."""
        return 0

    def rehearse(self, rows: Rows) -> None:
        """Raises UserError where the columns are not of the types that are needed; `rows` may be none."""
        raise NotImplementedError(f"{self.kind} must try its columns")

    def begin(self, entry_limit: int) -> State | None:  # noqa: ARG002
        """Returns the state before any pass; None where it looks at each row alone."""
        return None

    def observe(self, rows: Rows, state: Any) -> Partial:
        """Returns what the coming pass needs to know of some rows."""
        raise NotImplementedError(f"{self.kind} observes nothing")

    def settle(self, state: Any, partial: Any) -> State:
        """Returns the state after a pass over all rows; `partial` is None where there was nothing to observe."""
        raise NotImplementedError(f"{self.kind} finds nothing")


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Tells a user's mistake with its place in the configuration."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}.{error}") from None
