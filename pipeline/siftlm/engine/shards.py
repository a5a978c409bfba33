"""Does the work on one shard: tasks, the files that list them for workers, and their threads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import orjson

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.seals import Seal
from siftlm.store import Marker, Store, digest

NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Task:
    """Describes one shard's work in one stage: what it reads, and the key of what it writes."""

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
        """Returns the marker of a Parquet file with all `rows`: those neither dropped nor errors are passed on."""
        rows_out = rows - sum(dropped.values()) - sum(errors.values())
        gone, failed = ({reason: n for reason, n in sorted(of.items()) if n} for of in (dropped, errors))
        return Marker(stage, self.key, self.name, rows, rows_out, gone, failed, {".parquet": seal}, content, facts)


@dataclass(frozen=True)
class Stopwatch:
    """Measures the time of a pipeline over all shards by the clock, which their markers tell in equal parts."""

    shards: int = 1
    started: float = field(default_factory=time.time)

    def part(self) -> float:
        """Returns seconds from the start to now, over the number of shards; 0 where the clock was set back."""
        return round(max(0.0, time.time() - self.started) / self.shards, 6)


class ShardStage(Protocol):
    """Works shard by shard. Picklable; `run` is idempotent and may run twice at the same time."""

    @property
    def name(self) -> str: ...

    def run(self, task: Task, store: Store) -> Marker:
        """Writes the output of `task` atomically and returns its marker, not yet committed."""
        ...


def write_plan(store: Store, stage: str, tasks: Iterable[Task]) -> str:
    """Writes the tasks to a file, one a line, so that a graph does not grow with its shards."""
    lines = [orjson.dumps(task) for task in tasks]
    path = store.path("plans", f"{stage}-{_plan_digest(lines)}", ".jsonl")
    filesystem.write_bytes(path, b"\n".join(lines), durable=False)
    return path


def read_plan(path: str) -> Iterator[Task]:
    """Yields the tasks of a plan, whose digest is in its name."""
    lines = filesystem.read_bytes(path).splitlines()
    if not path.endswith(f"-{_plan_digest(lines)}.jsonl"):
        raise UserError(
            f"store: must hold every file as it was written, got {path}: its checksum is another; run again"
        )
    for line in lines:
        yield Task(**orjson.loads(line))


def _plan_digest(lines: Iterable[bytes]) -> str:
    return digest([line.decode("utf-8", "replace") for line in lines])


def run_task(stage: ShardStage, task: Task, store: Store) -> None:
    """Runs and commits one task unless somebody has done so already."""
    if store.is_done(stage.name, task.key):
        return
    started = time.monotonic()
    marker = stage.run(task, store)
    seconds = round(time.monotonic() - started, 3)
    store.commit(replace(marker, facts={"seconds": seconds, **marker.facts}))
