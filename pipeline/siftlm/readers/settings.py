"""Defines the settings of an input: where it is, its format, and which fields to read."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from siftlm.documents import ColumnType
from siftlm.paths import ReadPath
from siftlm.settings import Name, Settings

FieldPath = Annotated[str, StringConstraints(min_length=1, max_length=256)]

Format = Literal["warc", "wet", "jsonl", "parquet", "text"]
Compression = Literal["none", "gzip", "zstd", "bzip2", "xz"]


def column_name(path: str) -> str:
    """Returns the name of the column that is made from the field at a path."""
    return re.sub(r"[^A-Za-z0-9_]", "_", path)


class InputSettings(Settings):
    """Configures one source of documents."""

    source: Name = Field(description="The name of this input; the column `source` of its documents.")
    paths: list[ReadPath] = Field(
        min_length=1,
        description="Files, directories and globs: local, file://, gs://, s3://, az:// or hf:// paths; files on https://.",
    )
    format: Literal["auto", Format] = Field(
        "auto", description="The format of the files; `auto` decides for each file by its content and name."
    )
    compression: Literal["auto", Compression] = Field(
        "auto", description="How the files are compressed; `auto` decides for each file by its content."
    )
    text_field: FieldPath = Field(
        "text",
        description="jsonl, parquet: the field with the text; dots reach into objects. Strings in a JSON list "
        "are texts where it is `text`.",
    )
    id_field: FieldPath | None = Field(
        None,
        description="The field with the id of a document, else a digest of url and text is its id. "
        "WARC and WET records bring an id (WARC-Record-ID); another header may be named instead.",
    )
    url_field: FieldPath | None = Field(
        "url", description="jsonl, parquet: the field with the url, where there is one."
    )
    domain_field: FieldPath | None = Field(
        None, description="The field to use as the domain instead of the registered domain of the url."
    )
    metadata_fields: list[FieldPath] = Field(
        default_factory=list,
        description="Fields to carry along as a JSON object. For WARC and WET: names of record headers, "
        "`http.<name>` for response headers, `http.status`, `charset`.",
    )
    columns: dict[FieldPath, ColumnType] = Field(
        default_factory=dict,
        description="Fields to carry as columns of their own with their types; dots reach into objects, and what is no "
        "letter, digit or _ becomes _ in the column's name: `meta.stars` gives `meta_stars`. A timestamp is in ISO "
        "8601, 14 digits or seconds since 1970. Headers and `http.` as in metadata_fields.",
    )
    text_unit: Literal["file", "line", "paragraph"] = Field(
        "file", description="text: a document is a file, a line, or lines up to a blank line."
    )
    main_content: bool = Field(
        True, description="warc: keep the main text of a page only, without navigation and boilerplate."
    )
    shard_bytes: int = Field(
        256 << 20,
        ge=1,
        description="How much text a shard, the unit of work, has at most, about: larger files are read in slices "
        "where their format allows it, files below a sixteenth of it together. The output does not depend on it.",
    )
    max_document_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1,
        description="A longer text or page is an error record, `document_too_large`. Memory follows it.",
    )
    max_expansion: int = Field(
        200,
        ge=1,
        description="A file that holds more than this many times its bytes, and more than 64 MiB, is not read beyond "
        "that: an error record, `expands_too_far`. Text compresses to a third, a bomb to a thousandth and less.",
    )
    max_window_bytes: int = Field(
        1 << 31,
        ge=1 << 10,
        le=1 << 31,
        description="zstd, xz: what needs a larger window is an error, `zstd_window_too_large` or `corrupt_xz`. The "
        "default, 2 GiB, is that of `zstd --long=31`; a worker's memory follows the windows of what it reads.",
    )

    @field_validator("metadata_fields")
    @classmethod
    def _named_once(cls, fields: list[str]) -> list[str]:
        if len(set(fields)) != len(fields):
            raise ValueError(f"must name each field once, got {fields}")
        return fields

    @field_validator("columns")
    @classmethod
    def _names_differ(cls, columns: dict[str, ColumnType]) -> dict[str, ColumnType]:
        names = [column_name(path) for path in columns]
        if len(set(names)) < len(names):
            raise ValueError(f"must give columns of different names, got {names}")
        return columns

    @property
    def packed_fields(self) -> list[str]:
        """Returns the fields that readers pack as JSON: those of the metadata, then those of typed columns."""
        return list(dict.fromkeys([*self.metadata_fields, *self.columns]))

    @property
    def max_record_bytes(self) -> int:
        """Returns how many bytes of a record are held in memory at most.

        JSON escapes and other fields need room beside the text.
        """
        return 4 * self.max_document_bytes + (1 << 20)

    @property
    def extra_fields(self) -> dict[str, str]:
        """Returns the fields beside the text that the settings name, by the setting that names each."""
        named = {"id_field": self.id_field, "url_field": self.url_field, "domain_field": self.domain_field}
        fields = {place: path for place, path in named.items() if path is not None}
        fields |= {f"metadata_fields.{path}": path for path in self.metadata_fields}
        return fields | {f"columns.{path}": path for path in self.columns}
