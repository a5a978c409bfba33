"""Lists the formats of input files, and which functions read each of them.

A new format is a file and an entry here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import BinaryIO, Literal, cast

from siftlm.readers.records import Reader
from siftlm.readers.settings import Compression, Format, InputSettings
from siftlm.readers.slices import Slicing


@dataclass(frozen=True)
class FileFormat:
    """Describes an input format: how file names end, and which functions read such files.

    Functions are named rather than imported, for readers load much.
    """

    words: str  # what the reader does; empty for a format that is known only to be refused
    reader: str  # a Reader
    endings: str  # a regular expression of how names end, a compression's ending aside
    fields: str | None = None  # (file, compression, settings) -> names, for formats whose records have fields
    counter: str | None = None  # (file) -> int, for formats whose files say how many records they have
    slicing: str | None = None  # a Slicing, for formats whose large files can be read in slices
    lines: bool = False  # whether the bytes are text
    paper: str = ""

    def open_reader(self) -> Reader:
        """Imports and returns the function that reads files of this format."""
        return cast(Reader, resolve_name(self.reader))

    def open_slicing(self) -> Slicing | None:
        """Imports and returns what cuts files of this format into slices; None where they are read whole."""
        return cast(Slicing, resolve_name(self.slicing)) if self.slicing else None

    def field_names(self, file: BinaryIO, compression: Compression, settings: InputSettings) -> set[str]:
        """Returns the names of the fields in the first records of a file."""
        return set(resolve_name(self.fields)(file, compression, settings) if self.fields else ())

    def count(self, file: BinaryIO) -> int:
        """Returns how many records a file says it has; 0 where it does not say."""
        return int(resolve_name(self.counter)(file)) if self.counter else 0


_ARCHIVE = FileFormat("", "siftlm.readers.warc:read_warc", r"\.wat$", fields="siftlm.readers.presence:of_archive")
_MEMBERS = "siftlm.readers.warc:SLICING"
_PAGES = "Reads the pages of WARC and ARC archives, their main text on request."
FORMATS: dict[Format | Literal["wat"], FileFormat] = {
    "warc": replace(_ARCHIVE, words=_PAGES, endings=r"\.w?arc$", slicing=_MEMBERS, paper="ISO 28500"),
    "wet": replace(
        _ARCHIVE, words="Reads the texts of Common Crawl's WET archives.", endings=r"\.wet$", slicing=_MEMBERS
    ),
    "wat": _ARCHIVE,
    "jsonl": FileFormat(
        "Reads a field of JSON objects, one a line or in lists.",
        "siftlm.readers.jsonl:read_jsonl",
        r"\.(jsonl|ndjson|json|jsonlines)$",
        fields="siftlm.readers.presence:of_jsonl",
        slicing="siftlm.readers.jsonl:SLICING",
        lines=True,
    ),
    "parquet": FileFormat(
        "Reads a column of Parquet files.",
        "siftlm.readers.parquet:read_parquet",
        r"\.(parquet|parq|pq)$",
        fields="siftlm.readers.presence:of_parquet",
        counter="siftlm.readers.parquet:count_rows",
        slicing="siftlm.readers.parquet:SLICING",
    ),
    "text": FileFormat(
        "Reads plain text by file, line or paragraph.",
        "siftlm.readers.text:read_text",
        r"\.(txt|text|md|rst)$",
        slicing="siftlm.readers.text:SLICING",
        lines=True,
    ),
}
