"""Defines the settings of a table whose columns are joined to documents."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from siftlm.paths import ReadPath
from siftlm.settings import Name, Settings

Key = Literal["doc_id", "url", "host", "domain"]


class JoinSettings(Settings):
    """Configures a table, in any number of files, with rows for some documents, URLs, hosts or domains."""

    path: ReadPath = Field(
        description="Parquet, CSV, TSV or JSON lines, the last three perhaps .gz or .zst: a file, a folder or a glob."
    )
    on: Key = Field("doc_id", description="What of a document the table is looked up by.")
    key: str | None = Field(None, min_length=1, description="The column of the table that holds it; default `on`.")
    columns: list[Name] | dict[Name, str] = Field(
        min_length=1, description="Columns to join; or a table of new names and the columns that they are for."
    )
    duplicates: Literal["refuse", "first"] = Field(
        "refuse", description="A key of several rows stops the run; or the first of them counts, files by name."
    )

    @field_validator("columns")
    @classmethod
    def _named_once(cls, columns: list[str] | dict[str, str]) -> list[str] | dict[str, str]:
        if len(set(columns)) < len(columns):
            raise ValueError(f"must name each column once, got {columns}")
        return columns

    @property
    def key_column(self) -> str:
        """Returns the name of the table's column that documents are looked up by."""
        return self.key or self.on

    @property
    def renamed(self) -> dict[str, str]:
        """Returns the table's column for each column that documents get, by the new name."""
        return self.columns if isinstance(self.columns, dict) else {name: name for name in self.columns}
