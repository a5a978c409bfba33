"""Runs `siftlm train-classifier` and `siftlm fit-dsir`, which make scorers from labelled pages or corpora.

The model goes into a run's configuration by its path:

    [[annotate.classifiers]]            [[annotate.dsir]]
    name = "wanted"                     name = "dsir"
    path = "<folder>/classifier/model.bin"   path = "<folder>/dsir.npz"
    label = "include"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem
from siftlm.classifiers.fasttext import Pages, train
from siftlm.classifiers.labels import (
    Labels,
    extreme_labels,
    given_labels,
    hard_labels,
    include_probability,
    rank_labels,
)
from siftlm.config import validated
from siftlm.corpus import Corpus, open_corpus
from siftlm.correlate.pages import keyed_uniform
from siftlm.correlate.settings import TrainingSettings
from siftlm.correlate.tables import read_table
from siftlm.engine.progress import Progress
from siftlm.engine.shards import Task
from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.loop import DsirFitSettings, LoopConfig
from siftlm.scorers.ngrams import ImportanceWeights, NgramCounts
from siftlm.stages.columns import read_columns
from siftlm.stages.folders import check_results
from siftlm.stages.ingest import STAGE as DOCUMENTS

MODEL, REPORT, WEIGHTS = "model.bin", "report.json", "dsir.npz"


def train_classifier(
    config: LoopConfig, progress: Progress, weights: str | None = None, out: str | None = None
) -> dict[str, Any]:
    """Trains a classifier on pages of a run; writes it and its held-out report, which is returned.

    Args:
        config: The run and the settings of [classifier].
        progress: What shows the work.
        weights: The table of `project`: target, unit, estimate, weight; not needed for two corpora.
        out: Where it goes; default <output.folder>/classifier.
    """
    settings, out = config.classifier, f"{config.folder}/classifier" if out is None else out
    check_results("out", out, (MODEL, REPORT), _is_report)
    weights = f"{config.folder}/correlation/weights.parquet" if weights is None else weights
    table = None if settings.labels == "given" else _weights(weights)
    chosen = None if table is None else _of_target(table, settings.target)
    if settings.labels == "given" and not (settings.good and settings.web):
        raise UserError("classifier.good: with labels = 'given' good and web must name sources, got none")
    with open_corpus(config, progress, "train-classifier") as corpus:
        pages, units = read_pages(corpus, settings, None if chosen is None else set(chosen["unit"].to_pylist()))
    labels = given_labels(np.isin(units, settings.good)) if chosen is None else _labels(pages, units, chosen, settings)
    filesystem.makedirs(out)
    with progress.working("classifier"):
        _, report = train(pages, labels, settings, f"{out}/{MODEL}")
    report = {"target": settings.target, "labels": settings.labels, "page_count": len(pages), **report}
    content = {**report, "settings": settings.model_dump()}
    filesystem.write_bytes(f"{out}/{REPORT}", orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return report


def _is_report(folder: str) -> bool:
    try:
        return {"page_count", "settings"} <= set(orjson.loads(filesystem.read_bytes(f"{folder}/{REPORT}")))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return False


def two_corpora(good: Sequence[str], web: Sequence[str], out: str, overrides: Sequence[str]) -> LoopConfig:
    """Returns the configuration of a classifier that tells the files of `good` from those of `web`."""
    tree: dict[str, Any] = {
        "name": "good-against-web",
        "input": [{"source": "good", "paths": list(good)}, {"source": "web", "paths": list(web)}],
        "annotate": {"signals": {"groups": ["basic"]}},
        "output": {"folder": out},
        "classifier": {"labels": "given", "good": ["good"], "web": ["web"]},
        "dsir": {"target": ["good"], "raw": ["web"]},
    }
    return validated(LoopConfig, tree, list(overrides), "command line")


def _weights(path: str) -> pa.Table:
    if not filesystem.exists(path):
        raise UserError(f"{path}: the weights of the units must be there, got nothing; run siftlm project first")
    table = read_table(path)
    for name in ("target", "unit", "estimate", "weight"):
        if name not in table.column_names:
            raise UserError(f"{path}: must have a column {name!r}, got {name_some(table.column_names, 10)}")
    return table


def _of_target(weights: pa.Table, target: str | None) -> pa.Table:
    """The weights of one target; the only one where none is named."""
    targets = list(dict.fromkeys(weights["target"].to_pylist()))
    if target is None and len(targets) == 1:
        return weights
    if target not in targets:
        raise UserError(f"classifier.target: must be one of {name_some(targets, 20)}, got {target!r}")
    return weights.filter(pc.equal(weights["target"], target))


def read_pages(corpus: Corpus, settings: TrainingSettings, units: set[str] | None) -> tuple[Pages, list[str]]:
    """Returns the pages of the units, or of the two corpora, and the unit or source of each.

    At most `most_pages` by a keyed draw, in the run's order.
    """
    column = {"page": "doc_id"}.get(corpus.config.matrix.unit, corpus.config.matrix.unit)
    if units is not None and column == "chunk":
        raise UserError("matrix.unit: must be a property of a page to label pages by it, got 'chunk'")
    tables = []
    for number, task in enumerate(corpus.shards):
        table = read_columns(task, corpus.store, {"doc_id", "domain", "source", "language"})
        if "language" not in table.column_names:
            table = table.append_column("language", pa.nulls(table.num_rows, pa.string()))
        wanted = _wanted(corpus, task, table, column, settings, units)
        columns = {name: table[name] for name in ("doc_id", "domain", "language")}
        columns["unit"] = table[column if units is not None else "source"]
        place = {"shard": np.full(table.num_rows, number), "row": np.arange(table.num_rows)}
        tables.append(pa.table({**columns, **place}).filter(wanted))
    chosen = _drawn(pa.concat_tables(tables), settings)
    if not chosen.num_rows:
        raise UserError("classifier: some page of the run must belong to a unit of the weights, got none")
    return _with_texts(corpus, chosen)


def _wanted(
    corpus: Corpus, task: Task, table: pa.Table, column: str, settings: TrainingSettings, units: set[str] | None
) -> pa.Array:
    alive = pc.is_null(corpus.reasons(task))
    if units is None:
        return pc.and_(alive, pa.scalar(task.facts["source"] in (*settings.good, *settings.web)))
    return pc.and_(alive, pa.array([unit in units for unit in table[column].to_pylist()]))


def _drawn(table: pa.Table, settings: TrainingSettings) -> pa.Table:
    if table.num_rows <= settings.most_pages:
        return table
    doc_ids = table["doc_id"].to_pylist()
    order = np.lexsort((np.array(doc_ids), keyed_uniform(doc_ids, settings.seed, "page of the classifier")))
    return table.take(pa.array(np.sort(order[: settings.most_pages])))


def _with_texts(corpus: Corpus, chosen: pa.Table) -> tuple[Pages, list[str]]:
    texts: list[str] = []
    for number, task in enumerate(corpus.shards):
        total = corpus.store.marker(DOCUMENTS, task.inputs[DOCUMENTS]).rows_out
        rows = np.zeros(total, bool)
        rows[chosen.filter(pc.equal(chosen["shard"], number))["row"].to_numpy()] = True
        texts += corpus.texts(task, rows)
    columns = {name: chosen[name].to_pylist() for name in ("doc_id", "language", "domain", "unit")}
    return Pages(columns["doc_id"], texts, columns["language"], columns["domain"]), columns["unit"]


def _labels(pages: Pages, units: Sequence[str], weights: pa.Table, settings: TrainingSettings) -> Labels:
    place = {unit: n for n, unit in enumerate(weights["unit"].to_pylist())}
    rows = np.array([place[unit] for unit in units], np.int64)
    estimates, weight = weights["estimate"].to_numpy(), weights["weight"].to_numpy()
    if settings.labels == "weight":
        return hard_labels(weight[rows])
    if settings.labels == "rank":
        return rank_labels(pages.doc_ids, include_probability(estimates)[rows], weight[rows], settings)
    return extreme_labels(pages.doc_ids, estimates[rows], settings)


def fit_dsir(config: LoopConfig, progress: Progress, out: str | None = None) -> str:
    """Counts two corpora's n-grams, writes DSIR's importance weights, and returns a message with their path."""
    settings = config.dsir
    if settings is None:
        raise UserError("dsir: must be a table of settings for this command, got nothing")
    out = config.folder if out is None else out
    check_results("out", out, (WEIGHTS,), lambda folder: ImportanceWeights.are_at(f"{folder}/{WEIGHTS}"))
    path = f"{out}/{WEIGHTS}"
    with open_corpus(config, progress, "fit-dsir") as corpus, progress.working("dsir"):
        target, raw = (_counts(corpus, sources, settings) for sources in (settings.target, settings.raw))
    ImportanceWeights.fit(raw, target, settings).save(path)
    return f"importance weights over {raw.counts.sum():,} raw and {target.counts.sum():,} target n-grams are in {path}"


def _counts(corpus: Corpus, sources: Sequence[str], settings: DsirFitSettings) -> NgramCounts:
    drawn = TrainingSettings(labels="given", good=list(sources), most_pages=settings.most_pages)
    return NgramCounts.of(read_pages(corpus, drawn, None)[0].texts, settings)
