"""Runs `siftlm matrix`: measures bits per byte of every unit under every model, over drawn pages.

The pages that stand for their units are copied to documents of their own, whole or cut into chunks, and scored by the
score stage of a run, one model after another: what a model has scored stays in the store, so a matrix goes on where it
stopped, and a model more costs that model alone. Sums by unit are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.corpus import Corpus, open_corpus
from siftlm.correlate.clean import inspect_matrix
from siftlm.correlate.matrix import LossMatrix, matrix_of_long, sum_by_unit, write_matrix
from siftlm.correlate.pages import chunk_text, sample_pages
from siftlm.correlate.settings import SampleSettings
from siftlm.correlate.tables import write_table
from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.engine.progress import Progress
from siftlm.engine.shards import Task
from siftlm.engine.step import Output, Shard
from siftlm.errors import UserError
from siftlm.findings import Finding, findings_table
from siftlm.loop import LoopConfig
from siftlm.scorers import ScoreSettings
from siftlm.stages import score
from siftlm.stages.columns import read_columns
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.texts import document_batches
from siftlm.store import Marker, Store, digest

VERSION = 1
UNITS = "units"
UNIT_SCHEMA = pa.schema([pa.field("doc_id", pa.string(), nullable=False), pa.field("unit", pa.string())])
"""Row-aligned with the documents of the matrix: the unit that each counts for."""


@dataclass(frozen=True)
class MatrixResult:
    """A matrix with what is known of its units and what is wrong with it."""

    matrix: LossMatrix
    units: pa.Table  # unit, page_count, byte_count, token_count: of all that is there, the cap of a selection
    findings: list[Finding]
    dropped: dict[str, int]  # documents that are not in the matrix, by reason
    path: str


def make_matrix(config: LoopConfig, progress: Progress) -> MatrixResult:
    """Scores what has not been scored, adds up, and writes the matrix, its units and its findings."""
    with open_corpus(config, progress) as corpus:
        models = corpus.models()
        counted = _counting_model(config.matrix.tokens_of, [model.name for model in models])
        pages = _Pages.read(corpus, config.matrix)
        shards = _sampled_shards(corpus, pages, models[0])
        sums = {model.name: _score(corpus, model, shards) for model in models}
        table = pa.concat_tables(sums.values())
        matrix = matrix_of_long(table)
        units = _units(pages, config.matrix, sums[counted])
        findings = inspect_matrix(matrix)
        _write(config, table, matrix, units, findings)
    return MatrixResult(matrix, units, findings, pages.dropped, config.matrix_path)


def _counting_model(wanted: str | None, names: list[str]) -> str:
    if wanted is not None and wanted not in names:
        raise UserError(f"matrix.tokens_of: must be a model, got {wanted!r}; there are {', '.join(names)}")
    return wanted or names[0]


def _write(config: LoopConfig, table: pa.Table, matrix: LossMatrix, units: pa.Table, found: list[Finding]) -> None:
    if config.matrix_path.endswith((".parquet", ".pq")):
        write_table(table, config.matrix_path)
    else:
        write_matrix(matrix, config.matrix_path)
    write_table(units, f"{config.folder}/units.parquet")
    write_table(findings_table(found), f"{config.folder}/matrix_findings.csv")


@dataclass(frozen=True)
class _Pages:
    """The documents that may stand for a unit, over all shards, and which of them do."""

    shard: np.ndarray
    row: np.ndarray
    doc_ids: list[str]
    units: list[str | None]
    byte_counts: np.ndarray
    chosen: np.ndarray  # positions, ascending
    dropped: dict[str, int]

    @classmethod
    def read(cls, corpus: Corpus, settings: SampleSettings) -> _Pages:
        column = {"page": "doc_id", "chunk": "doc_id"}.get(settings.unit, settings.unit)
        tables, dropped = [], Counter[str]()
        for number, task in enumerate(corpus.shards):
            reasons = corpus.reasons(task)
            dropped.update(reason for reason in reasons.to_pylist() if reason)
            table = read_columns(task, corpus.store, {"doc_id", "domain", "source", "language", "byte_count"})
            if column not in table.column_names:
                raise UserError(f"matrix.unit: must be a column of the corpus, got {column!r}, which is off")
            place = pa.table({"shard": np.full(table.num_rows, number), "row": np.arange(table.num_rows)})
            columns = {"doc_id": table["doc_id"], "unit": table[column], "domain": table["domain"]}
            whole = pa.table(
                {**columns, "byte_count": table["byte_count"], **dict(zip(place.column_names, place, strict=True))}
            )
            tables.append(whole.filter(pc.is_null(reasons)))
        whole = pa.concat_tables(tables)
        doc_ids, units = whole["doc_id"].to_pylist(), whole["unit"].to_pylist()
        by_page = settings.unit in ("page", "chunk")
        groups = whole["domain"].to_pylist() if by_page and settings.pages_per_group else units
        sample = sample_pages(doc_ids, groups, settings)
        if not sample.chosen:
            raise UserError(f"matrix: must have pages, got none; {_in_words(dropped + Counter(sample.dropped))}")
        numbers = [whole[name].to_numpy() for name in ("shard", "row", "byte_count")]
        chosen = np.array(sample.chosen, np.int64)
        return cls(numbers[0], numbers[1], doc_ids, units, numbers[2], chosen, dict(dropped + Counter(sample.dropped)))

    def rows(self, shard: int, total: int) -> np.ndarray:
        """Which rows of a shard are chosen, bool[total]."""
        mine = self.chosen[self.shard[self.chosen] == shard]
        chosen = np.zeros(total, bool)
        chosen[self.row[mine]] = True
        return chosen


def _in_words(dropped: Counter[str]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in sorted(dropped.items()))


def _sampled_shards(corpus: Corpus, pages: _Pages, first: ScoreSettings) -> list[Shard]:
    """The chosen pages as documents of their own, a shard a shard of the corpus, with the unit of each."""
    settings, size = corpus.config.matrix, corpus.config.matrix.tokens_per_chunk
    cutter = _Cutter(settings.tokenizer or first.origin, size) if size else None
    part = [settings.model_dump(exclude={"path", "tokens_of"}), cutter.identity() if cutter else "", corpus.identity()]
    made = []
    for number, task in enumerate(corpus.shards):
        key = digest("matrix", VERSION, part, task.inputs[DOCUMENTS], number)
        outputs = {DOCUMENTS: Output(key, key), UNITS: Output(key, key)}
        made.append(Shard(number, task.name, task.facts, outputs))
        if not (corpus.store.find(DOCUMENTS, key) and corpus.store.find(UNITS, key)):
            _copy_pages(corpus, task, key, pages, number, cutter)
    return made


def _copy_pages(corpus: Corpus, task: Task, key: str, pages: _Pages, number: int, cutter: _Cutter | None) -> None:
    """Writes the chosen pages of a shard, and the unit of each, as rows of two aligned outputs."""
    store = corpus.store
    unit_of = dict(zip((pages.doc_ids[n] for n in pages.chosen), (pages.units[n] for n in pages.chosen), strict=True))
    total = corpus.store.marker(DOCUMENTS, task.inputs[DOCUMENTS]).rows_out
    chosen, start = pages.rows(number, total), 0
    with (
        store.writer(DOCUMENTS, key, DOCUMENT_SCHEMA) as documents,
        store.writer(UNITS, key, UNIT_SCHEMA) as units,
    ):
        for batch in document_batches(task, store):
            kept = batch.filter(pa.array(chosen[start : start + batch.num_rows]))
            start += batch.num_rows
            owners = [unit_of[doc_id] for doc_id in kept["doc_id"].to_pylist()]
            if cutter:
                kept, owners = cutter.cut(kept, owners, corpus.config.matrix.unit == "chunk")
            documents.write(kept)
            units.write(pa.record_batch([kept["doc_id"], pa.array(owners, pa.string())], schema=UNIT_SCHEMA))
    files = {".parquet": documents.seal}
    store.commit(
        Marker(DOCUMENTS, key, task.name, documents.rows, documents.rows, files=files, facts={"text_bytes": 0})
    )
    store.commit(Marker(UNITS, key, task.name, units.rows, units.rows, files={".parquet": units.seal}))


class _Cutter:
    """Cuts pages into chunks of equal tokens, which are documents `<doc_id>#<number>`."""

    def __init__(self, tokenizer: str, size: int) -> None:
        self._name, self._size = tokenizer, size
        self._tokenizer: Any = None

    def identity(self) -> str:
        return digest("chunks", self._size, self._loaded().backend_tokenizer.to_str())

    def cut(self, pages: pa.RecordBatch, owners: Sequence[str | None], own: bool) -> tuple[pa.RecordBatch, list[str]]:
        """The chunks of pages, with the unit of each: itself where `own`, else that of its page."""
        rows, units = [], []
        for page, owner in zip(pages.to_pylist(), owners, strict=True):
            for number, text in enumerate(self._chunks(page["text"])):
                name = f"{page['doc_id']}#{number}"
                rows.append({**page, "doc_id": name, "text": text, "byte_count": len(text.encode("utf-8", "replace"))})
                units.append(name if own else str(owner))
        return pa.RecordBatch.from_pylist(rows, schema=DOCUMENT_SCHEMA), units

    def _chunks(self, text: str) -> list[str]:
        encoded = self._loaded()(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return chunk_text(text, encoded["offset_mapping"], self._size) if encoded["offset_mapping"] else [text]

    def _loaded(self) -> Any:
        if self._tokenizer is None:
            import transformers

            automatic: Any = transformers.AutoTokenizer
            try:
                self._tokenizer = automatic.from_pretrained(self._name)
            except (OSError, ValueError) as error:
                raise UserError(f"matrix.tokenizer: must be a tokenizer, got {self._name!r}: {error}") from None
            if not self._tokenizer.is_fast:
                raise UserError(f"matrix.tokenizer: must be a fast tokenizer, got {self._name!r}, which has no offsets")
        return self._tokenizer


def _score(corpus: Corpus, model: ScoreSettings, shards: Sequence[Shard]) -> pa.Table:
    """The sums by unit of one model; runs the score stage over what it has not scored."""
    shards = corpus.work.take(step := score.Score(model), shards)
    tables = [_scores(corpus.store, step.name, shard.task()) for shard in shards]
    table = pa.concat_tables(tables)
    return sum_by_unit(
        model.name,
        table["unit"].to_pylist(),
        pc.fill_null(table["nll_sum"], float("nan")).to_numpy(),
        pc.fill_null(table["byte_count"], 0).to_numpy(),
        pc.fill_null(table["scored_token_count"], 0).to_numpy(),
    )


def _scores(store: Store, stage: str, task: Task) -> pa.Table:
    columns = store.table(stage, task.inputs[stage], ["nll_sum", "byte_count", "scored_token_count"])
    return columns.append_column("unit", store.table(UNITS, task.inputs[UNITS], ["unit"])["unit"])


def _units(pages: _Pages, settings: SampleSettings, scored: pa.Table) -> pa.Table:
    """What there is of every unit to select from: pages, bytes and tokens, those that were not drawn included.

    The tokens are those of one model: its tokens a byte in the drawn pages, times the bytes of all pages.
    """
    pages_of, bytes_of = Counter[str](), Counter[str]()
    names, tokens_of, sizes = (scored[name].to_pylist() for name in ("unit", "token_count", "byte_count"))
    if settings.unit == "chunk":
        bytes_of.update(dict(zip(names, sizes, strict=True)))
        pages_of.update(names)
    else:
        for unit, size in zip(pages.units, pages.byte_counts.tolist(), strict=True):
            if unit:
                pages_of[unit] += 1
                bytes_of[unit] += size
    return pa.Table.from_pylist(
        [
            {
                "unit": unit,
                "page_count": pages_of[unit],
                "byte_count": bytes_of[unit],
                "token_count": round(tokens * bytes_of[unit] / max(size, 1)),
                "drawn_byte_count": size,
            }
            for unit, tokens, size in zip(names, tokens_of, sizes, strict=True)
        ]
    )
