"""The row-aligned columns of one shard, zipped: what selection sees, and what is written beside the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.shards import Task
from siftlm.scorers.contract import bits_per_byte, perplexity
from siftlm.selectors import DECISION_SCHEMA, RowRule, keep_rows
from siftlm.selectors.reasons import ALL_CUT, HELD_OUT
from siftlm.stages.commonness.work import COMMONNESS_SCHEMA
from siftlm.stages.commonness.work import STAGE as COMMONNESS
from siftlm.stages.texts import CUTS, IDS, Aligned, document_batches
from siftlm.statistics.hashing import hash_strings, keyed, uniform
from siftlm.statistics.ordered import BoolArray
from siftlm.store import Store, digest

SCORES = "scores/"  # prefix of the stages that hold one model's scores
DERIVED = {  # of the stored columns of scores/<model>/
    "perplexity": (perplexity, ("nll_sum", "scored_token_count")),
    "bits_per_byte": (bits_per_byte, ("nll_sum", "byte_count")),
}
HIDDEN = frozenset({"bands", "has_shingles", "position", "content_hash"})  # of signals/, of no use to a reader
CLUSTER_COLUMNS = frozenset({"cluster_id", "cluster_size", "duplicate"})
OWN_COLUMNS = {  # of stages whose columns are fixed, and no other stage's
    "clusters": CLUSTER_COLUMNS,
    COMMONNESS: frozenset(COMMONNESS_SCHEMA.names),
    "decisions": frozenset(DECISION_SCHEMA.names),
}
DEDUP, PASSAGES, REFERENCE, PRESELECT = "dedup", "dedup.passages", "reference", "preselect"  # steps that drop


@dataclass(frozen=True)
class Survivors:
    """Which documents reach the language models, and why the others don't.

    In this order: a duplicate, unless `keep_duplicates`, one of which cuts left nothing, one that trains the reference
    model (a keyed share `holdout` of what is left), one that a `preselect` rule drops.
    """

    holdout: float = 0.0
    seed: int = 0
    rules: tuple[RowRule, ...] = field(default=())
    keep_duplicates: bool = False

    def identity(self) -> str:
        return digest(self.holdout, self.seed, [rule.model_dump() for rule in self.rules], self.keep_duplicates)

    def training_identity(self) -> str:
        """Changes when those may that are held out; rules come after them."""
        return digest(self.holdout, self.seed, self.keep_duplicates)

    def stages(self) -> list[str]:
        """What the split and the rules read: ids/ and signals/; clusters/ may change where no duplicate does."""
        named = set[str]().union(*(rule.columns() for rule in self.rules))
        first = [*([IDS] if self.holdout or self.rules else []), *(["signals"] if named else [])]
        return [*first, *(stage for stage in ("clusters", COMMONNESS) if named & OWN_COLUMNS[stage])]

    def read(self, task: Task) -> list[str]:
        """The keys of what the split and the rules read of a shard."""
        return [task.inputs[stage] for stage in self.stages() if stage in task.inputs]

    def held_out(self, doc_ids: pa.Array) -> np.ndarray:
        return uniform(keyed(hash_strings(doc_ids), self.seed, "reference")) < self.holdout

    def reasons(self, task: Task, store: Store) -> pa.Array:
        """A string array over the rows of a shard: null for a survivor, else the reason."""
        return self.losses(task, read_columns(task, store, self.columns(task)))[0]

    def columns(self, task: Task) -> set[str]:
        """The columns that `losses` looks at."""
        wanted = {"doc_id", "duplicate"}.union(*(rule.columns() for rule in self.rules))
        return wanted | ({"byte_count", "cut_count"} if CUTS in task.inputs else set())

    def losses(self, task: Task, table: pa.Table) -> tuple[pa.Array, pa.Array]:
        """Two string arrays over the rows of a shard, null for a survivor: why it is out, and at which step."""
        duplicates = [None] * table.num_rows if self.keep_duplicates else _pylist(table, "duplicate")
        reasons = np.array([f"{kind}_duplicate" if kind else None for kind in duplicates], object)
        steps = np.array([DEDUP if kind else None for kind in duplicates], object)
        if CUTS in task.inputs:
            emptied = pc.and_(pc.equal(table["byte_count"], 0), pc.greater(table["cut_count"], 0)).to_numpy()
            _lose(emptied & _alive(reasons), reasons, ALL_CUT, steps, PASSAGES)
        if self.holdout:
            _lose(self.held_out(table["doc_id"]) & _alive(reasons), reasons, HELD_OUT, steps, REFERENCE)
        for number, rule in enumerate(self.rules):
            for reason, rows in keep_rows(rule, table, _alive(reasons), self.seed, f"preselect {number}"):
                _lose(rows, reasons, reason, steps, f"{PRESELECT}.{number}")
        return pa.array(reasons, pa.string()), pa.array(steps, pa.string())


def _lose(rows: BoolArray, reasons: np.ndarray, reason: str, steps: np.ndarray, step: str) -> None:
    reasons[rows], steps[rows] = reason, step


def _alive(reasons: np.ndarray) -> BoolArray:
    """Where no reason is set yet."""
    return np.array([reason is None for reason in reasons], np.bool_)


def _pylist(table: pa.Table, name: str) -> list[str | None]:
    return table[name].to_pylist() if name in table.schema.names else [None] * table.num_rows


def available(task: Task, store: Store) -> dict[str, pa.DataType]:
    """The columns of a shard by name and type, those derived from scores included."""
    names: dict[str, pa.DataType] = {}
    for stage, key in task.inputs.items():
        if stage == "documents":
            continue
        fields = [(_public(stage, f.name), f.type) for f in store.schema(stage, key) if f.name not in HIDDEN]
        names.update(fields)
        if stage.startswith(SCORES):
            names.update({_public(stage, name): pa.float64() for name in DERIVED})
    return names


def read_columns(task: Task, store: Store, wanted: set[str] | None = None) -> pa.Table:
    """The wanted columns of a shard, in the order of its documents; None gives all of them."""
    return _together(
        (stage, _read_stage(stage, store.table(stage, key, partial(_needed, stage, wanted)), wanted))
        for stage, key in _sources(task, wanted).items()
    )


def _sources(task: Task, wanted: set[str] | None) -> dict[str, str]:
    """The outputs that may have the wanted columns; only what is in one of them is known without opening it."""
    made = {stage: key for stage, key in task.inputs.items() if stage != "documents"}
    if wanted is None:
        return made
    alone = {stage: wanted & names for stage, names in OWN_COLUMNS.items() if stage in made}
    others = wanted.difference(*alone.values())
    return {stage: key for stage, key in made.items() if alone.get(stage, others)}


def row_batches(
    task: Task, store: Store, start: int, end: int, *, rows: int = 512, text: bool = True
) -> Iterator[pa.Table]:
    """Rows [start, end) of a shard with every public column, the text first.

    At most `rows` at a time, and no more than a row group of the texts holds, which is bounded in bytes.
    """
    first, *others = [stage for stage in task.inputs if text or stage != "documents"]
    readers = [(stage, Aligned(store, stage, task.inputs[stage], _public_names, start, end, rows)) for stage in others]
    if first == "documents":
        heads = document_batches(task, store, rows=rows, columns=_public_names, start=start, end=end)
    else:
        heads = store.row_range(first, task.inputs[first], start, end, rows=rows, columns=_public_names)
    for head in heads:
        parts = [(first, pa.Table.from_batches([head])), *((s, reader.take(head.num_rows)) for s, reader in readers)]
        yield _together((stage, _read_stage(stage, part, None)) for stage, part in parts)


def _together(parts: Iterable[tuple[str, pa.Table]]) -> pa.Table:
    """The columns of all stages; what several have is the first's, or that of ids/ and cuts/, which come after."""
    columns: dict[str, pa.ChunkedArray] = {}
    for stage, table in parts:
        for name, column in zip(table.schema.names, table.columns, strict=True):
            if name not in columns or stage in (CUTS, IDS):
                columns[name] = column
    return pa.table(columns)


def _public(stage: str, name: str) -> str:
    return f"{stage.removeprefix(SCORES)}_{name}" if stage.startswith(SCORES) else name


def _needed(stage: str, wanted: set[str] | None, stored: list[str]) -> list[str]:
    """The stored columns of a stage that give the wanted ones."""
    names = _public_names(stored)
    if wanted is None:
        return names
    sources = {s for name, (_, from_) in DERIVED.items() if _public(stage, name) in wanted for s in from_}
    return [n for n in names if _public(stage, n) in wanted or (stage.startswith(SCORES) and n in sources)]


def _read_stage(stage: str, table: pa.Table, wanted: set[str] | None) -> pa.Table:
    """A stage's columns under their public names, with the derived ones."""
    columns = {_public(stage, n): c for n, c in zip(table.schema.names, table.columns, strict=True) if n not in HIDDEN}
    if stage.startswith(SCORES):
        for name, (derive, sources) in DERIVED.items():
            if set(sources) <= set(table.schema.names):
                columns[_public(stage, name)] = derive(*(table[source] for source in sources))
    return pa.table({n: c for n, c in columns.items() if wanted is None or n in wanted})


def _public_names(stored: list[str]) -> list[str]:
    return [name for name in stored if name not in HIDDEN]
