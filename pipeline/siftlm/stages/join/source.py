"""Reads the keys and typed columns of a joined table from its files, in order.

DuckDB reads the files, and finds the types of text formats over all their rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem, patterns
from siftlm.errors import UserError, nearest
from siftlm.paths import is_local, scheme_of
from siftlm.remote.names import READ_ONLY
from siftlm.stages.join.remote import RemoteTables
from siftlm.stages.join.settings import JoinSettings
from siftlm.store import digest

BATCH_ROWS = 1 << 16
SHOWN = 3  # lines of an error of DuckDB's that a message has: the place, the line, and what was expected
MEMORY = "1GB"  # that DuckDB may take
_READERS = {
    "parquet": "read_parquet(?, union_by_name=true)",
    "csv": "read_csv(?, union_by_name=true, sample_size=-1, header=true, skip=0, comment='')",
    "json": "read_json(?, union_by_name=true, sample_size=-1, format='newline_delimited')",
}
_FORMATS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json"}
_CASTS: dict[str, tuple[str, pa.DataType]] = {
    **dict.fromkeys(["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"], ("BIGINT", pa.int64())),
    **dict.fromkeys(["UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"], ("BIGINT", pa.int64())),
    **dict.fromkeys(["FLOAT", "DOUBLE", "DECIMAL"], ("DOUBLE", pa.float64())),
    **dict.fromkeys(["VARCHAR", "ENUM", "UUID"], ("VARCHAR", pa.string())),
    **dict.fromkeys(
        ["DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"], ("TIMESTAMP", pa.timestamp("us"))
    ),
    **dict.fromkeys(["TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"], ("TIMESTAMPTZ", pa.timestamp("us"))),
    '"NULL"': ("VARCHAR", pa.string()),  # of a column in which nothing was ever written
    "BOOLEAN": ("BOOLEAN", pa.bool_()),
}
_KEYS = ("BIGINT", "VARCHAR")
_WRITTEN = ("UUID", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "JSON")
"""What DuckDB takes strings of JSON for, and what it calls strings and numbers together."""


@dataclass(frozen=True)
class Source:
    """Reads the files of a table, or their first `most` rows; `place` is its dotted place in the configuration."""

    settings: JoinSettings
    place: str
    most: int | None = None

    def files(self) -> list[str]:
        """Returns the table's files sorted by path; raises UserError if there are none or several formats."""
        try:
            found = patterns.survey([self.settings.path]).files
        except UserError as error:
            raise UserError(f"{self.place}.path: {str(error).removeprefix('paths: ')}") from None
        files = sorted(file.path for file in found if _format(file.path))
        kinds = {_format(file) for file in files}
        if len(kinds) != 1:
            held = f"files of {' and '.join(sorted(map(str, kinds)))}" if kinds else "none of these"
            raise UserError(
                f"{self.place}.path: must hold Parquet, CSV, TSV or JSON lines of one format, got {held} in "
                f"{self.settings.path}"
            )
        return files

    def schema(self) -> pa.Schema:
        """Returns the schema of the joined columns; raises UserError if the table lacks a configured column."""
        with self._opened() as (_, _, fields):
            return pa.schema(fields)

    def rows(self) -> Iterator[tuple[pa.Array, pa.Table]]:
        """Yields (keys, columns) of batches of rows in the order of the files; a missing key is null."""
        with self._opened() as (connection, query, fields):
            try:
                for batch in connection.sql(query[0], params=query[1]).to_arrow_reader(BATCH_ROWS):
                    table = pa.Table.from_batches([batch])
                    keys = table["key"].combine_chunks()
                    if self.settings.on in ("host", "domain"):
                        keys = pc.utf8_lower(keys)
                    columns = table.drop_columns("key").rename_columns([field.name for field in fields])
                    yield keys, _finite(columns.cast(pa.schema(fields)))
            except (pa.ArrowException, OSError, self._duckdb().Error) as error:
                raise self._unreadable(error) from None

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, tuple[str, list[Any]], list[pa.Field]]]:
        """A connection, the query of keys and columns with its parameters, and the fields of the columns."""
        duckdb = self._duckdb()
        files = self.files()
        format_ = str(_format(files[0]))
        reader, named = _READERS[format_], [[_literal(file) for file in files]]
        config = {"memory_limit": MEMORY, "threads": 1, "autoinstall_known_extensions": False}
        with duckdb.connect(config=config) as connection:
            connection.execute("SET TimeZone = 'UTC'")  # not that of the machine, in which times would be told
            if not is_local(files[0]):
                connection.register_filesystem(_file_system(files[0]))
            try:
                kinds = _described(connection, reader, files)
            except duckdb.Error as error:
                raise self._unreadable(error) from None
            kind = kinds.get(self.settings.key_column)
            if kind and (format_ == "csv" or (format_ == "json" and kind in _WRITTEN)):
                kinds[self.settings.key_column] = "VARCHAR"
                reader, named = self._as_text(reader, named, kinds)
            key, _ = self._cast("key", self.settings.key_column, kinds)
            if key not in _KEYS:
                raise UserError(
                    f"{self.place}.key: must be a column of strings or integers, got {self.settings.key_column!r} of "
                    f"{kinds[self.settings.key_column]}"
                )
            chosen, fields = [f"CAST({_quoted(self.settings.key_column)} AS VARCHAR) AS key"], []
            for name, column in self.settings.renamed.items():
                kind, arrow = self._cast("columns", column, kinds)
                value = f"CAST({_quoted(column)} AS {kind})"
                value = f"{value} AT TIME ZONE 'UTC'" if kind == "TIMESTAMPTZ" else value
                chosen.append(f"{value} AS {_quoted(f'column {name}')}")
                fields.append(pa.field(name, arrow))
            limit = "" if self.most is None else f" LIMIT {self.most}"
            yield connection, (f"SELECT {', '.join(chosen)} FROM {reader}{limit}", named), fields

    def _as_text(self, reader: str, named: list[Any], kinds: dict[str, str]) -> tuple[str, list[Any]]:
        """What reads a text format with keys as they are written, which DuckDB may take for times or numbers."""
        if reader == _READERS["csv"]:
            return f"{reader[:-1]}, types=?)", [*named, {self.settings.key_column: "VARCHAR"}]
        wanted = dict.fromkeys([self.settings.key_column, *self.settings.renamed.values()])
        return f"{reader[:-1]}, columns=?)", [*named, {name: kinds[name] for name in wanted if name in kinds}]

    def _cast(self, place: str, column: str, kinds: dict[str, str]) -> tuple[str, pa.DataType]:
        """The type of a column of the table in SQL and Arrow, of those that documents can have."""
        if column not in kinds:
            near = nearest(column, kinds)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(kinds)}"
            raise UserError(f"{self.place}.{place}: must name columns of {self.settings.path}, got {column!r}; {hint}")
        known = _CASTS.get(re.sub(r"\(.*", "", kinds[column]))
        if known is None:
            raise UserError(
                f"{self.place}.{place}: must name columns of numbers, booleans, strings or times, got {column!r} of "
                f"{kinds[column]}"
            )
        return known

    def _duckdb(self) -> Any:
        try:
            import duckdb
        except ImportError:
            raise UserError(
                f"{self.place}: must have the package that reads tables, got an environment without duckdb; "
                "pip install 'siftlm[join]'"
            ) from None
        return duckdb

    def _unreadable(self, error: Exception) -> UserError:
        told = "; ".join(line.strip() for line in str(error).splitlines()[:SHOWN] if line.strip())
        return UserError(f"{self.place}.path: must be a table that can be read, got {self.settings.path}: {told}")


_KINDS: dict[tuple[str, str], dict[str, str]] = {}
"""The types of the columns of files by reader and signature: of text they take a pass over all of it."""


def _file_system(path: str) -> Any:
    """What DuckDB reads the files of an object store, the hub or the web with."""
    scheme = scheme_of(path)
    return RemoteTables(scheme) if scheme in READ_ONLY else filesystem.remote(path)[0]


def _described(connection: Any, reader: str, files: list[str]) -> dict[str, str]:
    """The SQL type of every column of some files, which are read again only where one has changed."""
    signatures = [filesystem.signature(file) or filesystem.kept_digest(file) for file in files]
    known = (reader, digest(files, signatures))
    if known not in _KINDS or not all(signatures):
        described = connection.execute(f"DESCRIBE SELECT * FROM {reader}", [[_literal(file) for file in files]])
        _KINDS[known] = {name: kind for name, kind, *_ in described.fetchall()}
    return dict(_KINDS[known])


def _finite(columns: pa.Table) -> pa.Table:
    """The columns with null for what is infinite or not a number, as in typed fields and formulas."""
    for at, field in enumerate(columns.schema):
        if pa.types.is_floating(field.type):
            known = pc.if_else(pc.is_finite(columns[at]), columns[at], pa.scalar(None, field.type))
            columns = columns.set_column(at, field, known)
    return columns


def _format(path: str) -> str | None:
    """What reads a file, by its name; None for what is no table."""
    name = PurePosixPath(path.lower())
    return _FORMATS.get(name.with_suffix("").suffix if name.suffix in (".gz", ".zst") else name.suffix)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(path: str) -> str:
    """A path that DuckDB does not read as a pattern."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)
