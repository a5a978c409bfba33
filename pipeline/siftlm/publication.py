"""Writes and audits the output of a run, and replaces the output of the run before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from siftlm.checks.mentions import look, unmet
from siftlm.checks.outcome import let_pass, nothing_kept
from siftlm.config import RunConfig
from siftlm.engine.audit import DATA, REJECTS, audit, totals
from siftlm.engine.drive import Context
from siftlm.engine.gather import IN_DRIVER_DOCUMENTS
from siftlm.engine.progress import Progress
from siftlm.engine.shards import Task
from siftlm.engine.step import Row, Shard, Told
from siftlm.inspect.diff import Conditions
from siftlm.inspect.report import overview, write_report
from siftlm.inspect.run import FinishedRun, SelectedRun
from siftlm.inspect.trace import Trace
from siftlm.report.difference import RunDifference
from siftlm.report.manifest import FORMAT, versions
from siftlm.report.mixture import as_json
from siftlm.report.view import Report
from siftlm.stages import folders, publish, write
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.origins import Origins, origins
from siftlm.stages.registry import Needs, register
from siftlm.stages.select import STAGE as DECISIONS
from siftlm.stages.summary import summarise
from siftlm.statistics.exact import as_float
from siftlm.store import Marker, digest

PLACES = frozenset({"store", "metrics_file", "output", "runner"})  # keys that say nothing of what was done
SKIPPED = 100  # files that are no documents whose paths the manifest tells, of every source


@dataclass(frozen=True)
class Result:
    """Holds the manifest of a run, and how its output differs from the one before."""

    manifest: dict[str, Any]
    unchanged: bool  # nothing had to be done
    difference: RunDifference | None = None  # from what was published before, where conditions asked for it


@dataclass
class Publication:
    """Publishes the output of a run once all of its documents are decided."""

    config: RunConfig
    context: Context
    progress: Progress
    markers: dict[str, list[Marker]]
    told: list[Told]
    needs: Needs
    skipped: Mapping[str, Sequence[str]]
    shards: Sequence[Shard]

    def made(self, conditions: Conditions) -> Result:
        """Publishes the output, unless the folder holds it already or a condition forbids it."""
        difference = self._look(conditions)
        manifest = publish.published(self.folder, self.identity, self.context.store)
        if manifest is not None and self._is_told(manifest):
            self._register()
            return Result(manifest, True, difference)
        self._check_kept()
        staging = f"{self.folder}/.staging-{self.identity[:16]}"  # where an output is made before it is published
        report = self._written(staging)
        audit(self.markers)
        self._register()
        return Result(self._put_in_place(staging, report), False, difference)

    def _register(self) -> None:
        """Writes down in the store what the run needs of it, before the output is there: no output is unknown."""
        register(self.context.store, self.config.name, self.folder, "run", self.identity, self.needs)

    @property
    def folder(self) -> str:
        return self.config.output.folder

    @cached_property
    def origins(self) -> list[Origins]:
        """Returns for every shard which files its records are from."""
        return origins((shard.reads for shard in self.shards), self.markers[DOCUMENTS])

    @cached_property
    def selected(self) -> list[Task]:
        """Returns the shards as tasks, with the keys of all outputs that were made of them."""
        return [shard.task() for shard in self.shards]

    @cached_property
    def identity(self) -> str:
        """Returns a digest that changes with everything that the output depends on."""
        shape = self.config.output.model_dump(exclude={"folder", "allow_empty"})
        outputs = [sorted((step, output.content) for step, output in shard.outputs.items()) for shard in self.shards]
        return digest("publish", write.VERSION, outputs, shape, self.config.seed)

    @property
    def decisions(self) -> list[Marker]:
        return self.markers[DECISIONS]

    def manifest(self, statistics: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the content of manifest.json, as far as it is known."""
        shards = [
            {
                "path": task.name,
                **{name: task.facts[name] for name in ("source", "fingerprint", "bytes")},
                "files": [list(part) for part in of.parts],
                "documents": documents.rows_out,
                "kept": decisions.rows_out,
                "keys": task.inputs,
            }
            for task, of, documents, decisions in zip(
                self.selected, self.origins, self.markers[DOCUMENTS], self.decisions, strict=True
            )
        ]
        return {
            "format": FORMAT,
            "name": self.config.name,
            "identity": self.identity,
            "versions": versions(),
            "config": self.config.model_dump(mode="json", by_alias=True),
            "models": {name: dict(model) for told in self.told for name, model in told.models.items()},
            "warnings": [warning for told in self.told for warning in told.warnings],
            "remarks": [remark for told in self.told for remark in told.remarks],
            "tables": _tables(self.told),
            "counts": {step: totals(of_step) for step, of_step in self.markers.items() if of_step},
            "benchmarks": self.config.benchmark_facts(),
            "statistics": dict(statistics),
            **{part: [_written_file(marker) for marker in self.markers.get(part, [])] for part in (DATA, REJECTS)},
            "inputs": shards,
            "skipped": [
                {"source": source, "files": len(paths), "paths": list(paths[:SKIPPED])}
                for source, paths in self.skipped.items()
                if paths
            ],
            "seconds": {step: _seconds(of_step) for step, of_step in self.markers.items()},
        }

    def statistics(self) -> dict[str, Any]:
        """Returns sums and quantiles over all documents, and the statistics that steps report."""
        documents, decisions = self.context.documents, self.decisions
        sums = {
            "documents": {"documents": documents, "byte_count": self.context.text_bytes},
            "kept": {"documents": sum(m.rows_out for m in decisions), **_sizes(decisions, "kept")},
            "weighted": _weighted(decisions),
            "written": {"rows": sum(int(m.facts["copies"]) for m in decisions), **_sizes(decisions, "written")},
            "columns": summarise(self.selected, self.context),
            "stored_bytes": self.needs.stored_bytes(self.context.store),
        }
        for told in self.told:
            sums |= told.statistics
        return sums

    def overview(self) -> Report:
        """Returns the content of the report, without the written files, which may not be complete yet."""
        run = SelectedRun(self.manifest(self.statistics()), self.context.store)
        lost = [loss for marker in self.decisions for loss in marker.facts["lost"]]
        run.manifest["steps"] = Trace(run).account(lost)
        return overview(run, self.context.runner)

    def _look(self, conditions: Conditions) -> RunDifference | None:
        """What this changes, where conditions ask: before anything that was published is touched."""
        if not conditions.expressions:
            return None
        manifest = self.manifest({"documents": {"documents": self.context.documents}})
        return conditions.look(self.folder, SelectedRun(manifest, self.context.store))

    def _is_told(self, manifest: Mapping[str, Any]) -> bool:
        """Whether what was published tells of these inputs and this configuration.

        Files may have another name and the same content: the documents stay, but errors and report name them.
        """
        return _told(self.manifest({})) == _told(manifest)

    def _check_kept(self) -> None:
        """Keeps an empty output from taking the place of a full one, and says which listed values nothing has."""
        present = look(self.config, self.selected, self.context)
        warnings = []
        if not any(marker.rows_out for marker in self.decisions):
            warnings.append(let_pass(self.config, nothing_kept(self.config, self.decisions, present)))
        self.told.append(Told([*warnings, *unmet(self.config, present)]))

    def _written(self, staging: str) -> Report:
        """Writes the shards of the output; draws the report meanwhile where a core is left for it."""
        config, context = self.config, self.context
        metadata = {"siftlm.run": config.name}
        early = _drawing().submit(self.overview) if self._leaves_a_core() else None
        try:
            with self.progress.working("write"):
                data, rejects = write.run(
                    config.output, config.seed, self.selected, self.decisions, staging, metadata, context
                )
        finally:
            wait([early] if early else [])
        self.markers |= {DATA: data, REJECTS: rejects}
        return early.result() if early else self.overview()

    def _put_in_place(self, staging: str, report: Report) -> dict[str, Any]:
        """Moves the written shards into the folder, and writes what tells of them; the manifest comes last."""
        store, selected = self.context.store, self.selected
        statistics = report.manifest["statistics"] | {"mixture": as_json(report.mixtures)}
        manifest = self.manifest(statistics) | {"steps": report.manifest["steps"]}
        publish.publish(self.folder, staging, self.markers[DATA], self.markers[REJECTS])
        manifest["errors"] = publish.write_errors(self.folder, selected, self.markers, store, self.origins)
        write_report(FinishedRun(manifest, store, self.folder), self.context.runner, report)
        publish.write_papers(self.folder, manifest, write.output_schema(selected[0], store) if selected else None)
        folders.clear_staging(self.folder)
        return manifest

    def _leaves_a_core(self) -> bool:
        """Whether the output is one file, which one core writes, of columns that no pipeline has to count."""
        written = _sizes(self.decisions, "written")["byte_count"] or 0
        return written <= self.config.output.shard_bytes and self.context.documents <= IN_DRIVER_DOCUMENTS


@cache
def _drawing() -> ThreadPoolExecutor:
    """One thread for every report of this process: matplotlib keeps fonts open for each thread that it has seen."""
    return ThreadPoolExecutor(1, "report")


def _told(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a manifest says of inputs and configuration, but for where and how the work is done."""
    config = {name: value for name, value in manifest["config"].items() if name not in PLACES}
    prices = [manifest["config"]["runner"][name] for name in ("hour_price", "score_hour_price")]
    paths = [path for shard in manifest["inputs"] for path, *_ in shard["files"]]
    return config, prices, list(dict.fromkeys(paths)), manifest["skipped"]


def _written_file(marker: Marker) -> dict[str, Any]:
    return {
        "path": marker.facts["path"],
        "rows": marker.rows_out,
        "bytes": marker.facts["bytes"],
        "checksum": f"xxh3_128:{marker.facts['checksum']}",
    }


def _tables(told: Sequence[Told]) -> dict[str, list[Row]]:
    """The tables of all steps by caption, in the order of the steps."""
    tables: dict[str, list[Row]] = {}
    for of_step in told:
        for caption, rows in of_step.tables.items():
            tables.setdefault(caption, []).extend(rows)
    return tables


def _seconds(markers: Sequence[Marker]) -> float:
    return round(sum(float(marker.facts.get("seconds", 0.0)) for marker in markers), 3)


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
