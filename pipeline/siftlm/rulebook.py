"""The steps of a finished run that can drop a document, in their order, with the values they cut at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from siftlm import filesystem
from siftlm.config import RunConfig
from siftlm.inspection import FinishedRun
from siftlm.report.funnel import PASSAGES
from siftlm.selectors import Plan
from siftlm.selectors.band import Band
from siftlm.selectors.density import DensityRule
from siftlm.selectors.rule import RuleSettings
from siftlm.selectors.sample import Sample
from siftlm.selectors.threshold import Threshold
from siftlm.selectors.top import Top
from siftlm.selectors.weights import NO_COPY, ZERO_WEIGHT
from siftlm.stages.columns import ALL_CUT, HELD_OUT
from siftlm.stages.select import ERROR
from siftlm.stages.values import read_value
from siftlm.statistics.cuts import POOL, Cuts
from siftlm.statistics.hashing import hash_names
from siftlm.statistics.ordered import LARGEST, UInt64Array, to_number
from siftlm.store import digest

LENGTH_BIN = np.uint64(15)  # a group's lowest bits say which bin of length it is


@dataclass(frozen=True)
class Step:
    """Something that a document meets on its way: `rule` is None for what is not a rule."""

    place: str  # dedup, dedup.passages, reference, preselect.0, score.<name>, select.rules.0, select.weights
    text: str
    column: str | None = None
    rule: RuleSettings | None = None
    position: int | None = None  # among the rules of the selection
    reasons: frozenset[str] = frozenset()
    prefix: str | None = None  # of reasons that are many

    def drops(self, reason: str) -> bool:
        """Whether a reason is one of this step's."""
        return reason in self.reasons or (self.prefix is not None and reason.startswith(self.prefix))


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
        path = self.run.store.path("selections", digest(keys), ".npz")
        if not filesystem.exists(path):
            return None
        plan: Plan = read_value(path)
        return plan

    @cached_property
    def columns(self) -> dict[str, pa.DataType]:
        return self.run.columns()

    def steps(self) -> list[Step]:
        """Everything that can drop a document, in the order in which a document meets it."""
        return [*self._before(), *self._rules(), *self._after()]

    def _before(self) -> list[Step]:
        found = []
        if self.config.dedup is not None:
            reasons = frozenset({"exact_duplicate", "near_duplicate"})
            found.append(Step("dedup", "represents its cluster of duplicates", "duplicate", reasons=reasons))
        if self.config.dedup is not None and self.config.dedup.passages is not None:
            text = f"has something left without the {self.config.dedup.passages.unit}s that others have"
            found.append(Step(PASSAGES, text, "cut_share", reasons=frozenset({ALL_CUT})))
        if self.config.reference is not None:
            share = f"is not in the {self.config.reference.holdout:.6g} that train the reference model"
            found.append(Step("reference", share, reasons=frozenset({HELD_OUT})))
        for index, rule in enumerate(self.config.preselect):
            column, text = rule.ranked_column, describe(rule)
            found.append(Step(f"preselect.{index}", text, column, rule, reasons=reasons_of(rule)))
        for score in self.config.score:
            prefix = f"{score.name}{ERROR}_"
            found.append(Step(f"score.{score.name}", "could be scored", prefix=prefix))
        return found

    def _rules(self) -> list[Step]:
        return [
            Step(f"select.rules.{index}", describe(rule), rule.ranked_column, rule, index, reasons_of(rule))
            for index, rule in enumerate(self.config.select.rules)
        ]

    def _after(self) -> list[Step]:
        if self.config.select.weights is None:
            return []
        text = "has a weight, and a copy where copies are drawn"
        return [Step("select.weights", text, reasons=frozenset({ZERO_WEIGHT, NO_COPY}))]

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
        keys = ~keys if isinstance(rule, Top) and rule.direction == "highest" else keys
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


def reasons_of(rule: RuleSettings) -> frozenset[str]:
    """Every reason that a rule can give."""
    missing = {f"{rule.ranked_column}_missing"} if rule.ranked_column and rule.missing == "drop" else set()
    return frozenset(({rule.reason} if rule.reason else _default_reasons(rule)) | missing)


def _default_reasons(rule: RuleSettings) -> set[str]:
    match rule:
        case Threshold(column=column):
            return {f"{column}_{why}" for why in ("below_min", "above_max", "not_in_list", "in_list")}
        case Band(column=column, criterion=criterion):
            return {f"{column}_outside_{criterion}_band"}
        case Top(column=column):
            return {f"below_top_{column}", f"above_bottom_{column}"}
        case Sample():
            return {"not_sampled"}
        case DensityRule(column=column):
            return {f"not_sampled_by_{column}"}
    return set()


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
            budget = rule.budget_tokens or rule.budget_documents or rule.rate
            unit = rule.unit if rule.rate is None else f"of {rule.unit}"
            return f"{rule.column} among the {rule.direction} {budget:,} {unit}{_within(rule.within)}"
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
