"""Reads and writes tables of numbers with named rows and columns, as CSV or Parquet, wide or long."""

from __future__ import annotations

import codecs
import csv
import io
import lzma
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from fsspec.compression import compr
from fsspec.utils import infer_compression

from siftlm import filesystem
from siftlm.correlate.settings import BenchmarkSettings, MatrixSettings
from siftlm.errors import UserError
from siftlm.findings import Finding, finding_of, name_some

OURS = {b"siftlm": b"table"}  # in the metadata of a Parquet table: it may be replaced
MODEL_COLUMNS = ("model", "models", "model_name")
INDEX_COLUMNS = ("", "unnamed: 0", "__index_level_0__", "index", "name")
"""How pandas and others call the column that names the rows."""

MISSING = ("", "nan", "na", "n/a", "null", "none", "-")
"""Cells that mean "no value", in any case; everything else must be a number."""


@dataclass(frozen=True)
class NamedTable:
    """Holds a table of numbers, float64, NaN where missing: `values[i, j]` is of `rows[i]` and `columns[j]`."""

    rows: list[str]
    columns: list[str]
    values: npt.NDArray[np.float64]

    def transposed(self) -> NamedTable:
        """Returns the same values with rows and columns exchanged."""
        return NamedTable(self.columns, self.rows, np.ascontiguousarray(self.values.T))


def table_of_cells(cells: dict[tuple[str, str], float]) -> NamedTable:
    """Returns a table from {(row, column): value}; rows keep their order, columns are sorted, absent values are NaN."""
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = sorted({column for _, column in cells})
    values = [[cells.get((row, column), np.nan) for column in columns] for row in rows]
    return NamedTable(rows, columns, np.array(values, np.float64).reshape(len(rows), len(columns)))


def read_table(path: str) -> pa.Table:
    """Returns the table in a Parquet or (compressed) CSV file; every column of a CSV is text, exactly as written.

    Cells of a CSV may be separated by commas, semicolons or tabs; its text is UTF-8, or has a mark that says what it
    is.

    Raises:
        UserError: there is no such file, it cannot be read, or it is no table.
    """
    try:
        if path.endswith((".parquet", ".pq")):
            with filesystem.open_read(path) as file:
                parquet = pq.ParquetFile(pa.PythonFile(file, mode="r"))
                _require_unique(path, "column", parquet.schema_arrow.names)
                return parquet.read()
        with filesystem.open_read(path) as file, _unpacked(file, path, "rb") as plain:
            content = plain.read()
    except FileNotFoundError as error:
        raise UserError(f"{path}: the table must exist, got no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: must be a CSV or Parquet file, got a folder") from error
    except pa.ArrowException as error:
        raise UserError(f"{path}: must be a Parquet file, got {_first_line(error)}") from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path}: must be a file that can be read, got {_first_line(error)}") from error
    return _read_csv(path, _decoded(path, content))


def _unpacked(file: BinaryIO, path: str, mode: str) -> Any:
    """The stream of a table whose name may say how it is compressed."""
    kind = infer_compression(path)
    return compr[kind](file, mode=mode) if kind else nullcontext(file)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""First bytes that name an encoding; UTF-32's begin with UTF-16's, so they come first."""


def _decoded(path: str, content: bytes) -> str:
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise UserError(
            f"{path}: must be {encoding.upper()} text, got byte 0x{byte:02x} in line {line}; {_guess(content)}"
        ) from error
    if "\0" in text:
        raise UserError(f"{path}: must be CSV text, got null characters; {_guess(content)}")
    return text


def _guess(content: bytes) -> str:
    """What the bytes look like, for whoever has to save the file again."""
    if content.startswith(b"PK"):
        return "it looks like a spreadsheet or an archive: save it as CSV"
    head = content[:4096]
    if head[1::2].count(0) > len(head) // 4 or head[0::2].count(0) > len(head) // 4:
        return "it looks like UTF-16: save it as UTF-8"
    if any(byte < 9 or 13 < byte < 32 for byte in head):
        return "it looks like a binary file: save it as CSV"
    return "it looks like Latin-1 or Windows-1252: save it as UTF-8"


def _read_csv(path: str, text: str) -> pa.Table:
    lines = io.StringIO(text, newline="")
    separator = _separator(text)
    try:
        head = next(csv.reader(lines, delimiter=separator), None)
    except csv.Error as error:
        raise UserError(f"{path}: must be a CSV file with a header, got {error}") from error
    if not head:
        raise UserError(f"{path}: must be a CSV file with a header, got an empty file")
    _require_unique(path, "column", [name for name in head if name])
    content = text.encode()
    if not text.endswith(("\n", "\r")):
        content += b"\n"  # without which a header alone is no table
    try:
        return pa.csv.read_csv(
            pa.BufferReader(content),
            read_options=pa.csv.ReadOptions(block_size=len(content) + 1),  # a row may be as long as the file
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, delimiter=separator),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(head, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        raise UserError(
            f"{path}: must be a CSV file with as many cells in every row, got {_first_line(error)}"
        ) from error


def _separator(text: str) -> str:
    """What separates cells: a comma, or where the first line has none, a semicolon or a tab."""
    first = text.partition("\n")[0]
    return "," if "," in first else next((sign for sign in (";", "\t") if sign in first), ",")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def to_float64(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Returns the column as float64, NaN for missing cells, and the rows whose cell is neither number nor missing."""
    if not _is_text(column.type):
        return _to_float64(column)
    trimmed = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    missing = pc.fill_null(pc.is_in(pc.utf8_lower(trimmed), pa.array(MISSING)), True)
    try:
        filled = pc.if_else(missing, pa.scalar("nan"), trimmed)
        return np.array(pc.cast(filled, pa.float64()).to_numpy(), np.float64), []
    except pa.ArrowInvalid:
        return _parse_cells(trimmed.to_pylist(), missing.to_pylist())


def _to_float64(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Numbers of other types; dates, lists and bytes are none."""
    try:
        return np.array(pc.cast(column, pa.float64(), safe=False).to_numpy(), np.float64), []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.full(len(column), np.nan), list(range(len(column)))


def _parse_cells(cells: list[str], missing: list[bool]) -> tuple[npt.NDArray[np.float64], list[int]]:
    values = np.full(len(cells), np.nan)
    bad = []
    for row, (cell, absent) in enumerate(zip(cells, missing, strict=True)):
        try:
            values[row] = np.nan if absent else float(cell)
        except ValueError:
            bad.append(row)
    return values, bad


def models_of(
    table: pa.Table, settings: MatrixSettings | BenchmarkSettings, usual: Sequence[str]
) -> tuple[NamedTable, list[Finding]]:
    """Returns a wide table with one row for each model, and findings about what was left out.

    `usual` are usual names of the column that names units or benchmarks.
    """
    names = MODEL_COLUMNS if settings.layout == "rows_are_models" else (*usual, *MODEL_COLUMNS)
    name_column = _name_column(table, settings.path, settings.name_column, names)
    named_by_model = settings.layout == "auto" and (name_column or "").strip().lower() in MODEL_COLUMNS
    wide, findings = _wide_table(table, settings.path, name_column, settings.ignore)
    return (wide if named_by_model or settings.layout == "rows_are_models" else wide.transposed()), findings


def _name_column(table: pa.Table, place: str, wanted: str | None, usual: Sequence[str]) -> str | None:
    """The wanted column, else one of a usual name, else the first that is not all numbers; None where all are."""
    names = [str(name) for name in table.column_names]
    if wanted is not None:
        if wanted not in names:
            raise UserError(f"{place}.name_column: must be a column, got {wanted!r}; there are {name_some(names)}")
        return wanted
    for name in names:
        if name.strip().lower() in (*usual, *INDEX_COLUMNS):
            return name
    return next((name for index, name in enumerate(names) if to_float64(table.column(index))[1]), None)


def _wide_table(
    table: pa.Table, place: str, name_column: str | None, ignore: Sequence[str]
) -> tuple[NamedTable, list[Finding]]:
    """The numbers of a wide table; columns of text are left out, rows without names numbered."""
    findings = []
    if name_column is None:
        rows = [str(index) for index in range(table.num_rows)]
        findings.append(Finding("unnamed_rows", place, len(rows), "no column names the rows", "numbered from 0"))
    else:
        rows = ["" if name is None else str(name) for name in table.column(name_column).to_pylist()]
    columns, values, text_columns = [], [], []
    for index, name in enumerate(table.column_names):
        if name == name_column or name in ignore:
            continue
        numbers, bad = to_float64(table.column(index))
        if bad and np.isnan(numbers).all():
            text_columns.append(name)
            continue
        if bad:
            cell = table.column(index)[bad[0]].as_py()
            raise UserError(f"{place}: column {name!r} must hold numbers, got {cell!r} in row {rows[bad[0]]!r}")
        columns.append(name)
        values.append(numbers)
    _require_unique(place, "row", rows)
    _require_unique(place, "column", columns)
    findings += finding_of("text_column", text_columns, "columns of text among the numbers")
    stacked = np.column_stack(values) if values else np.empty((len(rows), 0))
    return NamedTable(rows, columns, stacked), findings


def _require_unique(place: str, kind: str, names: Sequence[str]) -> None:
    again = sorted(name for name, count in Counter(names).items() if count > 1)
    if again:
        raise UserError(f"{place}: every {kind} must have a name of its own, got {name_some(again)} more than once")


def write_table(table: pa.Table, path: str) -> None:
    """Writes a table as Parquet or CSV, by the file's name; CSV numbers read back as the same float64."""
    with filesystem.open_write(path) as file:
        if path.endswith((".parquet", ".pq")):
            pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **OURS}), file)
        else:
            with _unpacked(file, path, "wb") as plain:
                pa.csv.write_csv(table, plain)


def is_written_here(path: str) -> bool:
    """Tells whether a file is a Parquet table that `write_table` wrote."""
    try:
        with filesystem.open_read(path) as file:
            return (pq.read_schema(pa.PythonFile(file, mode="r")).metadata or {}).items() >= OURS.items()
    except (OSError, pa.ArrowInvalid):
        return False
