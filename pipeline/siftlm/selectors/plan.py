"""The selection as an algorithm over shards: statistics, advance, until resolved; then one decision a row.

    plan = start(settings)
    while not plan.done:
        plan = advance(plan, [shard_statistics(shard, plan) for shard in shards])
    decisions = [decide(shard, plan) for shard in shards]

A rule that looks at a row alone needs no pass; a ranked rule takes one or a few, over the rows that the rules
above it keep. Nothing depends on the order of the shards, or on how they are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siftlm.errors import UserError
from siftlm.selectors import copies, filling
from siftlm.selectors.reasons import NO_COPY, ZERO_WEIGHT
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import RuleSettings
from siftlm.selectors.segments import Segments, SegmentsFactor, SegmentSums
from siftlm.selectors.settings import SelectSettings
from siftlm.selectors.weights import factor_named
from siftlm.statistics import cuts as search
from siftlm.statistics.cuts import Cuts, Ranked, Search
from siftlm.statistics.ordered import BoolArray, Float64Array, Int64Array, UInt64Array
from siftlm.statistics.radix import RankHistogram

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
RULES = "select.rules"
WEIGHTS = "select.weights"

Names: TypeAlias = npt.NDArray[np.object_]
"""A string or None for every row."""
T = TypeVar("T")


@dataclass(frozen=True)
class Statistics:
    """Holds what one pass says of shards: a histogram, or sums for a budget or for segments."""

    histogram: RankHistogram | None = None
    sums: filling.Sums | None = None
    segments: SegmentSums | None = None

    @classmethod
    def merged(cls, parts: Iterable[Statistics]) -> Statistics:
        """The statistics of all of `parts`, in any order and any grouping."""
        every = list(parts)
        histograms = [part.histogram for part in every if part.histogram is not None]
        sums = [part.sums for part in every if part.sums is not None]
        segments = [part.segments for part in every if part.segments is not None]
        return cls(
            RankHistogram.merged(histograms) if histograms else None,
            filling.Sums.merged(sums) if sums else None,
            SegmentSums.merged(segments) if segments else None,
        )


@dataclass(frozen=True)
class Plan:
    """How far the selection is resolved: `cuts[i]` are those of rule i, and the last those of the copies.

    `segments` are those of the weights' factors, the last of which may still be without its weights.
    Picklable; the same for every shard of a pass.
    """

    settings: SelectSettings
    cuts: tuple[tuple[Cuts, ...], ...]
    search: Search | None = None
    filling: filling.Filling | None = None
    done: bool = False
    passes: int = 0
    segments: tuple[Segments, ...] = ()

    @property
    def segmenting(self) -> tuple[int, SegmentsFactor] | None:
        """The factor of the weights whose segments come next or wait for their weights, with its position."""
        weights = self.settings.weights
        if weights is None or self.step < len(self.settings.rules):
            return None
        ready = sum(bool(found.weights) for found in self.segments)
        waiting = weights.segmented()[ready:]
        return waiting[0] if waiting else None

    @property
    def step(self) -> int:
        """The rule whose statistics come next; the number of rules stands for the weights."""
        return len(self.cuts) - 1


def start(settings: SelectSettings) -> Plan:
    """The plan before any pass; done already where no rule and no budget needs statistics."""
    return _opened(Plan(settings, ((),)))


def shard_statistics(columns: Columns, plan: Plan) -> Statistics:
    """What the coming pass needs to know of one shard."""
    rows = _rows(columns, plan)
    alive, *_ = _ruled(rows, plan)
    rules = plan.settings.rules
    if plan.step < len(rules):
        rule = rules[plan.step]
        subject = rows.where(_subject(rule, rows, alive))
        earlier = plan.cuts[plan.step]
        ranked = _placed(plan.step, lambda: rule.ranked(subject, len(earlier), earlier, _draws(plan, plan.step)))
        return Statistics(histogram=_counted(plan, ranked))
    return _weight_statistics(rows.where(alive), plan)


def advance(plan: Plan, parts: Iterable[Statistics]) -> Plan:
    """The plan after a pass whose statistics are `parts`, merged before or not.

    Raises:
        UserError: a budget cannot be met.
    """
    assert not plan.done, "nothing is left to find"
    merged = Statistics.merged(parts)
    plan = replace(plan, passes=plan.passes + 1)
    if plan.filling is not None:
        return _filled(plan, merged.sums or filling.Sums())
    if plan.search is None and plan.segmenting is not None:
        weighed = plan.segmenting[1].weighed(plan.segments[-1], merged.segments)
        return _weights_opened(replace(plan, segments=(*plan.segments[:-1], weighed)))
    assert plan.search is not None, "a plan that is not done has something open"
    found = search.advance(plan.search, [merged.histogram] if merged.histogram is not None else [])
    if found.found is None:
        return replace(plan, search=found)
    if plan.segmenting is not None:
        return replace(plan, search=None, segments=(*plan.segments, Segments(found.found)))
    return _opened(replace(plan, search=None, cuts=(*plan.cuts[:-1], (*plan.cuts[-1], found.found))))


def decide(columns: Columns, plan: Plan) -> pa.RecordBatch:
    """The decisions of one shard, row by row: DECISION_SCHEMA."""
    assert plan.done, "statistics are still open"
    rows = _rows(columns, plan)
    alive, reasons, steps = _ruled(rows, plan)
    weight, count = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    weight[alive], count[alive] = _weighed(rows.where(alive), plan)
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


def select(tables: Iterable[Columns], settings: SelectSettings) -> list[pa.RecordBatch]:
    """The decisions of every table, all in memory: what a job does over shards."""
    shards = list(tables)
    plan = resolve(shards, settings)
    return [decide(shard, plan) for shard in shards]


def resolve(shards: list[Columns], settings: SelectSettings) -> Plan:
    """The finished plan of shards in memory."""
    plan = start(settings)
    while not plan.done:
        plan = advance(plan, [shard_statistics(shard, plan) for shard in shards])
    return plan


def keep_rows(
    rule: RuleSettings, columns: Columns, alive: BoolArray, seed: int = 0, draws: str = "preselect"
) -> list[tuple[str, BoolArray]]:
    """Which rows in `alive` a rule without statistics drops: (reason, mask over all rows), disjoint.

    `draws` names the random numbers of a sample: they are independent of those of any other name, and of a plan's.
    """
    assert rule.phases == 0, f"{rule.kind} needs statistics of the whole corpus"
    return _drops(rule, Rows.of(columns, seed, None), alive, (), f"{draws} {rule.kind}")


def _rows(columns: Columns, plan: Plan) -> Rows:
    return Rows.of(columns, plan.settings.seed, plan.settings.tokens)


def _opened(plan: Plan) -> Plan:
    """The plan with the next search or filling begun, or done."""
    settings = plan.settings
    while plan.step < len(settings.rules):
        rule, phase = settings.rules[plan.step], len(plan.cuts[-1])
        if phase < rule.phases:
            limit = settings.entry_limit
            return replace(plan, search=Search(rule.targets(phase), rule.smallest_group, limit))
        plan = replace(plan, cuts=(*plan.cuts, ()))
    return _weights_opened(plan)


def _weights_opened(plan: Plan) -> Plan:
    weights = plan.settings.weights
    if plan.segmenting is not None:
        return replace(plan, search=Search(plan.segmenting[1].targets(), entry_limit=plan.settings.entry_limit))
    if weights is None or weights.budget_tokens is None:
        return replace(plan, done=True)
    if not weights.materialise:
        return replace(plan, filling=filling.Filling())
    if not plan.cuts[-1]:
        targets = copies.targets(weights.budget_tokens)
        return replace(plan, search=Search(targets, entry_limit=plan.settings.entry_limit))
    copies.check_budget(plan.cuts[-1][0], weights.budget_tokens, weights.cap, WEIGHTS)
    return replace(plan, done=True)


def _filled(plan: Plan, total: filling.Sums) -> Plan:
    weights = plan.settings.weights
    assert weights is not None, "a filling serves a budget"
    assert weights.budget_tokens is not None, "a filling serves a budget"
    assert plan.filling is not None, "a filling serves a budget"
    filled = filling.advance(plan.filling, total, weights.budget_tokens, weights.cap, WEIGHTS)
    return replace(plan, filling=filled, done=filled.done)


def _counted(plan: Plan, ranked: Ranked) -> RankHistogram:
    assert plan.search is not None, "a plan that is not done has something open"
    return search.histogram(plan.search, ranked)


def _ruled(rows: Rows, plan: Plan) -> tuple[BoolArray, Names, Names]:
    """Which rows the rules resolved so far keep; why the others went, and at which step."""
    reasons, steps = _brought(rows, DROPPED_REASON), _brought(rows, DROPPED_BY)
    alive = np.array([reason is None for reason in reasons], np.bool_)
    for position, rule in enumerate(plan.settings.rules[: plan.step]):
        draws, cuts = _draws(plan, position), plan.cuts[position]
        for reason, mask in _placed(position, lambda: _drops(rule, rows, alive, cuts, draws)):  # noqa: B023
            reasons[mask] = reason
            steps[mask] = f"{RULES}.{position}"
            alive &= ~mask
    return alive, reasons, steps


def _brought(rows: Rows, name: str) -> Names:
    """A column of strings that the shard may bring, None where it does not."""
    found = np.full(len(rows), None, object)
    if name in rows.table.schema.names:
        found[:] = rows.table[name].to_pylist()
    return found


def _drops(
    rule: RuleSettings, rows: Rows, alive: BoolArray, cuts: tuple[Cuts, ...], draws: str
) -> list[tuple[str, BoolArray]]:
    """The reasons of a rule with the rows that go for each, as disjoint masks over all rows."""
    found: list[tuple[str, BoolArray]] = []
    subject = _subject(rule, rows, alive)
    column = rule.ranked_column
    if column is not None and rule.missing == "drop":
        found.append((f"{column}_missing", _scope(rule, rows, alive) & ~subject))
    left = subject.copy()
    for reason, mask in rule.drops(rows.where(subject), cuts, draws):
        going = np.zeros(len(rows), np.bool_)
        going[subject] = mask
        found.append((reason, going & left))
        left &= ~going
    return [(reason, mask) for reason, mask in found if mask.any()]


def _scope(rule: RuleSettings, rows: Rows, alive: BoolArray) -> BoolArray:
    """The rows that are still kept and that the rule applies to."""
    scope = alive.copy()
    for name, values in (rule.when.lists() if rule.when else {}).items():
        scope &= rows.isin(name, values)
    return scope


def _subject(rule: RuleSettings, rows: Rows, alive: BoolArray) -> BoolArray:
    """The rows of the rule's scope that have a value."""
    scope = _scope(rule, rows, alive)
    return scope & ~rows.missing(rule.ranked_column) if rule.ranked_column is not None else scope


def _draws(plan: Plan, position: int) -> str:
    """The name of a rule's random numbers: its kind and its place among the rules of that kind."""
    kinds = [rule.kind for rule in plan.settings.rules[:position]]
    kind = plan.settings.rules[position].kind
    return f"{kind} {kinds.count(kind)}"


def _placed(position: int, answer: Callable[[], T]) -> T:
    """The answer; a user's mistake in it is told with the rule's place."""
    try:
        return answer()
    except UserError as error:
        raise UserError(f"select.rules.{position}.{error}") from None


def _weight_statistics(rows: Rows, plan: Plan) -> Statistics:
    weights = plan.settings.weights
    assert weights is not None, "a plan without weights is done after its rules"
    if plan.segmenting is not None:
        position, factor = plan.segmenting
        with factor_named(WEIGHTS, position):
            if plan.search is None:
                return Statistics(segments=factor.sums(rows, plan.segments[-1]))
            return Statistics(histogram=_counted(plan, factor.ranked(rows)))
    relative = weights.relative(rows, WEIGHTS, plan.segments)
    if plan.filling is not None:
        return Statistics(sums=filling.sums(plan.filling, relative, rows.tokens(), weights.cap))
    ranked = copies.steps(relative, _copy_draws(rows), rows.tokens(), int(weights.cap))
    return Statistics(histogram=_counted(plan, ranked))


def _copy_draws(rows: Rows) -> UInt64Array:
    return rows.draw("copies")


def _weighed(rows: Rows, plan: Plan) -> tuple[Float64Array, Int64Array]:
    """The expected copies of every row that the rules keep, and its copies."""
    weights = plan.settings.weights
    if weights is None:
        return np.ones(len(rows)), np.ones(len(rows), np.int64)
    relative = weights.relative(rows, WEIGHTS, plan.segments)
    expected = weights.capped(relative, weight_scale(plan))
    if not weights.materialise:
        return expected, (expected > 0).astype(np.int64)
    draw, cap = _copy_draws(rows), int(weights.cap)
    if weights.budget_tokens is None:
        return expected, copies.drawn(expected, draw)
    return expected, copies.within(plan.cuts[-1][0], relative, draw, cap)


def weight_scale(plan: Plan) -> float:
    """The number that all relative weights are multiplied by; 1 without a budget."""
    weights = plan.settings.weights
    if weights is None or weights.budget_tokens is None:
        return 1.0
    if weights.materialise:
        return copies.scale_of(plan.cuts[-1][0])
    assert plan.filling is not None, "weights with a budget are filled first"
    return plan.filling.scale
