"""What the commands print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text


def print_summary(manifest: Mapping[str, Any], folder: str, *, unchanged: bool) -> None:
    """The counts of a run: a line a stage, then why documents were dropped."""
    console = Console(highlight=False)
    if unchanged:
        console.print(f"nothing to do: {escape(folder)} is up to date with its inputs, configuration and models")
    table = Table("stage", "rows in", "rows out", "dropped", "errors", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for stage, count in manifest["counts"].items():
        sums = [
            count["rows_in"],
            count["rows_out"],
            sum(count["dropped"].values()),
            sum(count["errors"].values()),
        ]
        table.add_row(stage, *(f"{number:,}" for number in sums))
    console.print(table)
    for reason, number in _reasons(manifest):
        console.print(f"  dropped {number:>10,}  {escape(reason)}")
    kept = manifest["statistics"]["kept"]
    tokens = "" if kept["tokens"] is None else f", {kept['tokens']:,} tokens"
    console.print(
        f"kept {kept['documents']:,} documents, {kept['byte_count']:,} bytes{tokens} in {escape(folder)}/data"
    )


def _reasons(manifest: Mapping[str, Any]) -> list[tuple[str, int]]:
    count = manifest["counts"]["decisions"]
    merged = {**count["dropped"], **count["errors"]}
    return sorted(merged.items(), key=lambda entry: (-entry[1], entry[0]))


def print_plan(rows: Iterable[Mapping[str, Any]]) -> None:
    """A table of the stages: what would run, over how much, for about how long."""
    table = Table("stage", "key", "shards", "to do", "documents", "text bytes", "about", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("stage", "key", "shards", "todo", "documents", "bytes", "about")))
    Console(highlight=False).print(table)


def print_documents(documents: Iterable[Mapping[str, Any]], characters: int) -> None:
    """Documents with their scores, whether they were kept, and the start of their text."""
    console = Console(highlight=False)
    for document in documents:
        verdict = "kept" if document["kept"] else f"dropped: {document['reason']}"
        head = f"{document['column']} {document['value']} (p{document['percentile']})  {verdict}"
        console.print(Text(head, style="bold green" if document["kept"] else "bold red"))
        console.print(Text(f"{document['doc_id']}  {document['domain'] or document['source']}", style="dim"))
        console.print(Text(document["text"][:characters].replace("\n", " ")))
        console.print()
