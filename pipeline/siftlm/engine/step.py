"""Defines the steps of a run, and how the keys of their outputs follow from what they read.

A run is a list of steps (`siftlm.steps`). A step makes one output of every shard, and its key digests the step's
identity and the contents of what it reads. Where an output is made anew with the content that it had before, nothing
that comes after it is redone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import pyarrow as pa

from siftlm.engine.drive import Context, run_shards
from siftlm.engine.shards import Task
from siftlm.selectors.rule import RuleSettings
from siftlm.store import Marker, Store, digest

NO_COLUMNS = pa.schema([])


@dataclass(frozen=True)
class Output:
    """Names what a step made of a shard."""

    key: str  # its name in the store
    content: str  # a digest of what the keys of later steps depend on


@dataclass(frozen=True)
class Shard:
    """Follows an input file through a run, with everything that was made of it so far."""

    number: int  # in the run's order
    name: str  # path of the input file
    facts: Mapping[str, Any] = field(default_factory=dict)  # source, fingerprint, bytes
    outputs: Mapping[str, Output] = field(default_factory=dict)  # by step, with the rows of its documents in order
    shared: Mapping[str, Output] = field(default_factory=dict)  # by step, outputs of the whole run: a model, say

    def content(self, step: str) -> str:
        """Returns the content of a step's output; empty where the step made none of this shard."""
        output = self.outputs.get(step) or self.shared.get(step)
        return output.content if output else ""

    def contents(self, steps: Sequence[str]) -> list[tuple[str, str]]:
        """Returns (step, content) of the outputs of some steps, for a key."""
        return [(step, self.content(step)) for step in steps]

    def task(self, key: str = "", **facts: Any) -> Task:
        """Returns the work on this shard whose output has that key; without one, what later steps read of the shard."""
        inputs = {step: output.key for step, output in self.outputs.items()}
        return Task(self.number, self.name, key, inputs, {**self.facts, **facts})

    def having(self, step: str, output: Output) -> Shard:
        """Returns the shard with one output more."""
        return replace(self, outputs={**self.outputs, step: output})


@dataclass(frozen=True)
class Loss:
    """Names a point of a run at which documents can be dropped."""

    place: str  # the name by which decisions know it: dedup, preselect.0, score.<name>, select.rules.0
    text: str  # what a document must be to pass, in words
    column: str | None = None  # that decides
    rule: RuleSettings | None = None
    position: int | None = None  # among the rules of the selection


@dataclass(frozen=True)
class Told:
    """Holds what a finished step says of itself to the manifest."""

    warnings: Sequence[str] = ()  # what a user should look at, a sentence each
    statistics: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by name: digest, dtype, window rule


class Step(ABC):
    """Does one step of a run; its name is that of its folder, its row in plan and its progress.

    Attributes:
        name: Unique in a run.
        reads: The steps whose outputs its bytes depend on.
        per: `shard` where an output depends on what was made of that shard alone, `corpus` where on all shards,
            `run` where there is one output for the whole run: then all tasks have one key, and `work` gives one marker.
        by_model: Whether a language model works, which is rehearsed on less text, and may have its own workers.
    """

    name: str
    reads: tuple[str, ...] = ()
    per: ClassVar[Literal["shard", "corpus", "run"]] = "shard"
    by_model: ClassVar[bool] = False

    @abstractmethod
    def identity(self) -> object:
        """Returns what the bytes depend on beside what is read: settings, models' digests, a version of the code."""

    @abstractmethod
    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        """Returns the markers of all tasks, after the work on those that have none."""

    def rehearse(self, task: Task, store: Store) -> float | None:  # noqa: ARG002
        """Does the work on one small shard in this process, and commits what a later step needs.

        Returns the seconds that the work is said to take; None where these are the seconds that it takes here.
        """
        return None

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns what the manifest should know beside the counts of the markers."""
        return Told()

    def columns(self) -> pa.Schema:
        """Returns the columns that rules, weights and the output can name."""
        return NO_COLUMNS

    def losses(self) -> Sequence[Loss]:
        """Returns where documents can be dropped, in the order in which a document comes by."""
        return ()

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:  # noqa: ARG002
        """Returns the work to be done on shards that have everything which the step reads."""
        step = digest(self.name, self.identity())
        if self.per == "shard":
            return [shard.task(digest(step, shard.contents(self.reads))) for shard in shards]
        of_all = digest(step, [shard.contents(self.reads) for shard in shards])
        if self.per == "run":
            return [shard.task(of_all) for shard in shards]
        return [shard.task(digest(of_all, shard.number)) for shard in shards]

    def outputs(self, shards: Sequence[Shard], tasks: Sequence[Task], markers: Sequence[Marker]) -> list[Shard]:  # noqa: ARG002
        """Returns the shards with what the step made of them."""
        made = [Output(marker.key, marker.content or marker.key) for marker in markers]
        if self.per == "run":
            return [replace(shard, shared={**shard.shared, self.name: made[0]}) for shard in shards]
        return [shard.having(self.name, output) for shard, output in zip(shards, made, strict=True)]


class ShardStep(Step):
    """Does a step shard by shard; it is picklable, and its `run` may run twice at once."""

    @abstractmethod
    def run(self, task: Task, store: Store) -> Marker:
        """Writes the output of `task` atomically and returns its marker, not yet committed."""

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        return run_shards(self, tasks, context)

    def rehearse(self, task: Task, store: Store) -> None:
        store.commit(self.run(task, store))
