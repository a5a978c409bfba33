"""Plans a run: its steps with their keys, the outputs that are missing, and an estimate of the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from siftlm.checks.validate import check_config
from siftlm.config import RunConfig
from siftlm.engine.progress import duration
from siftlm.engine.runner import workers
from siftlm.engine.step import Shard, Step
from siftlm.estimate import Estimate, estimate
from siftlm.job import checked_conditions
from siftlm.stages import inputs, write
from siftlm.stages.ingest import shards as shards_of
from siftlm.stages.slicing import whole_files
from siftlm.steps import steps
from siftlm.store import Store, digest


@dataclass(frozen=True)
class StagePlan:
    """Describes one step of a planned run; `todo` is None where an earlier step has work to do."""

    stage: str
    key: str
    shards: int
    todo: int | None
    documents: int
    text_bytes: int
    seconds: float | None
    per_second: float | None = None  # documents, by one core or one device
    remarks: Sequence[str] = ()  # on the input, of the first step; on what would make the step faster


def plan(config: RunConfig, fail_if: Sequence[str] = ()) -> list[StagePlan]:
    """Returns the plan of a run, one row for each step in order, and writes nothing.

    A key depends on what is read, so it is known when every step that is read has run.
    """
    check_config(config)
    checked_conditions(config, fail_if)
    store = Store(config.store_folder)
    files = {source: of.files for source, of in inputs.survey(config.input, config.own_places).items()}
    estimated = estimate(config, files)
    shards: list[Shard] = shards_of(config.input, inputs.fingerprints(files, store, remember=False))
    rows: list[StagePlan] = []
    waiting: set[str] = set()
    for step in steps(config):
        if waiting & set(step.reads):
            waiting.add(step.name)
            rows.append(_row(config, estimated, step.name, "known later", len(shards), None, step))
            continue
        tasks = step.tasks(shards, store)
        keys = list(dict.fromkeys(task.key for task in tasks))
        markers = store.committed(step.name, keys)
        todo = len(keys) - len(markers)
        rows.append(_row(config, estimated, step.name, digest(keys)[:12], len(keys), todo, step))
        if todo:
            waiting.add(step.name)
        else:
            shards = step.outputs(shards, tasks, [markers[key] for key in keys])
    rows[0] = replace(rows[0], remarks=whole_files(config.input, shards))
    return [*rows, _row(config, estimated, write.STAGE, "known later", len(shards), None)]


def _row(
    config: RunConfig,
    estimated: Estimate,
    stage: str,
    key: str,
    shards: int,
    todo: int | None,
    step: Step | None = None,
) -> StagePlan:
    alone = estimated.seconds.get(stage)
    share = 1.0 if todo is None else todo / max(shards, 1)
    seconds = None if alone is None else alone * share / workers(config.runner, step.wanted if step else None)
    per_second = estimated.documents / alone if alone else None
    remarks = () if todo == 0 else (*estimated.advice.get(stage, ()), *_rates(stage, estimated))
    return StagePlan(
        stage, key, shards, todo, round(estimated.documents), round(estimated.text_bytes), seconds, per_second, remarks
    )


def _rates(stage: str, estimated: Estimate) -> list[str]:
    """Documents a second of each method of a step, the slowest first, where it has several."""
    parts = sorted(estimated.parts.get(stage, {}).items(), key=lambda part: -part[1])
    told = [f"{name} {estimated.documents / seconds:,.0f}" for name, seconds in parts if seconds > 0]
    return [f"{stage}: documents a second by one core: {', '.join(told)}"] if len(told) > 1 else []


def describe(row: StagePlan) -> dict[str, str]:
    """Returns a row of a plan as text, by column."""
    return {
        "stage": row.stage,
        "key": row.key,
        "shards": f"{row.shards:,}",
        "todo": "?" if row.todo is None else f"{row.todo:,}",
        "documents": f"~{row.documents:,}",
        "bytes": f"~{row.text_bytes:,}",
        "rate": "" if row.per_second is None else f"{row.per_second:,.{0 if row.per_second >= 10 else 1}f}",
        "about": "" if row.seconds is None or row.todo == 0 else about(row.seconds),
    }


def about(seconds: float) -> str:
    """Returns an estimated time in words."""
    return duration(seconds) if seconds >= 1 else "under 1 s"
