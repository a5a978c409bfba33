"""A run: the ordered stages, from input shards to a published corpus."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any

import orjson

from siftlm import filesystem, paths
from siftlm.checks import named_fields
from siftlm.checks.mentions import look, unknown, unmet
from siftlm.checks.names import all_columns
from siftlm.checks.outcome import ALLOW, nothing_kept, nothing_read
from siftlm.checks.validate import check_config, check_fields, counts_tokens
from siftlm.config import TRAINED, RunConfig
from siftlm.engine.audit import Lineage, audit
from siftlm.engine.gather import IN_DRIVER_DOCUMENTS
from siftlm.engine.progress import Progress
from siftlm.engine.runner import batch_size, is_local
from siftlm.engine.shards import ShardStage, Task, run_shards
from siftlm.errors import UserError
from siftlm.filesystem import InputFile
from siftlm.inspect.diff import Conditions
from siftlm.inspect.report import overview, write_report
from siftlm.inspect.run import FinishedRun
from siftlm.inspect.trace import Rulebook
from siftlm.report.difference import RunDifference
from siftlm.report.manifest import build_manifest
from siftlm.report.mixture import as_json
from siftlm.report.view import Report
from siftlm.scorers import open_lm
from siftlm.stages import annotate, folders, inputs, publish, reference, score, select, write
from siftlm.stages.columns import SCORES
from siftlm.stages.commonness import work as commonness
from siftlm.stages.dedup import work as dedup
from siftlm.stages.ids import work as ids
from siftlm.stages.ingest import BATCH_BYTES, Ingest
from siftlm.stages.ingest import tasks as ingest_tasks
from siftlm.stages.paragraphs import work as passages
from siftlm.stages.summary import summarise
from siftlm.stages.texts import CUTS, IDS, with_cuts
from siftlm.statistics.exact import as_float
from siftlm.store import Marker, Store, digest, mended

PLACES = frozenset({"store", "metrics_file", "output", "runner"})  # keys that say nothing of what was done


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    manifest: dict[str, Any]
    unchanged: bool  # nothing had to be done
    difference: RunDifference | None = None  # from what was published before, where conditions asked for it


def run(config: RunConfig, progress: Progress, fail_if: Sequence[str] = ()) -> Result:
    """Runs what has no marker yet, audits every count, and publishes the output.

    Raises:
        ConditionError: a condition of `fail_if` holds between what was published and this; it stays published.
    """
    check_config(config)
    conditions = checked_conditions(config, fail_if)
    with publish.workspace(config.output.folder, config.name, config.store_folder):
        store = Store(config.store_folder)
        return mended(lambda: _Run(config, store, progress, conditions).run())


def checked_conditions(config: RunConfig, expressions: Sequence[str]) -> Conditions:
    """The conditions of `--fail-if`; raises UserError for one that could not be looked at when the work is done."""
    conditions = Conditions(expressions)
    if expressions:
        conditions.check(config.output.folder, all_columns(config), counts_tokens(config))
    return conditions


class _Run:
    def __init__(
        self, config: RunConfig, store: Store, progress: Progress, conditions: Conditions | None = None
    ) -> None:
        self.config, self.store, self.progress = config, store, progress
        self.conditions = conditions or Conditions(())
        self.lineage = Lineage()
        self.models: dict[str, dict[str, str]] = {}
        self.compared: Marker | None = None  # the ids of all documents, where they may repeat
        self.warnings: list[str] = []
        self.skipped: dict[str, list[str]] = {}

    def run(self) -> Result:
        documents = self.ingest()
        signals = self.annotate(documents)
        clusters, contents = self.dedup(signals)
        scored = self.score(self.measure(self.cut(clusters)), contents)
        selected = self.select(scored)
        return self.write(selected)

    def trained(self) -> str:
        """The folder of the reference model."""
        clusters, contents = self.dedup(self.annotate(self.ingest()))
        return self.reference(self.measure(self.cut(clusters)), contents)

    def ingest(self) -> list[Task]:
        found = inputs.survey(self.config.input, self.config.own_places, self.progress.say)
        files = {source: mine.files for source, mine in found.items()}
        self.skipped = {source: mine.skipped for source, mine in found.items()}
        lines = [*(mine.line(source) for source, mine in found.items()), *unknown(self.config)]
        tasks = ingest_tasks(self.config.input, inputs.fingerprints(files, self.store))
        self._check_new(tasks, files)
        for line in lines:
            self.progress.say(line)
        batch_bytes = batch_size(self.config.runner, BATCH_BYTES)
        self._shards("documents", Ingest({s.source: s for s in self.config.input}, batch_bytes), tasks)
        self._check_read(files)
        self._check_seen(files)
        documents = with_output(tasks, "documents", tasks)
        if self.config.duplicate_ids == "refuse":
            ids.check_differ(self._compare_ids(documents))
        return documents

    def _check_seen(self, files: dict[str, list[InputFile]]) -> None:
        """What the documents have of the fields that the settings name, now that all are counted."""
        markers = iter(self.lineage.markers["documents"])
        seen = {
            source.source: named_fields.counted(islice(markers, len(files[source.source])))
            for source in self.config.input
        }
        named_fields.check_domains(self.config, seen)
        for source in self.config.input:
            self.warnings += named_fields.said(source, files[source.source], seen[source.source])

    def _check_new(self, tasks: Sequence[Task], files: dict[str, list[InputFile]]) -> None:
        """What costs some reading to check, where no work was done yet: fields of sources, files of models."""
        done = self.store.done("documents")
        begun = {task.facts["source"] for task in tasks if task.key in done}
        for source in self.config.input:
            if source.source not in begun and not self.config.output.allow_empty:
                check_fields(source, files[source.source])
        if not begun and named_fields.groups_by_domain(self.config):
            named_fields.check_domains(self.config, named_fields.samples(self.config, files), named_fields.LOOKED_AT)
        for settings in self.config.score:
            new = settings.model != TRAINED and not self.store.done(SCORES + settings.name)
            if new and is_local(self.config.runner):  # elsewhere the workers have the device, not this process
                open_lm(settings).check()

    def _check_read(self, files: dict[str, list[InputFile]]) -> None:
        """Looks for sources of which nothing could be read."""
        markers = iter(self.lineage.markers["documents"])
        for source in self.config.input:
            mine = [next(markers) for _ in files[source.source]]
            if problem := nothing_read(source, files[source.source], mine):
                self._lets_pass(problem)

    def annotate(self, documents: Sequence[Task]) -> list[Task]:
        scorers = self.config.scorers()
        tasks = annotate.tasks(scorers, documents)
        self._shards("signals", annotate.Annotate(scorers), tasks)
        signals = with_output(documents, "signals", tasks)
        if self.config.duplicate_ids == "refuse":
            return signals
        self.compared = self._compare_ids(signals)
        if self.compared.facts["ids"]:
            self.warnings.append(ids.warning(self.compared))
        return ids.with_ids(signals, self.compared)

    def _compare_ids(self, shards: Sequence[Task]) -> Marker:
        """Which ids several documents have, by their texts too where there are signals."""
        sources = [settings.source for settings in self.config.input]
        names = all("signals" in shard.inputs for shard in shards)
        with self.progress.working(IDS):
            return ids.run(shards, sources, self.documents, self.store, self.config.runner, names=names)

    def dedup(self, signals: Sequence[Task]) -> tuple[list[Task], list[str]]:
        settings = self.config.dedup
        if settings is None:
            return list(signals), ["" for _ in signals]
        tasks = dedup.tasks(settings, signals)
        with self.progress.stage("clusters", tasks, self.store):
            markers = dedup.run(settings, tasks, self.documents, self.store, self.config.runner)
        self.lineage.add("clusters", markers)
        return with_output(signals, "clusters", tasks), [m.content for m in markers]

    def cut(self, clusters: Sequence[Task]) -> list[Task]:
        """The shards with what was cut of their texts, where the run cuts passages."""
        config = self.config
        settings = config.dedup.passages if config.dedup else None
        if settings is None:
            return list(clusters)
        tasks = passages.tasks(settings, config.seed, clusters)
        drops = not config.survivors().keep_duplicates
        text_bytes = sum(int(m.facts["text_bytes"]) for m in self.lineage.markers["documents"])
        with self.progress.stage(CUTS, tasks, self.store):
            made = passages.run(settings, config.seed, drops, tasks, text_bytes, self.store, config.runner)
        self.lineage.add(CUTS, made)
        return with_output(with_cuts(clusters, made), CUTS, tasks)

    def measure(self, cut: Sequence[Task]) -> list[Task]:
        """The shards with how common their documents are, where the run asks for it."""
        config = self.config
        settings = config.dedup.commonness if config.dedup else None
        if settings is None:
            return list(cut)
        tasks = commonness.tasks(settings, cut)
        drops = not config.survivors().keep_duplicates
        with self.progress.stage(commonness.STAGE, tasks, self.store):
            made = commonness.run(settings, drops, tasks, self.store, config.runner)
        self.lineage.add(commonness.STAGE, made)
        return with_output(cut, commonness.STAGE, tasks)

    def score(self, alive: Sequence[Task], contents: Sequence[str]) -> list[Task]:
        survivors = self.config.survivors()
        tasks = list(alive)
        models = [
            settings.model_copy(update={"model": self.reference(alive, list(contents))})
            if settings.model == TRAINED
            else settings
            for settings in self.config.score
        ]
        window_bytes = batch_size(self.config.runner, score.WINDOW_BYTES)
        for settings, others in zip(models, score.companions(models), strict=True):
            stage = score.Score(settings, survivors, others, window_bytes)
            mine = score.tasks(settings, survivors, alive, contents, self.store, others)
            self._shards(stage.name, stage, mine)
            self.models[settings.name] = score.model_facts(settings, mine, self.store)
            tasks = with_output(tasks, SCORES + settings.name, mine)
        return tasks

    def reference(self, alive: Sequence[Task], contents: list[str]) -> str:
        """The folder of the reference model, trained in this process, not by Beam."""
        settings, survivors = self.config.reference, self.config.survivors()
        assert settings is not None
        key = reference.key(settings, survivors, alive, contents)
        with self.progress.stage("reference", [Task(0, "reference model", key)], self.store):
            return reference.train(settings, survivors, alive, key, self.store)

    def select(self, scored: Sequence[Task]) -> list[Task]:
        settings, survivors = self.config.selection(), self.config.survivors()
        tasks = select.tasks(settings, survivors, scored)
        with self.progress.stage("decisions", tasks, self.store):
            markers = select.run(settings, survivors, tasks, self.documents, self.store, self.config.runner)
        self.lineage.add("decisions", markers)
        return with_output(scored, "decisions", tasks)

    def write(self, selected: Sequence[Task]) -> Result:
        config, store = self.config, self.store
        folder = config.output.folder
        shape = config.output.model_dump(exclude={"folder", "allow_empty"})
        identity = digest("publish", write.VERSION, [sorted(t.inputs.items()) for t in selected], shape, config.seed)
        difference = self._look(identity, selected)
        manifest = publish.published(folder, identity, store)
        if manifest is not None and self._is_told(manifest, selected):
            return Result(manifest, True, difference)
        self._check_kept(selected)
        staging = publish.staging_folder(folder, identity)
        metadata = {"siftlm.run": config.name}
        decisions = self.lineage.markers["decisions"]
        early = _drawing().submit(self.overview, identity, selected) if self._leaves_a_core() else None
        try:
            with self.progress.working("write"):
                data, rejects = write.run(
                    config.output, config.seed, selected, decisions, staging, metadata, store, config.runner
                )
        finally:
            wait([early] if early else [])
        self.lineage.add("data", data)
        self.lineage.add("rejects", rejects)
        audit(self.lineage)
        report = early.result() if early else self.overview(identity, selected)
        statistics = report.manifest["statistics"] | {"mixture": as_json(report.mixtures)}
        manifest = self.manifest(identity, selected, statistics) | {"steps": report.manifest["steps"]}
        publish.publish(folder, staging, data, rejects)
        manifest["errors"] = publish.write_errors(folder, selected, self.lineage.markers, store)
        write_report(FinishedRun(folder, manifest, store), config.runner, report)
        publish.write_papers(folder, manifest, write.output_schema(selected[0], store) if selected else None)
        folders.clear_staging(folder)
        return Result(manifest, False, difference)

    def _is_told(self, manifest: Mapping[str, Any], selected: Sequence[Task]) -> bool:
        """Whether what was published tells of these inputs and this configuration.

        Files may have another name and the same content: the documents stay, but errors and report name them.
        """
        now = self.manifest(manifest["identity"], selected, {})
        return _told(now) == _told(manifest)

    def _look(self, identity: str, selected: Sequence[Task]) -> RunDifference | None:
        """What this changes, where conditions ask: before anything that was published is touched."""
        if not self.conditions.expressions:
            return None
        manifest = self.manifest(identity, selected, {"documents": {"documents": self.documents}})
        return self.conditions.look(FinishedRun(self.config.output.folder, manifest, self.store))

    def _check_kept(self, selected: Sequence[Task]) -> None:
        """Keeps an empty output from taking the place of a full one, and says which listed values nothing has."""
        found = look(self.config, selected, self.documents, self.store, self.config.runner)
        decisions = self.lineage.markers["decisions"]
        if not any(marker.rows_out for marker in decisions):
            self._lets_pass(nothing_kept(self.config, decisions, found))
        self.warnings += unmet(self.config, found)

    def _lets_pass(self, problem: str) -> None:
        """An empty source or output is a mistake, or a warning where the run allows it."""
        if not self.config.output.allow_empty:
            raise UserError(f"{problem}; {ALLOW}")
        self.warnings.append(problem)

    def _leaves_a_core(self) -> bool:
        """Whether the output is one file, which one core writes, of columns that no pipeline has to count."""
        written = _sizes(self.lineage.markers["decisions"], "written")["byte_count"]
        return (written or 0) <= self.config.output.shard_bytes and self.documents <= IN_DRIVER_DOCUMENTS

    def overview(self, identity: str, selected: Sequence[Task]) -> Report:
        """What the report says, but for the written files, which may be in the making."""
        run = FinishedRun(
            self.config.output.folder, self.manifest(identity, selected, self.statistics(selected)), self.store
        )
        lost = [loss for marker in self.lineage.markers["decisions"] for loss in marker.facts["lost"]]
        run.manifest["steps"] = Rulebook(run).account(lost)
        return overview(run, self.config.runner)

    def statistics(self, selected: Sequence[Task]) -> dict[str, Any]:
        documents, decisions = self.lineage.markers["documents"], self.lineage.markers["decisions"]
        rows = self.documents
        statistics: dict[str, Any] = {
            "documents": {
                "documents": rows,
                "byte_count": sum(int(m.facts["text_bytes"]) for m in documents),
            },
            "kept": {"documents": sum(m.rows_out for m in decisions), **_sizes(decisions, "kept")},
            "weighted": _weighted(decisions),
            "written": {
                "rows": sum(int(m.facts["copies"]) for m in decisions),
                **_sizes(decisions, "written"),
            },
            "columns": summarise(selected, rows, self.store, self.config.runner),
        }
        if self.compared is not None and self.compared.facts["ids"]:
            statistics["ids"] = ids.summary(self.compared)
        if CUTS in self.lineage.markers:
            statistics["cut"] = _cut(self.lineage.markers[CUTS])
        return statistics

    def manifest(self, identity: str, selected: Sequence[Task], statistics: Mapping[str, Any]) -> dict[str, Any]:
        documents, decisions = self.lineage.markers["documents"], self.lineage.markers["decisions"]
        shards = [
            {"path": t.name, **_input_facts(t), "documents": d.rows_out, "kept": s.rows_out, "keys": t.inputs}
            for t, d, s in zip(selected, documents, decisions, strict=True)
        ]
        return build_manifest(
            name=self.config.name,
            identity=identity,
            config=self.config.model_dump(mode="json", by_alias=True),
            models=self.models,
            shards=shards,
            lineage=self.lineage,
            statistics=statistics,
            warnings=self.warnings,
            skipped=self.skipped,
            benchmarks=self.config.benchmark_facts(),
        )

    @property
    def documents(self) -> int:
        """Documents that ingest found."""
        return sum(m.rows_out for m in self.lineage.markers["documents"])

    def _shards(self, stage: str, work: ShardStage, tasks: Sequence[Task]) -> list[Marker]:
        with self.progress.stage(stage, tasks, self.store):
            markers = run_shards(work, tasks, self.store, self.config.runner)
        return self.lineage.add(stage, markers)


@cache
def _drawing() -> ThreadPoolExecutor:
    """One thread for every report of this process: matplotlib keeps fonts open for each thread that it has seen."""
    return ThreadPoolExecutor(1, "report")


def with_output(shards: Sequence[Task], stage: str, made: Sequence[Task]) -> list[Task]:
    """The shards with a stage's output among what later stages can read."""
    return [
        replace(shard, inputs={**shard.inputs, stage: output.key}) for shard, output in zip(shards, made, strict=True)
    ]


def _told(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a manifest says of inputs and configuration, but for where and how the work is done."""
    config = {name: value for name, value in manifest["config"].items() if name not in PLACES}
    prices = [manifest["config"]["runner"][name] for name in ("hour_price", "score_hour_price")]
    return config, prices, [shard["path"] for shard in manifest["inputs"]], manifest["skipped"]


def _input_facts(shard: Task) -> dict[str, Any]:
    return {name: shard.facts[name] for name in ("source", "fingerprint", "bytes")}


def _sizes(decisions: Sequence[Marker], what: str) -> dict[str, int | None]:
    """Bytes and tokens of what was kept or written; tokens are None where the run names no count of them."""
    tokens = [m.facts.get(f"{what}_tokens") for m in decisions]
    known = [int(t) for t in tokens if t is not None]
    return {
        "byte_count": sum(int(m.facts[f"{what}_bytes"]) for m in decisions),
        "tokens": sum(known) if known else None,
    }


def _weighted(decisions: Sequence[Marker]) -> dict[str, float | None]:
    """What the weights make of the kept documents: the sums of weight, of weight * bytes and of weight * tokens."""
    names = {"documents": "weighted_documents", "byte_count": "weighted_bytes", "tokens": "weighted_tokens"}
    sums = {name: [m.facts[fact] for m in decisions if fact in m.facts] for name, fact in names.items()}
    return {
        name: as_float(sum(int(part, 16) for part in parts)) if parts or name != "tokens" else None
        for name, parts in sums.items()
    }


def _cut(cuts: Sequence[Marker]) -> dict[str, int]:
    """How many documents lost passages, how many of these, and their bytes."""
    facts = {"documents": "cut_documents", "passages": "cut_passages", "byte_count": "cut_bytes"}
    return {name: sum(int(m.facts[fact]) for m in cuts) for name, fact in facts.items()}


def train_reference(config: RunConfig, folder: str, progress: Progress) -> str:
    """Trains the reference model of a run and copies it to `folder`; says where it is."""
    if config.reference is None:
        raise UserError("reference: must be a table of settings for this command, got nothing")
    folder = paths.given("FOLDER", folder)
    folders.check_model_folder(folder)
    check_config(config)
    with publish.workspace(config.output.folder, config.name, config.store_folder):
        store = Store(config.store_folder)
        trained = mended(lambda: _Run(config, store, progress).trained())
    filesystem.write_bytes(f"{folder}/{folders.MODEL_MARK}", orjson.dumps({"run": config.name}))
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    return f"the reference model is in {folder}"
