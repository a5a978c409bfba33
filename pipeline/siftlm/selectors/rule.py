"""What every rule has: a reason, a way with missing values, a scope; and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from pydantic import Field

from siftlm.selectors.reasons import Reason
from siftlm.selectors.rows import Rows
from siftlm.settings import Settings
from siftlm.statistics.cuts import Cuts, Ranked, Target
from siftlm.statistics.ordered import BoolArray

Drops = list[tuple[str, BoolArray]]
"""Why and which rows go: (reason, mask); the first mask that holds for a row gives its reason."""


class Scope(Settings):
    """The documents that a rule applies to: those that match every list given."""

    language: list[str] | None = Field(default=None, min_length=1, description="Only documents of these languages.")
    source: list[str] | None = Field(default=None, min_length=1, description="Only documents of these inputs.")
    domain: list[str] | None = Field(
        default=None, min_length=1, description="Only documents of these registered domains."
    )

    def lists(self) -> dict[str, list[str]]:
        """The columns that the scope reads, with the values it allows."""
        named = {"language": self.language, "source": self.source, "domain": self.domain}
        return {name: values for name, values in named.items() if values is not None}


class RuleSettings(Settings):
    """A rule: it sees the rows that are still kept, in its scope, and says which go and why.

    A ranked rule needs statistics of the whole corpus first: `phases` searches, one after another, each for
    the cuts of `targets(phase)` in what `ranked(rows, phase, cuts)` gives. All methods are functions of their
    arguments; `draws` names the random numbers that are the rule's own.
    """

    kind: str

    reason: Reason | None = Field(
        default=None,
        description="The reason written for dropped documents, instead of the default: letters, digits, _ . and -.",
    )
    missing: Literal["drop", "keep"] = Field(
        default="drop",
        description="What happens to a document without a value; its reason is <column>_missing.",
    )
    when: Scope | None = Field(default=None, description="The documents that the rule applies to; default all.")

    @property
    def ranked_column(self) -> str | None:
        """The column whose missing values `missing` speaks of."""
        return None

    @property
    def phases(self) -> int:
        """How many searches the rule needs; 0 for a rule that looks at a row alone."""
        return 0

    @property
    def counts_tokens(self) -> bool:
        """Whether the rule needs the column of tokens."""
        return False

    @property
    def smallest_group(self) -> int:
        """Groups with fewer documents are ranked together as one."""
        return 1

    def columns(self) -> set[str]:
        """The columns the rule reads, the column of tokens aside."""
        own = {self.ranked_column} if self.ranked_column else set()
        return own | set(self.when.lists() if self.when else ())

    def describe(self) -> str:
        """What a document must be to pass, in words, with the scope of the rule."""
        scope = self.when.lists() if self.when else {}
        return self.words() + "".join(f"; only {name} in {', '.join(values)}" for name, values in scope.items())

    def words(self) -> str:
        """What a document in the rule's scope must be to pass."""
        raise NotImplementedError(f"{self.kind} must say in words what passes")

    def rehearse(self, rows: Rows) -> None:
        """Raises UserError where the columns are not of the types that the rule needs; `rows` may be none."""
        if self.when:
            for name, values in self.when.lists().items():
                rows.isin(name, values)
        if self.phases:
            self.ranked(rows, 0, (), "rehearsal")
        else:
            self.drops(rows, (), "rehearsal")

    def targets(self, phase: int) -> tuple[Target, ...]:
        """Where that phase's search cuts."""
        raise NotImplementedError(f"{self.kind} has no phase {phase}")

    def ranked(self, rows: Rows, phase: int, cuts: Sequence[Cuts], draws: str) -> Ranked:
        """The rows as that phase ranks them; `cuts` holds the earlier phases' results."""
        raise NotImplementedError(f"{self.kind} has no phase {phase}")

    def drops(self, rows: Rows, cuts: Sequence[Cuts], draws: str) -> Drops:
        """Which rows go and why; none of the rows misses `ranked_column`."""
        raise NotImplementedError(f"{self.kind} decides nothing")


def exact(rate: float) -> Fraction:
    """A rate as the decimal number that was written: 0.3 is 3/10."""
    return Fraction(repr(rate))


def within_words(within: str) -> str:
    """The groups in which a rule ranks, as the end of a sentence."""
    return "" if within == "global" else f" within each {within}"
