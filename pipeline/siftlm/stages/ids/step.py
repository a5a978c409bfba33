"""Defines the step that makes ids unique: it reads documents/ and signals/ and writes ids/."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from siftlm import filesystem
from siftlm.engine.drive import Context, run_graph
from siftlm.engine.gather import IN_DRIVER_DOCUMENTS
from siftlm.engine.runner import batch_size
from siftlm.engine.shards import Task
from siftlm.engine.spill import Links
from siftlm.engine.step import Output, Shard, Step, Told
from siftlm.engine.values import read_value
from siftlm.errors import UserError
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.ids.work import ENTRIES, VERSION, Ids, Shared
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.texts import IDS
from siftlm.store import Marker, Store

Made = list[tuple[int, str, int]]
"""(shard, key of its ids, how many it did not come with) for every shard that has new ids."""


@dataclass(frozen=True)
class UniqueIds(Step):
    """Gives unique ids to documents that share one; only shards in which an id changes have an output.

    With `refuse` ids are only compared, as soon as they are read, and a UserError is raised where any repeats.
    """

    sources: tuple[str, ...]
    refuse: bool = False
    name: str = IDS
    per: ClassVar[Literal["run"]] = "run"

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]  # a frozen dataclass cannot have it as a field
        return (DOCUMENTS,) if self.refuse else (DOCUMENTS, SIGNALS)

    def identity(self) -> object:
        return VERSION, self.refuse, self.sources

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        marker = known(context.store, tasks[0].key) or self._compared(tasks, context)
        facts = marker.facts
        if self.refuse and facts["ids"]:
            raise UserError(
                f'duplicate_ids: must be "make_unique" where ids repeat, got "refuse" and {facts["documents"]:,} '
                f"documents that share an id; {facts['most']:,} have {facts['example']!r}, for instance"
            )
        return [marker]

    def outputs(self, shards: Sequence[Shard], tasks: Sequence[Task], markers: Sequence[Marker]) -> list[Shard]:  # noqa: ARG002
        keys = {int(number): key for number, key in markers[0].facts["shards"].items() if key}
        made = {number: Output(key, key) for number, key in keys.items()}
        return [shard.having(IDS, made[shard.number]) if shard.number in made else shard for shard in shards]

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        facts = markers[0].facts
        if not facts["ids"]:
            return Told()
        warning = (
            f"{facts['documents']:,} documents came with ids that others have too, {facts['most']:,} of them with "
            f"{facts['example']!r}; {facts['renamed']:,} were given ids of their own: the old one, # and a hash of "
            "the text (duplicate_ids)"
        )
        told = {name: facts[name] for name in ("ids", "documents", "renamed", "example", "most")}
        return Told([warning], {"ids": told})

    def _compared(self, tasks: Sequence[Task], context: Context) -> Marker:
        """The marker of the comparison of all ids: what they share, and the keys of the shards that have new ones."""
        store, documents = context.store, context.documents
        ranked = sorted(tasks, key=lambda t: (self.sources.index(t.facts["source"]), t.inputs[DOCUMENTS], t.shard))
        ranked = [replace(task, facts={**task.facts, "rank": rank}) for rank, task in enumerate(ranked)]
        partitions = 1 + documents // batch_size(context.runner, ENTRIES)
        stage = Ids(store, Links(store, uuid.uuid4().hex), not self.refuse, partitions)
        made, shared = _compare(stage, ranked, context)
        newest = {shard: (ids, renamed) for shard, ids, renamed in made}
        while made and not self.refuse:  # ends: what is made grows longer, and two longer than all that came differ
            keys = {shard: {IDS: ids} for shard, ids, _ in made}
            ranked = [replace(task, inputs={**task.inputs, **keys.get(task.shard, {})}) for task in ranked]
            again = replace(stage, links=Links(store, uuid.uuid4().hex), made_alone=True)
            made, _ = _compare(again, ranked, context)
            newest |= {shard: (ids, renamed) for shard, ids, renamed in made}
        facts = {
            "shards": {str(shard): ids for shard, (ids, _) in sorted(newest.items())},
            "ids": shared.ids,
            "documents": shared.documents,
            "renamed": sum(renamed for _, renamed in newest.values()),
            "example": _example(stage, ranked, shared),
            "most": shared.most,
        }
        return store.commit(Marker(IDS, tasks[0].key, "all", documents, documents, facts=facts))


def _compare(stage: Ids, tasks: Sequence[Task], context: Context) -> tuple[Made, Shared]:
    """Where ids are made, and what was shared before: here for a small corpus, by the runner for a large one."""
    if context.documents <= IN_DRIVER_DOCUMENTS:
        return stage.compared(tasks)
    try:
        run_graph(IDS, tasks, stage, context)
        parts = read_value(stage.answer, stage.store)
    finally:
        filesystem.remove(stage.answer)
    made = [values for kind, values in parts if kind == "made"]
    return made, Shared.merged(Shared(*values) for kind, values in parts if kind == "shared")


def known(store: Store, key: str) -> Marker | None:
    """Returns the marker of an earlier comparison, or None unless every output that it wrote is still there."""
    marker = store.committed(IDS, [key]).get(key)
    if marker is None:
        return None
    made = {made_key for made_key in marker.facts["shards"].values() if made_key}
    return marker if store.committed(IDS, made).keys() == made else None


def _example(stage: Ids, tasks: Sequence[Task], shared: Shared) -> str | None:
    """The id that most documents have."""
    if not shared.ids:
        return None
    task, row = tasks[shared.place >> 32], shared.place & 0xFFFFFFFF
    key = task.inputs[DOCUMENTS]
    (batch,) = stage.store.row_range(DOCUMENTS, key, row, row + 1, columns=["doc_id"])
    return str(batch["doc_id"][0].as_py())
