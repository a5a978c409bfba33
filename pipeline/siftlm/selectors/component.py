"""Defines the base class of rules and weight factors: their description, and their statistics of the corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from siftlm.errors import UserError
from siftlm.selectors.rows import Rows
from siftlm.settings import Settings
from siftlm.statistics.passes import Partial, State


class Mention(NamedTuple):
    """Holds values of a column that a configuration names; `keeps` where documents with none of them are dropped."""

    place: str
    column: str
    values: tuple[str, ...]
    keeps: bool = False


class Component(Settings):
    """Configures one rule or weight factor, and describes its columns, its reasons and what it does.

    Every method depends on its arguments alone.

    One that needs statistics of the whole corpus begins with a state, and gives `observe` and `settle`: see
    `statistics.passes`. Its state is made of arrays, numbers and dataclasses marked `stored`.

    Attributes:
        paper: Where the method comes from: authors, year, arXiv; empty where nobody has to be cited.
        unchecked: What of its source could not be read, in words: constants recalled or chosen; empty for none.
        example: A whole configuration of it, which the contract test runs.
    """

    kind: str
    paper: ClassVar[str] = ""
    unchecked: ClassVar[str]
    example: ClassVar[Mapping[str, Any]]

    def columns(self) -> set[str]:
        """Returns the names of the columns that it reads, without the column of tokens."""
        raise NotImplementedError(f"{self.kind} must say which columns it reads")

    def reasons(self) -> tuple[str, ...]:
        """Returns the names of the reasons for which it can drop a document."""
        raise NotImplementedError(f"{self.kind} must say for which reasons it drops")

    def words(self) -> str:
        """Returns in words what the rule or factor asks of a document or does with it."""
        raise NotImplementedError(f"{self.kind} must say in words what it does")

    def describe(self) -> str:
        """Returns the words of `words`, followed by the documents to which it is limited."""
        return self.words()

    def mentions(self) -> list[Mention]:
        """Returns the values of columns that it names, each with the key path within its own configuration."""
        return []

    @property
    def grouped_by(self) -> tuple[str, str] | None:
        """Returns (setting, column) of the column of strings by which documents are grouped; None without one."""
        return None

    @property
    def passes(self) -> int:
        """Returns how many passes it makes over a small corpus; 0 where it looks at each row alone."""
        return 0

    def rehearse(self, rows: Rows) -> None:
        """Raises UserError where a column that it reads has the wrong type; `rows` may be empty."""
        raise NotImplementedError(f"{self.kind} must try its columns")

    def begin(self, entry_limit: int) -> State | None:  # noqa: ARG002
        """Returns the state before the first pass over the corpus; None where it looks at each row alone."""
        return None

    def observe(self, rows: Rows, state: Any) -> Partial:
        """Returns the counts or sums of some rows from which `settle` computes the next state."""
        raise NotImplementedError(f"{self.kind} observes nothing")

    def settle(self, state: Any, partial: Any) -> State:
        """Returns the state after a pass over all rows; `partial` is None where there was nothing to observe."""
        raise NotImplementedError(f"{self.kind} finds nothing")


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Puts the place in the configuration before the message of a UserError raised in the block."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}.{error}") from None
