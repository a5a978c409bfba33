"""Defines the rule `any`, which keeps documents that at least one of several rules keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import pyarrow as pa
from pydantic import Field

from siftlm.selectors.component import Mention, placed
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops, Listing, PartVerdict, RuleSettings, flattened, warned
from siftlm.selectors.rules.band import Band
from siftlm.selectors.rules.ccnet import Ccnet
from siftlm.selectors.rules.density import Gaussian, Stepwise
from siftlm.selectors.rules.diverse import Diverse
from siftlm.selectors.rules.fineweb2 import Fineweb2
from siftlm.selectors.rules.sample import Sample
from siftlm.selectors.rules.threshold import Threshold
from siftlm.selectors.rules.thresholds import Thresholds
from siftlm.selectors.rules.top import Top
from siftlm.settings import End
from siftlm.statistics.ordered import BoolArray
from siftlm.statistics.passes import Together

SingleRule: TypeAlias = Threshold | Thresholds | Fineweb2 | Ccnet | Band | Top | Diverse | Sample | Gaussian | Stepwise
"""Every rule that decides by itself; a new one is a file and a name here."""


class AnyOf(RuleSettings):
    """Keeps documents that at least one of its rules keeps: the union of their selections.

    Each rule is applied to all documents that this rule sees. A rule with a scope decides on the documents in it alone;
    a document in no rule's scope is kept. Reason: kept_by_no_rule.
    """

    example: ClassVar[Mapping[str, Any]] = {
        "kind": "any",
        "rules": [
            {"kind": "top", "column": "perplexity", "rate": 0.2, "direction": "lowest"},
            {"kind": "threshold", "column": "tokens", "min": 500},
        ],
    }

    kind: Literal["any"] = "any"
    unchecked: ClassVar[str] = ""
    rules: list[Annotated[SingleRule, Field(discriminator="kind")]] = Field(
        min_length=2, description="The rules, one of which must keep a document."
    )

    def alternatives(self) -> Iterator[tuple[int, list[tuple[str, RuleSettings]]]]:
        """Yields the number of each rule, with (place, rule) for the rules that it expands to.

        All of these must keep a document.
        """
        for number, rule in enumerate(self.rules):
            yield number, [(f"rules.{number}{end}", part) for end, part in rule.parts()]

    @property
    def counts_tokens(self) -> bool:
        return any(rule.counts_tokens for rule in self.rules)

    @property
    def passes(self) -> int:
        return max(rule.passes for rule in self.rules)

    def columns(self) -> set[str]:
        return super().columns().union(*(rule.columns() for rule in self.rules))

    def default_reasons(self) -> tuple[str, ...]:
        return ("kept_by_no_rule",)

    def words(self) -> str:
        return " or ".join(f"({rule.describe()})" for rule in self.rules)

    def mentions(self) -> list[Mention]:
        inner = [
            mention._replace(place=f"rules.{number}.{mention.place}", keeps=False)
            for number, rule in enumerate(self.rules)
            for mention in rule.mentions()
        ]
        return super().mentions() + inner

    def listings(self) -> list[Listing]:
        return [
            listing._replace(place=f"{place}.{listing.place}")
            for place, part in flattened("rules", self.rules)
            for listing in part.listings()
        ]

    def warnings(self) -> list[str]:
        return warned("rules", self.rules)

    def following(self, good_ends: Mapping[str, End]) -> Self:
        return self.model_copy(update={"rules": [rule.following(good_ends) for rule in self.rules]})

    def rehearse_columns(self, rows: Rows) -> None:
        for place, part in flattened("rules", self.rules):
            with placed(place):
                part.rehearse(rows)

    def begin(self, entry_limit: int) -> Together | None:
        begun = {place: part.begin(entry_limit) for place, part in flattened("rules", self.rules)}
        states = {place: state for place, state in begun.items() if state is not None}
        return Together(states) if states else None

    def observe(self, rows: Rows, state: Together) -> Together:
        """Returns, for each rule whose statistics are unfinished, the histogram of the rows that it needs."""
        return Together(
            {
                place: part.observe(self._seen(rows, number, part, np.ones(len(rows), np.bool_)), state.parts[place])
                for number, parts in self.alternatives()
                for place, part in parts
                if place in state.parts and not state.parts[place].done
            }
        )

    def settle(self, state: Together, partial: Together | None) -> Together:
        settled = dict(state.parts)
        for place, part in flattened("rules", self.rules):
            if place in settled and not settled[place].done:
                settled[place] = part.settle(settled[place], partial.parts[place] if partial else None)
        return Together(settled)

    def drops(self, rows: Rows, state: Together | None) -> Drops:
        """Returns the reason and a mask of the rows in scope of some rule that no rule keeps."""
        spoken_for, kept = np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.bool_)
        for number, parts in self.alternatives():
            left = self.rules[number].in_scope(rows, np.ones(len(rows), np.bool_))
            spoken_for |= left
            for place, part in parts:
                own = state.parts.get(place) if state else None
                for _, mask in part.dropped(rows.drawing(f"{rows.purpose}.{number}"), left.copy(), own):
                    left &= ~mask
            kept |= left
        return [(self.default_reasons()[0], spoken_for & ~kept)]

    def part_verdicts(self, rows: Rows, state: Together | None) -> list[PartVerdict]:
        everything = np.ones(len(rows), np.bool_)
        verdicts = []
        for number, parts in self.alternatives():
            applies = bool(self.rules[number].in_scope(rows, everything)[0])
            for place, part in parts:
                own, drawing = state.parts.get(place) if state else None, rows.drawing(f"{rows.purpose}.{number}")
                reason = next((reason for reason, mask in part.dropped(drawing, everything, own) if mask[0]), None)
                verdicts.append(PartVerdict(place, part, drawing, own, applies, reason))
        return verdicts

    def outcome(self, state: Together | None, schema: pa.Schema) -> dict[str, Any]:
        """Returns for the manifest what the rules that rank found, each with its place within this rule."""
        found = state.parts if state else {}
        ranked = [(place, part) for place, part in flattened("rules", self.rules) if place in found]
        outcomes = [{"place": place, **part.outcome(found[place], schema)} for place, part in ranked]
        return {"kind": self.kind, "rules": outcomes}

    @staticmethod
    def _seen(rows: Rows, number: int, part: RuleSettings, alive: BoolArray) -> Rows:
        """The rows that a rule ranks, with random numbers of its own."""
        return rows.drawing(f"{rows.purpose}.{number}").where(part.subject(rows, alive))
