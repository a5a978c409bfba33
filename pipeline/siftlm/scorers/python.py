"""Computes columns by a function of the user's own, which is named and imported in every worker.

Its module is looked for beside the configuration first, and what is executed is the source that was hashed.
"""

from __future__ import annotations

import importlib
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationInfo, field_validator

from siftlm import filesystem
from siftlm.documents import COLUMN_TYPES, DOCUMENT_SCHEMA, ColumnType
from siftlm.errors import UserError, one_line
from siftlm.paths import absolute, is_local, readable
from siftlm.scorers.files import Held
from siftlm.scorers.protocol import NamedSettings
from siftlm.settings import FOLDER, Name
from siftlm.store import digest

VERSION = 1
GIVEN = tuple(name for name in DOCUMENT_SCHEMA.names if name != "position")
"""The columns of the batch that a function is called with."""
LONGEST = 300  # characters of an error that are kept
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")  # differs from process to process
_DOTTED = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"

Function = Callable[[pa.RecordBatch], Any]


class MisfitError(Exception):
    """Signals that a function returned values which are not of the type of their column."""


class PythonSettings(NamedSettings):
    """Computes columns by a function of your own, which gets a record batch of documents and returns columns.

    The batch has the columns doc_id, text, url, domain, source, metadata and byte_count. Rules name the columns
    `<name>_<column>`; `<name>_error` says why a document has none.
    """

    kind: Literal["python"] = "python"
    unchecked: ClassVar[str] = ""
    needs: ClassVar = "a module"
    cost: ClassVar = "own code"
    table: ClassVar = "annotate.python"
    example: ClassVar = {
        "name": "readability",
        "function": "my_scores:readability",
        "columns": {"grade": "float"},
        "trust_python": True,
    }
    trust_python: bool = Field(
        False, description="Must be true, for the function runs with all rights of the run; it is not imported before."
    )
    function: str = Field(
        pattern=rf"^{_DOTTED}:[A-Za-z_]\w*$", description="Module and function, `my_package.scores:readability`."
    )
    types: dict[Name, ColumnType] = Field(
        alias="columns", min_length=1, description="The columns that it returns, with their types."
    )
    version: str = Field(
        "", description="Another text computes all columns anew: for changes outside of the function's own module."
    )
    folder: str | None = Field(
        None, description="Where the module is looked for before installed ones; the folder of the configuration."
    )

    @field_validator("trust_python")
    @classmethod
    def _trusted(cls, trusted: bool) -> bool:
        if not trusted:
            raise ValueError("must be true before a function of your own is imported and run")
        return trusted

    @field_validator("folder")
    @classmethod
    def _beside_the_configuration(cls, folder: str | None, info: ValidationInfo) -> str:
        if folder is not None and not is_local(folder):
            raise ValueError("must be a local folder")
        return absolute((info.context or {}).get(FOLDER) or "." if folder is None else readable(folder))

    @property
    def module(self) -> str:
        """Returns the dotted name of the module that has the function."""
        return self.function.partition(":")[0]

    def scorer(self) -> PythonScorer:
        return PythonScorer(self)

    def charts(self) -> list[str]:
        return [f"{self.name}_{column}" for column, kind in self.types.items() if kind in ("int", "float")]


class PythonScorer(Held[Function]):
    """Calls the function with batches; documents on which it raises get nulls, and the error in `<name>_error`."""

    settings: PythonSettings

    def fields(self) -> list[pa.Field]:
        given = self.settings
        made = [pa.field(f"{given.name}_{column}", COLUMN_TYPES[kind]) for column, kind in given.types.items()]
        return [*made, pa.field(self.errors(), pa.string())]

    def errors(self) -> str:
        return f"{self.settings.name}_error"

    def reads(self) -> list[str]:
        """Returns the source of the module and of the packages that it is in; imports nothing."""
        files = source_files(self.settings.module, str(self.settings.folder))
        if not files or not files[-1].endswith(".py"):
            where = f"it is looked for in {self.settings.folder} and where Python finds its modules"
            must = "must name a module in Python's source that can be found"
            raise self._wrong(must, f"{self.settings.module!r}; {where}")
        return files

    def content(self) -> str:
        return digest([filesystem.fingerprint(path) for path in self.reads()])

    def identity(self, content: str) -> str:
        given = self.settings
        installed = installed_versions(given.module.partition(".")[0])
        return digest("python", VERSION, given.name, given.function, given.types, given.version, installed, content)

    def open(self) -> Function:
        name, file = self.settings.module, self.reads()[-1]
        try:
            module = _module(name, file, str(self.settings.folder))
        except (Exception, SystemExit) as error:
            raise self._wrong("must be in a module that can be imported", _told(error, file)) from error
        function: Function | None = getattr(module, self.settings.function.partition(":")[2], None)
        if not callable(function):
            raise self._wrong("must name a function", f"{self.settings.function!r}, and {file} has none of that name")
        return function

    def check(self) -> None:
        """Calls the function with one document: wrong columns are seen here, other errors may be the document's."""
        example = {name: [f"An example of a {name}."] for name in GIVEN} | {
            "byte_count": [len("An example of a text.")]
        }
        schema = pa.schema([DOCUMENT_SCHEMA.field(name) for name in GIVEN])
        self.fresh()
        (error,) = self.score(pa.RecordBatch.from_pydict(example, schema=schema))[self.errors()].to_pylist()
        if error and error.startswith(MisfitError.__name__):
            raise self._wrong("must return values of the types in `columns`", error)
        if error and f"({Path(self.reads()[-1]).name}, line " not in error:  # it was not even begun
            raise self._wrong("must take a record batch", error)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        schema = pa.schema(self.fields())
        given = batch.select([name for name in GIVEN if name in batch.schema.names])
        parts = list(self._parts(self.loaded(), given, schema)) if batch.num_rows else []
        table = pa.Table.from_batches(parts, schema).combine_chunks()
        return table.to_batches()[0] if batch.num_rows else pa.RecordBatch.from_pylist([], schema)

    def _parts(self, function: Function, batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The columns of a batch; where it raises, those of its halves, down to the documents that are to blame."""
        rows = batch.num_rows
        try:
            yield self._columns(function(batch), rows, schema)
        except (UserError, MemoryError):
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  the user's may raise anything, or exit
            if rows > 1:
                yield from self._parts(function, batch.slice(0, rows // 2), schema)
                yield from self._parts(function, batch.slice(rows // 2), schema)
            else:
                yield pa.RecordBatch.from_pylist([{self.errors(): _told(error, self.reads()[-1])}], schema)

    def _columns(self, returned: Any, rows: int, schema: pa.Schema) -> pa.RecordBatch:
        """What the function returned as typed columns; raises UserError for what is no fault of a document."""
        if not isinstance(returned, Mapping | pa.RecordBatch | pa.Table):
            raise self._wrong("must return a record batch, a table or a dict of arrays", type(returned).__name__)
        names = list(returned) if isinstance(returned, Mapping) else returned.schema.names
        if missing := [column for column in self.settings.types if column not in names]:
            raise self._wrong(f"must return the column {missing[0]!r}", f"columns {names}")
        made = []
        for column, kind in self.settings.types.items():
            values = _typed(column, returned[column], COLUMN_TYPES[kind])
            if len(values) != rows:
                raise self._wrong(f"must return a value a document in {column!r}", f"{len(values)} for {rows}")
            made.append(values)
        return pa.RecordBatch.from_arrays([*made, pa.nulls(rows, pa.string())], schema=schema)

    def _wrong(self, must: str, got: str) -> UserError:
        return UserError(f"{self.settings.place}.function: {must}, got {got}")


def _typed(column: str, values: Any, kind: pa.DataType) -> pa.Array:
    """Values as an Arrow array of a type, null for what is not finite; raises MisfitError where that cannot be."""
    try:
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        array = values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True)
        if pa.types.is_floating(array.type):
            array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type))
        return array.cast(kind)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise MisfitError(f"{column!r} must be {kind}; {error}") from error


def _told(error: BaseException, file: str) -> str:
    """An error in a line that is the same in every process, with its place in the user's module."""
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    place = f" ({Path(file).name}, line {lines[-1]})" if lines else ""
    text = _ADDRESS.sub("0x", one_line(str(error))).encode("utf-8", "replace").decode()
    return f"{type(error).__name__}: {text[:LONGEST]}{place}"


_FORGETTING = threading.Lock()
"""Held while Python forgets what folders have: two threads at a time would delete one entry twice, a KeyError."""


def source_files(name: str, folder: str) -> list[str]:
    """Returns the files of a module and of the packages that it is in, outermost first.

    Empty where there is none. A folder is looked in before Python's own places. Nothing is imported.
    """
    with _FORGETTING:
        importlib.invalidate_caches()
    files: list[str] = []
    places: list[str] | None = [folder, *sys.path]
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), places) if places else None
        if spec is None and depth == 1:
            spec = _elsewhere(parts[0])
        if spec is None or (spec.origin is None and depth == len(parts)):
            return []
        places = list(spec.submodule_search_locations or [])
        files += [spec.origin] if spec.origin else []
    return files


def _elsewhere(name: str) -> ModuleSpec | None:
    """Where a module is that Python's other finders know, of an editable installation for instance."""
    loaded = sys.modules.get(name)
    return loaded.__spec__ if loaded else find_spec(name)


@cache
def installed_versions(package: str) -> list[str]:
    """Returns the versions of the distributions that an importable package came with; empty for a local module."""
    return [f"{name} {metadata.version(name)}" for name in sorted({*_distributions().get(package, ())})]


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


_EXECUTED: dict[str, ModuleType] = {}
"""Modules of users that were executed here, by name: another source of one name may take their place."""


def _module(name: str, file: str, folder: str) -> ModuleType:
    """The module in a file: one below the folder is executed from its source as it is now, another imported."""
    if folder not in sys.path:
        sys.path.append(folder)  # what it imports itself may lie there too
    if not file.startswith(f"{folder.rstrip('/')}/"):
        return importlib.import_module(name)
    if name in sys.modules and sys.modules[name] is not _EXECUTED.get(name):
        raise ImportError(f"{name!r} is the name of another module, {getattr(sys.modules[name], '__file__', 'Python')}")
    if "." in name:
        importlib.import_module(name.rpartition(".")[0])
    spec = spec_from_file_location(name, file)
    assert spec is not None, file
    module = _EXECUTED[name] = sys.modules[name] = module_from_spec(spec)
    exec(compile(filesystem.read_bytes(file), file, "exec"), module.__dict__)
    return module
