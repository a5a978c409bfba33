"""The steps of a finished run that can drop a document, in their order, with the values they cut at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from siftlm import filesystem
from siftlm.config import RunConfig
from siftlm.engine.values import read_value
from siftlm.inspect.run import FinishedRun
from siftlm.selectors import Plan, found
from siftlm.selectors.band import Band
from siftlm.selectors.density import DensityRule
from siftlm.selectors.plan import RULES, WEIGHTS
from siftlm.selectors.rule import RuleSettings
from siftlm.selectors.sample import Sample
from siftlm.selectors.threshold import Threshold
from siftlm.selectors.top import Top
from siftlm.stages.columns import DEDUP, PASSAGES, PRESELECT, REFERENCE
from siftlm.stages.select import FAILED, plan_path
from siftlm.statistics.cuts import POOL, Cuts
from siftlm.statistics.hashing import hash_names
from siftlm.statistics.ordered import LARGEST, UInt64Array, to_number

LENGTH_BIN = np.uint64(15)  # a group's lowest bits say which bin of length it is


@dataclass(frozen=True)
class Step:
    """Something that a document meets on its way: `rule` is None for what is not a rule."""

    place: str  # dedup, dedup.passages, reference, preselect.0, score.<name>, select.rules.0, select.weights:
    # the name that the decisions know it by, so that rules may share a reason and still be told apart
    text: str
    column: str | None = None
    rule: RuleSettings | None = None
    position: int | None = None  # among the rules of the selection


@dataclass(frozen=True)
class Cut:
    """Where one group of documents was cut: the values at its cuts, None for an open end."""

    group: str | None
    values: tuple[float | int | None, ...]
    documents: int


@dataclass(frozen=True)
class Rulebook:
    """The rules of a run and what they found."""

    run: FinishedRun

    @cached_property
    def config(self) -> RunConfig:
        return RunConfig.model_validate(self.run.manifest["config"])

    @cached_property
    def plan(self) -> Plan | None:
        """The resolved selection; None where the store no longer has it."""
        keys = [task.inputs["decisions"] for task in self.run.tasks()]
        path = plan_path(self.run.store, keys)
        if not filesystem.exists(path):
            return None
        plan: Plan = read_value(path, self.run.store)
        return plan

    @cached_property
    def columns(self) -> dict[str, pa.DataType]:
        return self.run.columns()

    def steps(self) -> list[Step]:
        """Everything that can drop a document, in the order in which a document meets it."""
        return [*self._before(), *self._rules(), *self._after()]

    def _before(self) -> list[Step]:
        steps = []
        if self.config.dedup is not None:
            steps.append(Step(DEDUP, "represents its cluster of duplicates", "duplicate"))
        if self.config.dedup is not None and self.config.dedup.passages is not None:
            text = f"has something left without the {self.config.dedup.passages.unit}s that others have"
            steps.append(Step(PASSAGES, text, "cut_share"))
        if self.config.reference is not None:
            share = f"is not in the {self.config.reference.holdout:.6g} that train the reference model"
            steps.append(Step(REFERENCE, share))
        for index, rule in enumerate(self.config.preselect):
            steps.append(Step(f"{PRESELECT}.{index}", describe(rule), rule.ranked_column, rule))
        for score in self.config.score:
            steps.append(Step(f"{FAILED}{score.name}", "could be scored"))
        return steps

    def _rules(self) -> list[Step]:
        return [
            Step(f"{RULES}.{index}", describe(rule), rule.ranked_column, rule, index)
            for index, rule in enumerate(self.config.selection().rules)
        ]

    def _after(self) -> list[Step]:
        if self.config.select.weights is None:
            return []
        text = "has a weight, and a copy where copies are drawn"
        return [Step(WEIGHTS, text)]

    def account(self, lost: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        """Every step with what it asks for, what it dropped by reason, and what a ranked rule found: for the manifest.

        `lost` are (step, reason, documents), one or several of each.
        """
        dropped: dict[str, Counter[str]] = defaultdict(Counter)
        for place, reason, documents in lost:
            dropped[place][reason] += documents
        ranked = (
            {rule.pop("rule"): rule for rule in found(self.plan, pa.schema(self.columns))["rules"]} if self.plan else {}
        )
        return [
            {"place": step.place, "text": step.text, "dropped": dict(sorted(dropped[step.place].items()))}
            | ranked.get(step.position, {})
            for step in self.steps()
        ]

    def cuts(self, step: Step, names: Iterable[str | None] = ()) -> list[Cut]:
        """The cuts of a rule, a group each, largest first; `names` are the values its groups may have."""
        position = step.position
        if position is None or self.plan is None or not self.plan.cuts[position]:
            return []
        rule, cuts = self.plan.settings.rules[position], self.plan.cuts[position][0]
        known = group_names(names)
        order = np.argsort(-cuts.documents, kind="stable").tolist()
        return [
            Cut(_group_name(rule, int(cuts.groups[row]), known), self.values(rule, cuts, row), int(cuts.documents[row]))
            for row in order
        ]

    def values(self, rule: RuleSettings, cuts: Cuts, row: int) -> tuple[float | int | None, ...]:
        """The numbers of the rule's column at the cuts of one group, None for an open end."""
        assert rule.ranked_column is not None, f"{rule.kind} ranks a column"
        keys: UInt64Array = cuts.key[row]
        keys = ~keys if isinstance(rule, Top) and rule.end == "highest" else keys
        floating = pa.types.is_floating(self.columns[rule.ranked_column])
        numbers = to_number(keys, np.dtype(np.float64 if floating else np.int64)).tolist()
        open_ = (keys == 0) | (keys == LARGEST)
        return tuple(None if end else number for end, number in zip(open_.tolist(), numbers, strict=True))


def group_names(names: Iterable[str | None]) -> dict[int, str]:
    """The names of groups by the hash under which they are ranked."""
    real = [name for name in names if name is not None]
    return dict(zip((hash_names(pa.array(real, pa.string())) & POOL).tolist(), real, strict=True))


def _group_name(rule: RuleSettings, group: int, known: dict[int, str]) -> str | None:
    """The name of a group; None where all documents are ranked as one."""
    within = getattr(rule, "within", "global")
    base = group & int(POOL)
    name = None if within == "global" else "small groups together" if base == int(POOL) else known.get(base, "?")
    bins = getattr(rule, "length_bins", [])
    if not bins:
        return name
    edges = [0, *bins, None]
    low, high = edges[group & int(LENGTH_BIN)], edges[(group & int(LENGTH_BIN)) + 1]
    length = f"{low} tokens and more" if high is None else f"{low} to {high - 1} tokens"
    return length if name is None else f"{name}, {length}"


def describe(rule: RuleSettings) -> str:
    """What a document must be to pass a rule, in words."""
    scope = rule.when.lists() if rule.when else {}
    where = "".join(f"; only {name} in {', '.join(values)}" for name, values in scope.items())
    return f"{_described(rule)}{where}"


def _described(rule: RuleSettings) -> str:
    match rule:
        case Threshold():
            return _threshold(rule)
        case Band():
            return f"{rule.column} in the {rule.criterion} {rule.rate:.6g} of {rule.by}{_within(rule.within)}"
        case Top():
            budget = f"{rule.amount:,} {rule.unit}" if rule.rate is None else f"{100 * rule.rate:.6g} % of {rule.unit}"
            return f"{rule.column} among the {rule.end} {budget}{_within(rule.within)}"
        case Sample():
            return f"drawn with probability {rule.rate if rule.column is None else rule.column}"
        case DensityRule():
            size = f"rate {rule.rate:.6g}" if rule.rate is not None else f"factor {rule.factor:.6g}"
            return f"drawn by {rule.column} ({rule.kind}, {size})"
    return rule.kind


def _threshold(rule: Threshold) -> str:
    low = "" if rule.min is None else f"{rule.min:.6g} ≤ "
    high = "" if rule.max is None else f" ≤ {rule.max:.6g}"
    lists = [("in", rule.in_), ("not in", rule.not_in)]
    listed = [f"{word} {', '.join(map(str, values))}" for word, values in lists if values is not None]
    return " ".join([f"{low}{rule.column}{high}", *listed])


def _within(within: str) -> str:
    return "" if within == "global" else f" within each {within}"
