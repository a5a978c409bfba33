"""Selects documents over shards: makes passes until all statistics are known, then decides on each row.

A rule that looks at a row alone needs no pass; a ranked rule takes one or a few, over the rows that the rules
above it keep. Nothing depends on the order of the shards, or on how they are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siftlm.selectors.component import placed
from siftlm.selectors.reasons import NO_COPY, ZERO_WEIGHT
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops, RuleSettings
from siftlm.selectors.settings import SelectSettings
from siftlm.selectors.weights import WEIGHTS, factor_place
from siftlm.statistics.ordered import BoolArray
from siftlm.statistics.passes import Partial, merged, settled
from siftlm.statistics.stored import stored

Columns: TypeAlias = pa.RecordBatch | pa.Table

DECISION_SCHEMA = pa.schema(
    [
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("reason", pa.string()),  # why a document was dropped; null for kept ones
        pa.field("weight", pa.float64()),  # expected copies; null for documents that a rule dropped
        pa.field("copies", pa.int32(), nullable=False),  # how often it is written
        pa.field("dropped_by", pa.string()),  # the step that dropped it, select.rules.2; null for kept ones
    ]
)
DROPPED_REASON = "dropped_reason"
"""A column that a shard may bring: documents with a value in it are dropped for it from the start."""
DROPPED_BY = "dropped_before_by"
"""A column beside it: the step that dropped them."""

Names: TypeAlias = npt.NDArray[np.object_]
"""A string or None for every row."""


@stored
@dataclass(frozen=True)
class Plan:
    """Holds the statistics computed so far, one state for each rule, weight factor and budget of a selection.

    The last state may still need passes; that of a rule or factor which looks at each row alone is None.
    """

    states: tuple[Any, ...] = ()
    done: bool = False
    passes: int = 0


@dataclass(frozen=True)
class Selection:
    """Decides which documents are kept, by rules, then weight factors, then a budget, after passes over the corpus."""

    settings: SelectSettings

    @cached_property
    def rules(self) -> list[RuleSettings]:
        """Returns the rules in the order in which they are applied."""
        return [rule for _, rule in self.settings.placed()]

    @property
    def parts(self) -> list[tuple[str, Any]]:
        """Returns pairs of a place in the configuration and the rule, factor or budget there, in order."""
        rules = self.settings.placed()
        if (weights := self.settings.weights) is None:
            return list[tuple[str, Any]](rules)
        factors = [(factor_place(position), factor) for position, factor in enumerate(weights.factors)]
        return [*rules, *factors, *([(WEIGHTS, weights.budget)] if weights.budget else [])]

    def begin(self) -> Plan:
        """Returns the plan before the first pass; it is done already where nothing needs statistics."""
        return self._opened(())

    def _opened(self, states: tuple[Any, ...], passes: int = 0) -> Plan:
        """The plan with the next part begun that needs a pass, or done."""
        parts = self.parts
        while len(states) < len(parts):
            state = parts[len(states)][1].begin(self.settings.entry_limit)
            states = (*states, state)
            if not (state is None or state.done):
                return Plan(states, passes=passes)
        return Plan(states, done=True, passes=passes)

    def observe(self, rows: Columns, state: Plan) -> Partial:
        """Returns the counts or sums of one shard that the current pass of a statistic needs."""
        shard, position = self.rows(rows), len(state.states) - 1
        alive, *_ = self._ruled(shard, state)
        place, part = self.parts[position]
        subject = self._subject(position, shard, alive, state)
        with placed(place):
            partial: Partial = part.observe(subject, state.states[position])
        return partial

    def _subject(self, position: int, rows: Rows, alive: BoolArray, plan: Plan) -> Any:
        """What a part sees of a shard: a rule the rows that it applies to, the others what the rules keep."""
        rules, weights = self.rules, self.settings.weights
        if position < len(rules):
            return self.drawing(rows, position).where(rules[position].subject(rows, alive))
        assert weights is not None, "what is found after the rules are weights"
        kept = rows.where(alive)
        is_factor = position < len(rules) + len(weights.factors)
        return kept if is_factor else weights.weighed(kept, plan.states[len(rules) :])

    def settle(self, state: Plan, partial: Partial | None) -> Plan:
        """Returns the plan after a pass over all shards; raises UserError where a budget cannot be met."""
        place, part = self.parts[len(state.states) - 1]
        with placed(place):
            last = part.settle(state.states[-1], partial)
        states, passes = (*state.states[:-1], last), state.passes + 1
        return self._opened(states, passes) if last.done else replace(state, states=states, passes=passes)

    def decide(self, columns: Columns, plan: Plan) -> pa.RecordBatch:
        """Returns the decisions on one shard, one row for each document, in DECISION_SCHEMA."""
        return self.decide_rows(self.rows(columns), plan)

    def decide_rows(self, rows: Rows, plan: Plan) -> pa.RecordBatch:
        """Returns the same of the rows of a shard."""
        assert plan.done, "statistics are still open"
        alive, reasons, steps = self._ruled(rows, plan)
        weight, count = alive.astype(np.float64), alive.astype(np.int64)
        if self.settings.weights:
            states = plan.states[len(self.rules) :]
            weight[alive], count[alive] = self.settings.weights.expected(rows.where(alive), states)
        reasons[alive & (count == 0)] = NO_COPY
        reasons[alive & (weight == 0)] = ZERO_WEIGHT
        steps[alive & (count == 0)] = WEIGHTS
        kept = alive & (count > 0)
        return pa.RecordBatch.from_arrays(
            [
                pa.array(kept),
                pa.array(reasons, pa.string(), mask=kept),
                pa.array(weight, mask=~alive),
                pa.array(np.where(kept, count, 0), pa.int32()),
                pa.array(steps, pa.string(), mask=kept),
            ],
            schema=DECISION_SCHEMA,
        )

    def drawing(self, rows: Rows, position: int) -> Rows:
        """Returns the rows with the random numbers of the rule at `position`.

        They are named by the kind of the rule and its number among the rules of that kind.
        """
        kinds = [rule.kind for rule in self.rules[: position + 1]]
        return rows.drawing(f"{kinds[-1]} {kinds.count(kinds[-1]) - 1}")

    def rows(self, columns: Columns) -> Rows:
        """Returns all rows of a shard as `Rows`, with the seed and the column of tokens."""
        return Rows.of(columns, self.settings.seed, self.settings.tokens)

    def _ruled(self, rows: Rows, plan: Plan) -> tuple[BoolArray, Names, Names]:
        """Which rows the rules resolved so far keep; why the others went, and at which step."""
        reasons, steps = _brought(rows, DROPPED_REASON), _brought(rows, DROPPED_BY)
        alive = np.array([reason is None for reason in reasons], np.bool_)
        resolved = len(plan.states) if plan.done else len(plan.states) - 1
        for position, (place, rule) in enumerate(self.settings.placed()[:resolved]):
            with placed(place):
                dropped = rule.dropped(self.drawing(rows, position), alive, plan.states[position])
            for reason, mask in dropped:
                reasons[mask] = reason
                steps[mask] = place
                alive &= ~mask
        return alive, reasons, steps


def select(tables: Iterable[Columns], settings: SelectSettings) -> list[pa.RecordBatch]:
    """Returns the decisions on every table, computed in memory as a job computes them over shards."""
    shards, selection = list(tables), Selection(settings)
    plan = resolve(shards, selection)
    return [selection.decide(shard, plan) for shard in shards]


def resolve(shards: Sequence[Columns], selection: Selection) -> Plan:
    """Returns the finished plan of a selection over shards that are in memory."""

    def look(plan: Plan) -> Partial | None:
        return merged(selection.observe(shard, plan) for shard in shards) if shards else None

    return settled(selection, selection.begin(), look)


def keep_rows(rule: RuleSettings, columns: Columns, alive: BoolArray, seed: int = 0, draws: str = "preselect") -> Drops:
    """Returns (reason, mask) for the rows in `alive` that a rule without statistics drops.

    The masks are over all rows, and disjoint. `draws` names the random numbers of a sample: they are independent of
    those of any other name, and of a plan's.
    """
    assert not rule.passes, f"{rule.kind} needs statistics of the whole corpus"
    return rule.dropped(Rows.of(columns, seed, None).drawing(f"{draws} {rule.kind}"), alive)


def _brought(rows: Rows, name: str) -> Names:
    """A column of strings that the shard may bring, None where it does not."""
    brought = np.full(len(rows), None, object)
    if name in rows.table.schema.names:
        brought[:] = rows.table[name].to_pylist()
    return brought
