"""Defines the steps of a run, and how the keys of their outputs follow from what they read.

A run is a list of steps (`siftlm.steps`). A step makes one output of every shard, and its key digests the step's
identity and the contents of what it reads. Where an output is made anew with the content that it had before, nothing
that comes after it is redone.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import pyarrow as pa

from siftlm.engine.devices.pool import WantedDevice, on_device
from siftlm.engine.drive import Context, run_shards
from siftlm.engine.shards import Task
from siftlm.selectors.rule import RuleSettings
from siftlm.store import Marker, Store, digest

NO_COLUMNS = pa.schema([])


@dataclass(frozen=True)
class Output:
    """Identifies a step's output for a shard by its key and its content digest."""

    key: str  # its name in the store
    content: str  # a digest of what the keys of later steps depend on


@dataclass(frozen=True)
class Shard:
    """Describes what a shard reads, and the outputs that steps have made from it so far."""

    number: int  # in the run's order
    name: str  # of the file or files that it reads
    facts: Mapping[str, Any] = field(default_factory=dict)  # source, fingerprint, bytes
    outputs: Mapping[str, Output] = field(default_factory=dict)  # by step, with the rows of its documents in order
    shared: Mapping[str, Output] = field(default_factory=dict)  # by step, outputs of the whole run: a model, say
    reads: Sequence[Any] = ()  # files or slices of them, for the steps that read the input

    def content(self, step: str) -> str:
        """Returns the content digest of a step's output for this shard, or an empty string without one."""
        output = self.outputs.get(step) or self.shared.get(step)
        return output.content if output else ""

    def contents(self, steps: Sequence[str]) -> list[tuple[str, str]]:
        """Returns (step, content digest) of the outputs of some steps, from which a key is computed."""
        return [(step, self.content(step)) for step in steps]

    def task(self, key: str = "", **facts: Any) -> Task:
        """Returns a task on this shard whose output has `key`; without one, a task for reading the shard's outputs."""
        inputs = {step: output.key for step, output in self.outputs.items()}
        return Task(self.number, self.name, key, inputs, {**self.facts, **facts})

    def having(self, step: str, output: Output) -> Shard:
        """Returns a copy of the shard with the output of one more step."""
        return replace(self, outputs={**self.outputs, step: output})


@dataclass(frozen=True)
class Loss:
    """Describes a point of a run at which documents can be dropped."""

    place: str  # the name by which decisions know it: dedup, preselect.0, score.<name>, select.rules.0
    text: str  # what a document must be to pass, in words
    column: str | None = None  # that decides
    rule: RuleSettings | None = None
    position: int | None = None  # among the rules of the selection


Row = Mapping[str, str | int | float | None]
"""A row of a table of the report: its columns by name."""


@dataclass(frozen=True)
class Told:
    """Holds what a finished step reports for manifest, terminal and report."""

    warnings: Sequence[str] = ()  # what a user should look at, a sentence each
    statistics: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by name: digest, dtype, window rule
    remarks: Sequence[str] = ()  # what it did, a line each, for the terminal, the card and the report
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)  # by caption; rows of several steps are one table


class Step(ABC):
    """Defines one step of a run, whose name is used for its folder, in the plan and for progress.

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

    @property
    def wanted(self) -> WantedDevice | None:
        """Returns which device the model of a step works on; None for a step without one."""
        return None

    @abstractmethod
    def identity(self) -> object:
        """Returns what the output depends on besides its inputs: settings, digests of models, a version of the code."""

    @abstractmethod
    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        """Runs the tasks that have no marker yet, and returns the markers of all tasks."""

    def rehearse(self, task: Task, store: Store) -> float | None:  # noqa: ARG002
        """Runs the step on one small shard in this process, and commits the output that later steps need.

        Returns an estimate of the work's seconds; None where the seconds that this call takes are the estimate.
        """
        return None

    def advise(self, task: Task, store: Store) -> Sequence[str]:  # noqa: ARG002
        """Returns what would make the step faster on this machine, a line each, measured on a rehearsed task."""
        return ()

    def parts(self, task: Task, store: Store) -> Mapping[str, float]:  # noqa: ARG002
        """Returns the seconds of each method of a step that has several, on a rehearsed task."""
        return {}

    def stand_in(self, task: Task, store: Store) -> Marker | None:  # noqa: ARG002
        """Writes an output of nulls for steps that are rehearsed without this one, and returns its marker.

        None where no step needs one: only a step `by_model` that has columns gives one.
        """
        return None

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns what the manifest should record besides the counts in the markers."""
        return Told()

    def keeps(self, tasks: Sequence[Task]) -> Sequence[tuple[str, str]]:  # noqa: ARG002
        """Returns (folder of the store, key) of what the step reads again besides the outputs: a table, a plan."""
        return ()

    def columns(self) -> pa.Schema:
        """Returns the columns that rules, weights and the output can name."""
        return NO_COLUMNS

    def losses(self) -> Sequence[Loss]:
        """Returns the points at which this step can drop documents, in the order in which they apply."""
        return ()

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:  # noqa: ARG002
        """Returns the step's tasks for shards that have all the outputs which the step reads."""
        step = digest(self.name, self.identity())
        if self.per == "shard":
            return [shard.task(digest(step, shard.contents(self.reads))) for shard in shards]
        of_all = digest(step, [shard.contents(self.reads) for shard in shards])
        if self.per == "run":
            return [shard.task(of_all) for shard in shards]
        return [shard.task(digest(of_all, shard.number)) for shard in shards]

    def outputs(self, shards: Sequence[Shard], tasks: Sequence[Task], markers: Sequence[Marker]) -> list[Shard]:  # noqa: ARG002
        """Returns the shards with this step's outputs added."""
        made = [Output(marker.key, marker.content or marker.key) for marker in markers]
        if self.per == "run":
            return [replace(shard, shared={**shard.shared, self.name: made[0]}) for shard in shards]
        return [shard.having(self.name, output) for shard, output in zip(shards, made, strict=True)]


class ShardStep(Step):
    """Defines a step that works shard by shard; it is picklable, and `run` may run twice at once."""

    @abstractmethod
    def run(self, task: Task, store: Store) -> Marker:
        """Writes the output of `task` atomically and returns its marker, not yet committed."""

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        return run_shards(self, tasks, context, self.wanted)

    def load(self, task: Task) -> None:
        """Loads the models that `run` works with, which then stay loaded; does nothing for a step without one."""

    def rehearse(self, task: Task, store: Store) -> float | None:
        on_device(self.wanted, self.load, task)
        started = time.monotonic()
        store.commit(on_device(self.wanted, self.run, task, store))
        return time.monotonic() - started
