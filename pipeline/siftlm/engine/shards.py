"""Defines tasks, the work of a stage on one shard, the plan files that list them, and their execution."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import orjson

from siftlm import filesystem
from siftlm.engine.devices.pool import WantedDevice, on_device
from siftlm.errors import UserError
from siftlm.seals import Seal
from siftlm.store import Marker, Store, digest

NONE: Mapping[str, int] = MappingProxyType({})
PLANS = "plans"  # folder of the store that holds the tasks of a pipeline while it runs


@dataclass(frozen=True)
class Task:
    """Describes one stage's work on one shard: the keys of its inputs and of its output."""

    shard: int  # index in the run's order of shards
    name: str  # the input shard, for messages and markers
    key: str  # of the output
    inputs: dict[str, str] = field(default_factory=dict)  # stage -> key of what is read
    facts: dict[str, Any] = field(default_factory=dict)

    def marker(
        self,
        stage: str,
        rows: int,
        seal: Seal,
        *,
        dropped: Mapping[str, int] = NONE,
        errors: Mapping[str, int] = NONE,
        content: str = "",
        **facts: Any,
    ) -> Marker:
        """Returns the marker of a Parquet output with `rows` rows; those neither dropped nor errors are passed on."""
        rows_out = rows - sum(dropped.values()) - sum(errors.values())
        gone, failed = ({reason: n for reason, n in sorted(of.items()) if n} for of in (dropped, errors))
        return Marker(stage, self.key, self.name, rows, rows_out, gone, failed, {".parquet": seal}, content, facts)


@dataclass(frozen=True)
class Stopwatch:
    """Measures the wall-clock time of a pipeline, of which every shard's marker records an equal share."""

    shards: int = 1
    started: float = field(default_factory=time.time)

    def part(self) -> float:
        """Returns the seconds since the start divided by the number of shards, or 0 if the clock went back."""
        return round(max(0.0, time.time() - self.started) / self.shards, 6)


class ShardStage(Protocol):
    """Defines a picklable stage that works shard by shard; `run` is idempotent and may run twice at once."""

    @property
    def name(self) -> str: ...

    def run(self, task: Task, store: Store) -> Marker:
        """Writes the output of `task` atomically and returns its marker, not yet committed."""
        ...


def write_plan(store: Store, stage: str, tasks: Iterable[Task]) -> str:
    """Writes tasks to a plan file, one per line, so that a graph's size does not depend on them."""
    lines = [orjson.dumps(task) for task in tasks]
    path = store.path(PLANS, f"{stage}-{_plan_digest(lines)}", ".jsonl")
    filesystem.write_bytes(path, b"\n".join(lines), durable=False)
    return path


def read_plan(path: str) -> Iterator[Task]:
    """Yields the tasks of a plan file; raises UserError if the digest in its name does not match."""
    lines = filesystem.read_bytes(path).splitlines()
    if not path.endswith(f"-{_plan_digest(lines)}.jsonl"):
        raise UserError(
            f"store: must hold every file as it was written, got {path}: its checksum is another; run again"
        )
    for line in lines:
        yield Task(**orjson.loads(line))


def _plan_digest(lines: Iterable[bytes]) -> str:
    return digest([line.decode("utf-8", "replace") for line in lines])


def run_task(stage: ShardStage, task: Task, store: Store, wanted: WantedDevice | None = None) -> None:
    """Runs one task, on a device where one is wanted, and commits its marker, unless that is done already."""
    if store.is_done(stage.name, task.key):
        return
    started = time.monotonic()
    marker = on_device(wanted, stage.run, task, store)
    seconds = round(time.monotonic() - started, 3)
    store.commit(replace(marker, facts={"seconds": seconds, **marker.facts}))
