"""What a run would do: its stages with their keys, what has no marker yet, and how long that would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from siftlm.checks.validate import check_config
from siftlm.config import TRAINED, RunConfig
from siftlm.engine.progress import duration
from siftlm.engine.runner import threads
from siftlm.engine.shards import Task
from siftlm.estimate import Estimate, estimate
from siftlm.job import checked_conditions, with_output
from siftlm.stages import annotate, inputs, reference, score
from siftlm.stages.columns import SCORES
from siftlm.stages.commonness import work as commonness
from siftlm.stages.dedup import work as dedup
from siftlm.stages.ids import work as ids
from siftlm.stages.ingest import tasks as ingest_tasks
from siftlm.stages.paragraphs import work as passages
from siftlm.stages.paragraphs.work import PassageSettings
from siftlm.stages.texts import CUTS, with_cuts
from siftlm.store import Store, digest


@dataclass(frozen=True)
class StagePlan:
    """One stage of a run; `todo` is None where it depends on a stage that has not run."""

    stage: str
    key: str
    shards: int
    todo: int | None
    documents: int
    text_bytes: int
    seconds: float | None


def plan(config: RunConfig, fail_if: Sequence[str] = ()) -> list[StagePlan]:
    """The stages in their order, for a configuration that a run would take. Writes nothing."""
    check_config(config)
    checked_conditions(config, fail_if)
    store = Store(config.store_folder)
    found = inputs.discover(config.input, config.own_places)
    stages = _Stages(config, store, estimate(config, found))
    documents = ingest_tasks(config.input, inputs.fingerprints(found, store, remember=False))
    stages.add("documents", documents)
    documents = with_output(documents, "documents", documents)
    signals = annotate.tasks(config.scorers(), documents)
    stages.add("signals", signals)
    signals = with_output(documents, "signals", signals)
    _plan_the_rest(config, store, stages, signals)
    return stages.rows


def _plan_the_rest(config: RunConfig, store: Store, stages: _Stages, signals: Sequence[Task]) -> None:
    """Ids, dedup, models, selection and output: known keys as long as everything before has run."""
    signals = _plan_ids(config, store, stages, signals)
    alive, contents = list(signals), ["" for _ in signals]
    if config.dedup:
        clusters = dedup.tasks(config.dedup, signals)
        stages.add("clusters", clusters)
        if not stages.waiting():
            contents = [m.content for m in store.markers("clusters", (t.key for t in clusters))]
        alive = with_output(signals, "clusters", clusters)
        if config.dedup.passages:
            alive = _plan_cuts(config.dedup.passages, config.seed, store, stages, alive)
        if config.dedup.commonness and stages.waiting() and config.dedup.passages:
            stages.unknown(commonness.STAGE, len(alive))
        elif config.dedup.commonness:
            measured = commonness.tasks(config.dedup.commonness, alive)
            stages.add(commonness.STAGE, measured)
            alive = with_output(alive, commonness.STAGE, measured)
    for settings in config.score:
        name = SCORES + settings.name
        if settings.model == TRAINED and config.reference:
            if stages.waiting():
                stages.unknown(reference.STAGE, 1)
            else:
                key = reference.key(config.reference, config.survivors(), alive, contents)
                stages.add(reference.STAGE, [Task(0, "reference model", key)])
                settings = settings.model_copy(update={"model": reference.folder(store, key)})
        if stages.waiting():
            stages.unknown(name, len(signals))
            continue
        stages.add(name, score.tasks(settings, config.survivors(), alive, contents, store))
    for name in ("decisions", "data"):
        stages.unknown(name, len(signals))


def _plan_ids(config: RunConfig, store: Store, stages: _Stages, signals: Sequence[Task]) -> list[Task]:
    """The shards with their new ids, where they are known; as long as they are not, all keep theirs in the plan."""
    if stages.waiting() or config.duplicate_ids == "refuse":
        return list(signals)
    key = ids.comparison_key(signals, [settings.source for settings in config.input], names=True)
    marker = ids.known(store, key)
    return ids.with_ids(signals, marker) if marker else list(signals)


def _plan_cuts(
    settings: PassageSettings, seed: int, store: Store, stages: _Stages, clusters: Sequence[Task]
) -> list[Task]:
    """The shards with what is cut of their texts, once that is known."""
    cuts = passages.tasks(settings, seed, clusters)
    stages.add(CUTS, cuts)
    if stages.waiting():
        return list(clusters)
    markers = store.markers(CUTS, (task.key for task in cuts))
    return with_output(with_cuts(clusters, markers), CUTS, cuts)


class _Stages:
    """The rows of a plan as they are found out."""

    def __init__(self, config: RunConfig, store: Store, whole: Estimate) -> None:
        self._config, self._store, self._whole = config, store, whole
        self.rows: list[StagePlan] = []
        self._waiting = False

    def add(self, stage: str, tasks: Sequence[Task]) -> None:
        done = self._store.done(stage)
        todo = sum(task.key not in done for task in tasks)
        self._waiting = self._waiting or todo > 0
        self._row(stage, digest([task.key for task in tasks])[:12], len(tasks), todo)

    def waiting(self) -> bool:
        """Whether a stage has work to do, so that the keys of those after it are not known."""
        return self._waiting

    def unknown(self, stage: str, shards: int) -> None:
        self._row(stage, "known later", shards, None)

    def _row(self, stage: str, key: str, shards: int, todo: int | None) -> None:
        whole = self._whole
        one_core = whole.seconds.get(stage)
        share = 1.0 if todo is None else todo / max(shards, 1)
        seconds = None if one_core is None else one_core * share / threads(self._config.runner)
        documents, text_bytes = round(whole.documents), round(whole.text_bytes)
        self.rows.append(StagePlan(stage, key, shards, todo, documents, text_bytes, seconds))


def describe(row: StagePlan) -> dict[str, str]:
    """A plan's row as text."""
    return {
        "stage": row.stage,
        "key": row.key,
        "shards": f"{row.shards:,}",
        "todo": "?" if row.todo is None else f"{row.todo:,}",
        "documents": f"~{row.documents:,}",
        "bytes": f"~{row.text_bytes:,}",
        "about": "" if row.seconds is None or row.todo == 0 else about(row.seconds),
    }


def about(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else "under 1 s"
