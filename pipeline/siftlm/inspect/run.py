"""Reads a finished run: its shards, its columns, and documents at given percentiles of a column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem, paths
from siftlm.config import RunConfig
from siftlm.engine.shards import Task
from siftlm.errors import UserError, nearest
from siftlm.report.manifest import MANIFEST, read_manifest
from siftlm.stages.columns import available, read_columns
from siftlm.stages.edit import edited_batches
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.origins import from_manifest
from siftlm.stages.texts import document_batches
from siftlm.store import Store


@dataclass(frozen=True)
class SelectedRun:
    """Holds the manifest and the store of a run whose documents have all been decided on."""

    manifest: dict[str, Any]
    store: Store

    @property
    def place(self) -> str:
        """Returns the folder that the run is written to."""
        return str(self.manifest["config"]["output"]["folder"])

    @property
    def documents(self) -> int:
        return int(self.manifest["statistics"]["documents"]["documents"])

    def tasks(self) -> list[Task]:
        """Returns the shards, each with the store keys of all outputs that were computed from it."""
        return [
            Task(number, shard["path"], "", shard["keys"], {"source": shard["source"]})
            for number, shard in enumerate(self.manifest["inputs"])
        ]

    def columns(self) -> dict[str, pa.DataType]:
        tasks = self.tasks()
        return available(tasks[0], self.store) if tasks else {}

    def tokens_column(self) -> str | None:
        """Returns the column that counts tokens: the one that the selection names, else the first model's."""
        named: str | None = self.manifest["config"]["select"]["tokens"]
        columns = self.columns()
        counts = (f"{settings.name}_token_count" for settings in self.config.score)
        return named or next((name for name in counts if name in columns), None)

    @cached_property
    def config(self) -> RunConfig:
        return RunConfig.model_validate(self.manifest["config"])

    def perplexities(self) -> dict[str, str]:
        """Returns the columns of perplexities, each with the name of its score."""
        columns = self.columns()
        return {column: score for column, score in self.config.perplexities().items() if column in columns}

    def default_column(self) -> str:
        """Returns the column of the first model's perplexity, or `byte_count` where no model scored."""
        return next(iter(self.perplexities()), "byte_count")

    def read(self, names: set[str]) -> pa.Table:
        """Returns columns of all documents, with `shard` and `row`, which say where each document is."""
        tables = []
        for task in self.tasks():
            table = read_columns(task, self.store, names)
            table = table.append_column("shard", pa.array(np.full(table.num_rows, task.shard)))
            tables.append(table.append_column("row", pa.array(np.arange(table.num_rows))))
        return pa.concat_tables(tables, promote_options="permissive")

    def arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns the given columns of all documents, kept and dropped, in order; by default all but the text.

        Raises:
            UserError: the run has no column of a name.
        """
        known = self.columns()
        for name in columns or ():
            if name not in known:
                raise UserError(f"columns: must be columns of the run, got {name!r}{_nearest(name, known)}")
        names = list(known if columns is None else columns)
        return self.read(set(names)).select(names)

    def pandas(self, columns: Sequence[str] | None = None) -> Any:
        """Returns `arrow` as a pandas DataFrame; pandas has to be installed."""
        return self.arrow(columns).to_pandas()

    def polars(self, columns: Sequence[str] | None = None) -> Any:
        """Returns `arrow` as a polars DataFrame; polars has to be installed."""
        import polars

        return polars.from_arrow(self.arrow(columns))

    def origin(self, shard: int, row: int) -> tuple[str, int]:
        """Returns the file of a document, and the number of its record there, from 0."""
        key = self.tasks()[shard].inputs[DOCUMENTS]
        (batch,) = self.store.row_range(DOCUMENTS, key, row, row + 1, columns=["position"])
        paths, numbers = from_manifest(self.manifest["inputs"][shard]).of(batch["position"])
        return paths[0].as_py(), numbers[0].as_py()

    def text(self, shard: int, row: int) -> str:
        task = self.tasks()[shard]
        (batch,) = document_batches(task, self.store, columns=["text"], start=row, end=row + 1)
        return str(batch["text"][0].as_py())

    def cut(self, shard: int, row: int, spans: Sequence[Mapping[str, int]]) -> tuple[str, ...]:
        """Returns the texts of the given spans, which were cut out of a document."""
        (batch,) = edited_batches(self.tasks()[shard], self.store, columns=["text"], start=row, end=row + 1)
        text = batch["text"][0].as_py().encode()
        return tuple(text[span["start"] : span["end"]].decode().strip() for span in spans)


@dataclass(frozen=True)
class FinishedRun(SelectedRun):
    """Holds a run that is published in `folder`."""

    folder: str

    @property
    def place(self) -> str:
        return self.folder

    @classmethod
    def open(cls, folder: str) -> FinishedRun:
        """Returns the run in a folder; raises UserError where there is none, or its manifest was changed."""
        folder = paths.given("RUN", folder, paths.readable)
        path = f"{folder}/{MANIFEST}"
        if not filesystem.exists(path):
            raise UserError(f"{folder}: must be the folder of a finished run, got no {MANIFEST} there")
        manifest = read_manifest(folder)
        return cls(manifest, Store(manifest["config"]["store"] or f"{folder}/store"), folder)


def inspect(
    folder: str, column: str | None, percentiles: Sequence[float], reason: str | None, kept: bool | None
) -> list[dict[str, Any]]:
    """Returns the documents at percentiles of a column, among those with the decision and reason asked for.

    Percentile 0 is the lowest value; equal values are in order of doc_id.
    """
    run = FinishedRun.open(folder)
    columns = run.columns()
    column = run.default_column() if column is None else column
    numbers = [name for name, kind in columns.items() if pa.types.is_integer(kind) or pa.types.is_floating(kind)]
    if column not in numbers:
        raise UserError(f"--column: must be a numeric column, got {column!r}{_nearest(column, numbers)}")
    table = run.read({column, "doc_id", "domain", "source", "kept", "reason"})
    reasons = {name for name in table["reason"].unique().to_pylist() if name}
    if reason is not None and reason not in reasons:
        raise UserError(f"--reason: must be why documents were dropped, got {reason!r}{_nearest(reason, reasons)}")
    wanted = pc.field(column).is_valid()
    if reason is not None:
        wanted &= pc.field("reason") == reason
    if kept is not None:
        wanted &= pc.field("kept") == kept
    table = table.filter(wanted)
    order = pc.sort_indices(table, sort_keys=[(column, "ascending"), ("doc_id", "ascending")])
    documents = []
    for percentile in percentiles if len(order) else ():
        row = table.slice(order[round(percentile / 100 * (len(order) - 1))].as_py(), 1).to_pylist()[0]
        text = run.text(row["shard"], row["row"])
        documents.append({**row, "percentile": percentile, "column": column, "value": row[column], "text": text})
    return documents


def _nearest(name: str, names: Iterable[str]) -> str:
    near = nearest(name, sorted(names))
    return f"; did you mean {near!r}?" if near else ""


def parse_percentiles(text: str) -> list[float]:
    """Returns the numbers in a text such as `1,50,99`; raises UserError unless all are from 0 to 100."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--percentiles: must be numbers separated by commas, got {text!r}") from None
    if not all(0 <= value <= 100 for value in values):
        raise UserError(f"--percentiles: must be between 0 and 100, got {text!r}")
    return values
