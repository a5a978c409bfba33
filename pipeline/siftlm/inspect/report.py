"""Makes report.html of a finished run, from counts over all shards and a sample of documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from siftlm import filesystem
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.step import Loss
from siftlm.inspect.agreement import COMPARED, LEAST, SHOWN_PAIRS, Apart, RankedAlike, apart, rankings
from siftlm.inspect.clusters import Member, members
from siftlm.inspect.excerpts import Excerpts, Place
from siftlm.inspect.run import FinishedRun, SelectedRun
from siftlm.inspect.survey import survey
from siftlm.inspect.trace import Trace
from siftlm.report import figures
from siftlm.report.composition import UNNAMED, composition
from siftlm.report.funnel import funnel
from siftlm.report.manifest import REPORT, paper, read_manifest, write_manifest
from siftlm.report.mixture import Mixture, Unit, mixture
from siftlm.report.page import report_page
from siftlm.report.svg import Chart
from siftlm.report.tally import GROUPS, WEIGHT_UNIT, Asked, Tally, edges_of
from siftlm.report.view import Agreement, Contamination, CutText, Disagreement, Document, Report, ScoreColumn
from siftlm.scorers.protocol import Overlap
from siftlm.selectors.rule import Cut
from siftlm.statistics.ordered import Int64Array
from siftlm.statistics.ranks import spearman

SAMPLE = 20_000  # documents that pictures of single documents are drawn from
SCORES = 24  # columns with a picture and documents of their own
PERCENTILES = (1, 5, 10, 25, 40, 60, 75, 90, 95, 99)  # of the kept, and of the dropped: twenty documents a score
GROUPS_SHOWN = 12
LEAST_IN_GROUP = 5
CUTS_NAMED = 12


def overview(run: SelectedRun, runner: RunnerSettings) -> Report:
    """Returns everything that the report shows of a run; large runs are counted by `runner`."""
    return _Overview(run, runner).report()


def write_report(run: FinishedRun, runner: RunnerSettings | None = None, begun: Report | None = None) -> str:
    """Writes report.html into the folder of a run; returns its path.

    `begun` is the overview of the run before its files were written, if there is one: of these, and of the time that
    they took, the manifest alone knows.
    """
    path = f"{run.folder}/{REPORT}"
    report = replace(begun or overview(run, runner or RunnerSettings()), manifest=run.manifest)
    filesystem.write_bytes(path, report_page(report).encode())
    return path


def renew_report(run: FinishedRun) -> str:
    """Writes report.html of a finished run again, and its new checksum into the manifest; returns its path."""
    path = write_report(run)
    papers = [paper(run.folder, REPORT) if other["path"] == REPORT else other for other in run.manifest["papers"]]
    if read_manifest(run.folder) == run.manifest:  # no run has replaced it meanwhile
        write_manifest(run.folder, {**run.manifest, "papers": papers})
    return path


class _Overview:
    def __init__(self, run: SelectedRun, runner: RunnerSettings) -> None:
        self.run, self.runner = run, runner
        self.trace = Trace(run)
        self.losses = self.trace.losses
        self.columns = run.columns()
        self.excerpts = Excerpts(run)
        self.tokens = run.tokens_column()

    @cached_property
    def edges(self) -> dict[str, tuple[float, ...]]:
        """Returns the bin edges of every histogram that can be drawn, by column."""
        drawn = ((name, edges_of(self._statistics("all", name), self._lines(name))) for name in self.scores)
        return {name: edges for name, edges in drawn if edges}

    @cached_property
    def tally(self) -> Tally:
        drawn = {*self.scores, *self.run.perplexities(), "byte_count"} & self.columns.keys()
        asked = Asked(
            columns=frozenset(self.columns),
            tokens=self.tokens,
            edges=self.edges,
            scores=tuple(sorted(drawn)),
            benchmarks=tuple(settings.name for settings in self._benchmarks()),
            rate=min(1.0, SAMPLE / max(1, self.run.documents)),
            seed=self.run.config.seed,
        )
        return survey(self.run, "report", asked, self.runner)

    @cached_property
    def scores(self) -> list[str]:
        """Returns the columns that the report draws: those that models wrote or rules read, models first.

        It is the default column where there are none.
        """
        names = [*self.run.config.charts(), *self.deciding]
        known = self.run.manifest["statistics"]["columns"].get("all", {})
        counted = [name for name in dict.fromkeys(names) if name in known]
        return (counted or [self.run.default_column()] if self.columns else [])[:SCORES]

    @cached_property
    def deciding(self) -> list[str]:
        """Returns the columns that rules and weights look at."""
        weights = self.run.config.select.weights
        factors = [factor.score_column for factor in (weights.factors if weights else []) if factor.score_column]
        return [*(loss.column for loss in self.losses if loss.column), *factors]

    def report(self) -> Report:
        counted = self.tally
        chosen = {name: self._percentiles(name) for name in self.scores}
        clusters = [name for _, name in counted["clusters"]]
        duplicates = members(self.run, clusters, self.run.documents, self.runner) if clusters else ()
        shown = [index for rows in chosen.values() for _, index in rows]
        shown += [document.index for documents in self.apart.values() for document in documents]
        places = [self._place(index) for index in shown]
        worst = [(shard, row) for touched in counted["benchmarks"].values() for _, shard, row, *_ in touched["worst"]]
        self.excerpts.read([*places, *worst, *((shard, row) for _, _, shard, row, _ in duplicates)])
        manifest = self.run.manifest
        return Report(
            manifest=manifest,
            funnel=funnel(manifest, counted["reasons"], counted["losses"]),
            compositions=tuple(composition(name, groups) for name, groups in counted["groups"].items()),
            scores=tuple(self._score(name, rows) for name, rows in chosen.items()),
            against=tuple(self._against()),
            agreement=self._agreement(),
            clusters=tuple(self._clusters(duplicates)),
            cluster_sizes=tuple(sorted(counted["cluster_sizes"].items())),
            contamination=tuple(self._contamination(settings) for settings in self._benchmarks()),
            sampled=len(counted["sample"]["row"]),
            tokens_column=self.tokens,
            mixtures=self._mixtures() if _weighted(counted) else (),
        )

    def _mixtures(self) -> tuple[Mixture, ...]:
        weights = self.run.config.select.weights
        unit: Unit = "tokens" if self.tokens else "bytes"
        written = weights is not None and weights.materialise
        return tuple(mixture(name, counts, unit, written=written) for name, counts in self.tally["groups"].items())

    def _benchmarks(self) -> list[Overlap]:
        """Those whose columns the run has: an empty one has none."""
        asked = [settings.overlap() for settings in self.run.config.annotate.scorers()]
        return [overlap for overlap in asked if overlap and f"{overlap.name}_item" in self.columns]

    def _contamination(self, overlap: Overlap) -> Contamination:
        touched = self.tally["benchmarks"][overlap.name]
        worst = [
            (Document(doc_id, None, None, self.excerpts.excerpt((shard, row)), kept, reason, -share), item)
            for share, shard, row, doc_id, kept, reason, item in touched["worst"]
        ]
        sums = touched["documents"], touched["kept"], len(touched["items"]), len(touched["kept_items"])
        return Contamination(overlap.name, overlap.ngram, *sums, tuple(worst))

    def _statistics(self, which: str, name: str) -> dict[str, Any]:
        statistics: dict[str, Any] = self.run.manifest["statistics"]["columns"].get(which, {}).get(name, {})
        return statistics

    def _looking_at(self, column: str) -> list[Loss]:
        return [loss for loss in self.losses if loss.column == column and loss.rule is not None]

    def _lines(self, column: str) -> list[float]:
        """Every value at which a rule cuts a column, in order."""
        lines: set[float] = set()
        for loss in self._looking_at(column):
            lines |= set(loss.rule.bounds if loss.rule else ())
            lines |= {value for cut in self.trace.cuts(loss) for value in cut.values if value is not None}
        return sorted(lines)

    def _percentiles(self, column: str) -> list[tuple[float, int]]:
        """(percentile, index into the sample) of documents along a score: first of the kept, then of the dropped."""
        sample, places = self.tally["sample"], []
        values = sample["numbers"][column]
        for mask in (sample["kept"], ~sample["kept"]):
            rows = np.flatnonzero(mask & ~np.isnan(values))
            order = rows[np.lexsort((self._by_name[rows], values[rows]))].tolist()  # lowest first, ties by doc_id
            places += [(p, order[round(p / 100 * (len(order) - 1))]) for p in PERCENTILES if order]
        return list(dict.fromkeys(places))

    @cached_property
    def _by_name(self) -> Int64Array:
        """The place of every sampled document in the order of doc_id."""
        ids = [doc_id or "" for doc_id in self.tally["sample"]["names"]["doc_id"]]
        return np.unique(np.array(ids, object), return_inverse=True)[1]

    def _place(self, index: int) -> Place:
        sample = self.tally["sample"]
        return int(sample["shard"][index]), int(sample["row"][index])

    def _score(self, name: str, rows: Sequence[tuple[float, int]]) -> ScoreColumn:
        model = self.run.perplexities().get(name)
        shown = [self._document(name, index, percentile, model) for percentile, index in rows]
        counts = self.tally["histograms"].get(name, np.zeros((2, 2), np.int64))
        return ScoreColumn(
            column=name,
            chart=self._distribution(name),
            everything=self._statistics("all", name),
            kept=self._statistics("kept", name),
            outside=(int(counts[0][0]), int(counts[0][-1])),
            cuts=tuple(self._cut_text(loss) for loss in self._looking_at(name)),
            kept_documents=tuple(document for document in shown if document.kept),
            dropped_documents=tuple(document for document in shown if not document.kept),
            with_length=self._with_length(name),
            decides=name in self.deciding,
        )

    def _with_length(self, name: str) -> float | None:
        """The rank correlation of a score or a formula with the length of documents, over the sample."""
        numbers = self.tally["sample"]["numbers"]
        if name not in self._judges or "byte_count" not in numbers:
            return None
        values, sizes = numbers[name], numbers["byte_count"]
        known = np.isfinite(values) & np.isfinite(sizes)
        return spearman(values[known], sizes[known]) if known.sum() >= LEAST else None

    @cached_property
    def rankings(self) -> list[RankedAlike]:
        """Returns how alike all that judges documents ranks them, two and two."""
        return rankings(self._judges[:COMPARED], self.tally["sample"]["numbers"])

    @cached_property
    def _judges(self) -> list[str]:
        """The columns that judge documents: those of models and other methods, and formulas."""
        judges = {*self.run.config.charts(), *self._formulas}
        return [name for name in self.scores if name in judges & self.tally["sample"]["numbers"].keys()]

    @cached_property
    def apart(self) -> dict[RankedAlike, list[Apart]]:
        """Returns the documents on which the first column and the ones that follow it least differ most."""
        with_first = [one for one in self.rankings if one.first == self.rankings[0].first]
        known = sorted(
            (one for one in with_first if one.correlation is not None), key=lambda one: abs(one.correlation or 0.0)
        )
        return {one: apart(one, self.tally["sample"]["numbers"], self._by_name) for one in known[:SHOWN_PAIRS]}

    def _agreement(self) -> Agreement | None:
        if not self.rankings:
            return None
        columns = tuple(dict.fromkeys(name for one in self.rankings for name in (one.first, one.second)))
        known = {frozenset((one.first, one.second)): one.correlation for one in self.rankings}
        return Agreement(
            columns,
            tuple(tuple(known.get(frozenset((a, b))) for b in columns) for a in columns),
            tuple(self._disagreement(*entry) for entry in self.apart.items()),
            tuple(self._judges[COMPARED:]),
        )

    def _disagreement(self, ranking: RankedAlike, documents: Sequence[Apart]) -> Disagreement:
        shown = tuple(
            (self._document(ranking.first, one.index, None, None), one.first, one.second) for one in documents
        )
        return Disagreement(ranking.first, ranking.second, (ranking.correlation or 0.0) < 0, shown)

    @cached_property
    def _formulas(self) -> list[str]:
        return [column.name for _, column in self.run.config.formulas()]

    def _document(self, column: str, index: int, percentile: float | None, model: str | None) -> Document:
        sample = self.tally["sample"]
        names = {name: values[index] for name, values in sample["names"].items()}
        text = self.excerpts.excerpt(self._place(index), model)
        kept, value = bool(sample["kept"][index]), float(sample["numbers"][column][index])
        owner = names["doc_id"] or "", names.get("source"), names.get("domain")
        return Document(*owner, text, kept, names.get("reason"), value, percentile)

    def _distribution(self, name: str) -> Chart | None:
        edges, counts = self.edges.get(name), self.tally["histograms"].get(name)
        if not edges or counts is None or not counts.any():
            return None
        lines = self._lines(name)
        before, after = self._statistics("all", name), self._statistics("kept", name)
        words = f"{before['count']:,} documents with a median of {figures.short(before['p50'])}"
        if after.get("p50") is not None:
            words += f"; {after['count']:,} kept, with a median of {figures.short(after['p50'])}"
        words += f"; cuts at {', '.join(figures.short(v) for v in lines[:CUTS_NAMED])}." if lines else "; no cut."
        return figures.distribution(f"scores-{name}", name, edges, counts[:, 1:-1], lines, words)

    def _cut_text(self, loss: Loss) -> CutText:
        _, within = (loss.rule and loss.rule.grouped_by) or ("", "")
        cuts = self.trace.cuts(loss, self.tally["groups"].get(within, {}))
        more = [f"and {len(cuts) - CUTS_NAMED:,} more groups"] if len(cuts) > CUTS_NAMED else []
        return CutText(loss.place, loss.text, (*(_cut_words(loss, cut) for cut in cuts[:CUTS_NAMED]), *more))

    def _against(self) -> list[Chart]:
        sample = self.tally["sample"]
        charts: list[Chart | None] = []
        for name in self.run.perplexities():
            sizes, values = sample["numbers"]["byte_count"], sample["numbers"][name]
            charts.append(figures.against_length(f"length-{name}", name, sizes, values, sample["kept"], sample["draw"]))
            for group in (group for group in GROUPS if group in sample["names"]):
                charts.append(figures.by_group(f"{group}-{name}", name, group, self._grouped(group, values)))
        return [chart for chart in charts if chart is not None]

    def _grouped(self, group: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """The values in the groups with most of the sample's values, largest group first."""
        rows: dict[str, list[float]] = {}
        for name, value in zip(self.tally["sample"]["names"][group], values.tolist(), strict=True):
            if np.isfinite(value):
                rows.setdefault(UNNAMED if name is None else name, []).append(value)
        ranked = sorted(rows.items(), key=lambda entry: (-len(entry[1]), entry[0]))
        return [(name, np.array(group)) for name, group in ranked[:GROUPS_SHOWN] if len(group) >= LEAST_IN_GROUP]

    def _clusters(self, duplicates: Sequence[Member]) -> list[tuple[int, str, tuple[Document, ...]]]:
        rows: dict[str, list[Document]] = {name: [] for _, name in self.tally["clusters"]}
        for owner, _, shard, row, columns in duplicates:
            rows[owner].append(Document(excerpt=self.excerpts.excerpt((shard, row)), **columns))
        return [(size, name, tuple(rows[name])) for size, name in self.tally["clusters"]]


def _cut_words(loss: Loss, cut: Cut) -> str:
    """`c4: 12.3 to 45.6 of 300 documents`."""
    assert loss.rule is not None, "a cut is a rule's"
    joined = loss.rule.cut_words(["open" if value is None else f"{value:.6g}" for value in cut.values])
    group = "" if cut.group is None else f"{cut.group}: "
    return f"{group}{joined}, ranked among {cut.documents:,} documents"


def _weighted(counted: Tally) -> bool:
    kept = counted["reasons"].get("")
    return kept is not None and (kept[6] != kept[3] or kept[7] != kept[3] * WEIGHT_UNIT)
