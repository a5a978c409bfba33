"""Runs `siftlm matrix`: measures every unit's bits per byte under every model, on a sample of pages.

The pages that stand for their units are copied to documents of their own, whole or cut into chunks, and scored by the
score stage of a run, one model after another: what a model has scored stays in the store, so a matrix goes on where it
stopped, and a model more costs that model alone. Sums by unit are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
    """Holds a matrix of losses with its units, the findings about it, and the dropped documents."""

    matrix: LossMatrix
    units: pa.Table  # unit, page_count, byte_count, token_count: of all that is there, the cap of a selection
    findings: list[Finding]
    dropped: dict[str, int]  # documents that are not in the matrix, by reason
    path: str


def make_matrix(config: LoopConfig, progress: Progress) -> MatrixResult:
    """Scores pages that have no score yet, sums by unit, and writes the matrix, its units and its findings."""
    with open_corpus(config, progress, "matrix") as corpus:
        models = corpus.models()
        names = [model.name for model in models]
        counted = names[0] if config.matrix.tokens_of is None else config.matrix.tokens_of
        if counted not in names:
            raise UserError(f"matrix.tokens_of: must be a model, got {counted!r}; there are {', '.join(names)}")
        pages = _Pages.read(corpus, config.matrix)
        shards = _sampled_shards(corpus, pages, models[0])
        sums = {model.name: _score(corpus, model, shards) for model in models}
        table = pa.concat_tables(sums.values())
        matrix = matrix_of_long(table)
        units = _units(pages, config.matrix, sums[counted])
        findings = inspect_matrix(matrix)
        if config.matrix_path.endswith((".parquet", ".pq")):
            write_table(table, config.matrix_path)
        else:
            write_matrix(matrix, config.matrix_path)
        write_table(units, f"{config.folder}/units.parquet")
        write_table(findings_table(findings), f"{config.folder}/matrix_findings.csv")
    return MatrixResult(matrix, units, findings, pages.dropped, config.matrix_path)


@dataclass(frozen=True)
class _Pages:
    """Holds the documents that may stand for a unit, over all shards, and which of them do."""

    documents: pa.Table  # shard, row, doc_id, unit, domain, byte_count
    chosen: pa.Table  # of these
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
            place = {"shard": np.full(table.num_rows, number), "row": np.arange(table.num_rows)}
            columns = {name: table[name] for name in ("doc_id", "domain", "byte_count")}
            tables.append(pa.table({**place, **columns, "unit": table[column]}).filter(pc.is_null(reasons)))
        documents = pa.concat_tables(tables)
        by_page = settings.unit in ("page", "chunk")
        groups = documents["domain" if by_page and settings.pages_per_group else "unit"]
        sample = sample_pages(documents["doc_id"].to_pylist(), groups.to_pylist(), settings)
        dropped += Counter(sample.dropped)
        if not sample.chosen:
            said = ", ".join(f"{number:,} {reason}" for reason, number in sorted(dropped.items()))
            raise UserError(f"matrix: must have pages, got none; {said}")
        return cls(documents, documents.take(pa.array(sample.chosen)), dict(dropped))


def _sampled_shards(corpus: Corpus, pages: _Pages, first: ScoreSettings) -> list[Shard]:
    """The chosen pages as documents of their own, a shard a shard of the corpus, with the unit of each."""
    settings, size = corpus.config.matrix, corpus.config.matrix.tokens_per_chunk
    cutter = _Cutter(settings.tokenizer or first.origin, size) if size else None
    drawn = [settings.model_dump(exclude={"path", "tokens_of"}), cutter.identity() if cutter else "", corpus.identity()]
    made = []
    for number, task in enumerate(corpus.shards):
        key = digest("matrix", VERSION, drawn, task.inputs[DOCUMENTS], number)
        outputs = {DOCUMENTS: Output(key, key), UNITS: Output(key, key)}
        for stage in outputs:
            corpus.work.needs.add(stage, [key])
        made.append(Shard(number, task.name, task.facts, outputs))
        if not (corpus.store.find(DOCUMENTS, key) and corpus.store.find(UNITS, key)):
            _copy_pages(corpus, task, key, pages.chosen.filter(pc.equal(pages.chosen["shard"], number)), cutter)
    return made


def _copy_pages(corpus: Corpus, task: Task, key: str, pages: pa.Table, cutter: _Cutter | None) -> None:
    """Writes the chosen pages of a shard, and the unit of each, as rows of two aligned outputs."""
    store = corpus.store
    unit_of = dict(zip(pages["doc_id"].to_pylist(), pages["unit"].to_pylist(), strict=True))
    chosen, start = np.zeros(store.marker(DOCUMENTS, task.inputs[DOCUMENTS]).rows_out, bool), 0
    chosen[pages["row"].to_numpy()] = True
    with store.writer(DOCUMENTS, key, DOCUMENT_SCHEMA) as documents, store.writer(UNITS, key, UNIT_SCHEMA) as units:
        for batch in document_batches(task, store):
            kept = batch.filter(pa.array(chosen[start : start + batch.num_rows]))
            start += batch.num_rows
            owners = [unit_of[doc_id] for doc_id in kept["doc_id"].to_pylist()]
            if cutter:
                kept, owners = cutter.cut(kept, owners, corpus.config.matrix.unit == "chunk")
            documents.write(kept)
            units.write(pa.record_batch([kept["doc_id"], pa.array(owners, pa.string())], schema=UNIT_SCHEMA))
    for stage, out, facts in ((DOCUMENTS, documents, {"text_bytes": 0}), (UNITS, units, {})):
        files = {".parquet": out.seal}
        store.commit(Marker(stage, key, task.name, out.rows, out.rows, files=files, facts=facts))


class _Cutter:
    """Cuts pages into chunks of equal tokens, which are documents `<doc_id>#<number>`."""

    def __init__(self, tokenizer: str, size: int) -> None:
        self._name, self._size = tokenizer, size

    def identity(self) -> str:
        return digest("chunks", self._size, self._tokenizer.backend_tokenizer.to_str())

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
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return chunk_text(text, encoded["offset_mapping"], self._size) if encoded["offset_mapping"] else [text]

    @cached_property
    def _tokenizer(self) -> Any:
        import transformers

        automatic: Any = transformers.AutoTokenizer
        try:
            tokenizer = automatic.from_pretrained(self._name)
        except (OSError, ValueError) as error:
            raise UserError(f"matrix.tokenizer: must be a tokenizer, got {self._name!r}: {error}") from None
        if not tokenizer.is_fast:
            raise UserError(f"matrix.tokenizer: must be a fast tokenizer, got {self._name!r}, which has no offsets")
        return tokenizer


def _score(corpus: Corpus, model: ScoreSettings, shards: Sequence[Shard]) -> pa.Table:
    """The sums by unit of one model; runs the score stage over what it has not scored."""
    shards = corpus.work.take(step := score.Score(model), shards)
    table = pa.concat_tables([_scores(corpus.store, step.name, shard.task()) for shard in shards])
    missing = {"nll_sum": float("nan"), "byte_count": 0, "scored_token_count": 0}
    sums = (pc.fill_null(table[name], value).to_numpy() for name, value in missing.items())
    return sum_by_unit(model.name, table["unit"].to_pylist(), *sums)


def _scores(store: Store, stage: str, task: Task) -> pa.Table:
    columns = store.table(stage, task.inputs[stage], ["nll_sum", "byte_count", "scored_token_count"])
    return columns.append_column("unit", store.table(UNITS, task.inputs[UNITS], ["unit"])["unit"])


def _units(pages: _Pages, settings: SampleSettings, scored: pa.Table) -> pa.Table:
    """What there is of every unit to select from: pages, bytes and tokens, those that were not drawn included.

    The tokens are those of one model: its tokens a byte in the drawn pages, times the bytes of all pages.
    """
    units, sizes = pages.documents["unit"].to_pylist(), pages.documents["byte_count"].to_pylist()
    names, tokens_of, drawn_bytes = (scored[name].to_pylist() for name in ("unit", "token_count", "byte_count"))
    if settings.unit == "chunk":
        units, sizes = names, drawn_bytes
    pages_of, bytes_of = Counter(units), Counter[str]()
    for unit, size in zip(units, sizes, strict=True):
        bytes_of[unit] += size
    rows = [
        {
            "unit": unit,
            "page_count": pages_of[unit],
            "byte_count": bytes_of[unit],
            "token_count": round(tokens * bytes_of[unit] / max(size, 1)),
            "drawn_byte_count": size,
        }
        for unit, tokens, size in zip(names, tokens_of, drawn_bytes, strict=True)
    ]
    return pa.Table.from_pylist(rows)
