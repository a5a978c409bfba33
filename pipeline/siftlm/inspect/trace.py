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
from siftlm.engine.step import Loss
from siftlm.engine.values import read_value
from siftlm.inspect.run import SelectedRun
from siftlm.selectors import Plan, found
from siftlm.selectors.rule import RuleSettings
from siftlm.selectors.top import Top
from siftlm.stages.select import STAGE as DECISIONS
from siftlm.stages.select import plan_path
from siftlm.statistics.cuts import POOL, Cuts
from siftlm.statistics.hashing import hash_names
from siftlm.statistics.ordered import LARGEST, UInt64Array, to_number
from siftlm.steps import losses, steps

LENGTH_BIN = np.uint64(15)  # a group's lowest bits say which bin of length it is


@dataclass(frozen=True)
class Cut:
    """Where one group of documents was cut: the values at its cuts, None for an open end."""

    group: str | None
    values: tuple[float | int | None, ...]
    documents: int


@dataclass(frozen=True)
class Rulebook:
    """The rules of a run and what they found."""

    run: SelectedRun

    @cached_property
    def config(self) -> RunConfig:
        return RunConfig.model_validate(self.run.manifest["config"])

    @cached_property
    def plan(self) -> Plan | None:
        """The resolved selection; None where the store no longer has it."""
        keys = [task.inputs[DECISIONS] for task in self.run.tasks()]
        path = plan_path(self.run.store, keys)
        if not filesystem.exists(path):
            return None
        plan: Plan = read_value(path, self.run.store)
        return plan

    @cached_property
    def columns(self) -> dict[str, pa.DataType]:
        return self.run.columns()

    @cached_property
    def losses(self) -> list[Loss]:
        """Everything that can drop a document, in the order in which a document meets it."""
        return losses(steps(self.config))

    def account(self, lost: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        """Lists for the manifest every step: what it asks for, what it dropped, what a ranked rule cut at.

        `lost` are (step, reason, documents), one or several of each.
        """
        dropped: dict[str, Counter[str]] = defaultdict(Counter)
        for place, reason, documents in lost:
            dropped[place][reason] += documents
        ranked = (
            {rule.pop("rule"): rule for rule in found(self.plan, pa.schema(self.columns))["rules"]} if self.plan else {}
        )
        return [
            {"place": loss.place, "text": loss.text, "dropped": dict(sorted(dropped[loss.place].items()))}
            | ranked.get(loss.position, {})
            for loss in self.losses
        ]

    def cuts(self, loss: Loss, names: Iterable[str | None] = ()) -> list[Cut]:
        """The cuts of a rule, a group each, largest first; `names` are the values its groups may have."""
        position = loss.position
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
