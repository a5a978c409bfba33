"""Prints the results of the commands to the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from siftlm.errors import visible
from siftlm.report.difference import OVERLAP, TOTALS, RunDifference
from siftlm.report.page import count, share
from siftlm.report.steps import drops, remarks, shortages, unfindable
from siftlm.report.view import Explanation, Met

PORTIONS = 5  # of a mixture, by column


class Terminal(Console):
    """Prints texts to a terminal with their control characters made visible, so that they have no effect."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__(highlight=False, width=width)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def columned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Returns a table without borders, of texts without markup; columns after the first are right-aligned."""
    table = Table(*head, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def print_summary(manifest: Mapping[str, Any], folder: str, *, unchanged: bool) -> None:
    """Prints the counts of a run, one line for each step, then why documents were dropped."""
    console = Terminal()
    if unchanged:
        console.print(f"nothing to do: {escape(folder)} is up to date with its inputs, configuration and models")
    rows = []
    for stage, counts in manifest["counts"].items():
        left = [sum(counts[kind].values()) for kind in ("dropped", "errors")]
        rows.append([stage, *(f"{number:,}" for number in (counts["rows_in"], counts["rows_out"], *left))])
    console.print(columned(("stage", "rows in", "rows out", "dropped", "errors"), rows))
    for reason, number in drops(manifest["steps"]):
        _say(console, f"  dropped {number:>10,}  {reason}")
    for line in remarks(manifest):
        _say(console, line)
    for line in [*manifest.get("warnings", []), *shortages(manifest["steps"]), *unfindable(manifest["benchmarks"])]:
        _say(console, f"warning: {line}", style="yellow")
    _print_sums(console, manifest["statistics"], folder)


def _print_sums(console: Console, statistics: Mapping[str, Any], folder: str) -> None:
    """What was kept, once a document; with weights also what they make of it, and of what mixture."""
    kept, weighted, written = statistics["kept"], statistics["weighted"], statistics["written"]
    _say(console, f"kept {kept['documents']:,} documents, {_sizes(kept)} in {folder}/data")
    if not statistics["mixture"]:
        return
    _say(console, f"by weight {weighted['documents']:,.1f} documents, {_sizes(weighted)}")
    _say(console, f"written {written['rows']:,} rows, {_sizes(written)}")
    for column, made in statistics["mixture"].items():
        portions = [_portion(portion) for portion in made["portions"][:PORTIONS]]
        more = ", ..." if len(made["portions"]) > PORTIONS else ""
        _say(console, f"  {made['unit']} by {column}, kept and effective: {', '.join(portions)}{more}")


def _say(console: Console, line: str, style: str = "") -> None:
    """A line of its own, however narrow the terminal, with nothing in it read as markup."""
    console.print(Text(" ".join(line.splitlines()), style=style), soft_wrap=True)


def _sizes(sizes: Mapping[str, Any]) -> str:
    tokens = "" if sizes["tokens"] is None else f", {sizes['tokens']:,.0f} tokens"
    return f"{sizes['byte_count']:,.0f} bytes{tokens}"


def _portion(portion: Mapping[str, Any]) -> str:
    shares = [share(portion[name] or 0.0, 1.0) for name in ("kept_share", "effective_share")]
    return f"{portion['name']} {shares[0]} -> {shares[1]}"


def print_plan(rows: Iterable[Mapping[str, Any]]) -> None:
    """Prints a table of the steps: what would run, on how many documents, and for about how long."""
    rows = list(rows)
    names = {"stage": "stage", "key": "key", "shards": "shards", "todo": "to do", "documents": "documents"}
    names |= {"bytes": "text bytes", "about": "about", "a second": "documents a second"}
    if not any(row["a second"] for row in rows):
        del names["a second"]  # which is told of models alone
    table = Table(*names.values(), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row[name]) for name in names))
    Terminal().print(table)


def print_documents(documents: Iterable[Mapping[str, Any]], characters: int) -> None:
    """Prints documents with their scores, whether they were kept, and the start of their text."""
    console = Terminal()
    for document in documents:
        verdict = "kept" if document["kept"] else f"dropped: {document['reason']}"
        head = f"{document['column']} {_number(document['value'])} (p{document['percentile']:g})  {verdict}"
        console.print(Text(head, style="bold green" if document["kept"] else "bold red"))
        console.print(Text(f"{document['doc_id']}  {document['domain'] or document['source']}", style="dim"))
        console.print(Text(document["text"][:characters].replace("\n", " ")))
        console.print()


SIGNS = {"passed": ("✓", "green"), "dropped": ("✗", "bold red")}


def print_explanation(document: Explanation, characters: int) -> None:
    """Prints the steps that a document passed or failed, its scores, its cluster, and the start of its text."""
    console = Terminal()
    kept = f"kept, weight {document.weight:.6g}, {document.copies} copies"
    verdict = kept if document.kept else f"dropped: {document.reason}"
    console.print(Text(f"{document.doc_id}  {verdict}", style="bold green" if document.kept else "bold red"))
    same = f", one of {document.same_id} documents with this id" if document.same_id > 1 else ""
    console.print(Text(f"{document.path}, record {document.record}{same}", style="dim"))
    _print_way(console, document)
    if document.cluster_size > 1:
        console.print(Text(f"\ncluster of {document.cluster_size} documents", style="bold"))
        for member in document.cluster:
            kind = f"{member['duplicate']} duplicate" if member["duplicate"] else "represents it"
            console.print(Text(f"  {member['doc_id']}  {kind}"))
    if document.cut:
        lost = [document.columns[name] for name in ("cut_count", "cut_bytes", "byte_count")]
        console.print(Text("\ncut: {:,} paragraphs of {:,} bytes, {:,} bytes are left".format(*lost), style="bold"))
        for paragraph in document.cut:
            console.print(Text("  " + paragraph[:characters].replace("\n", " "), style="dim"))
    console.print(Text("\ncolumns", style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in document.columns.items():
        table.add_row(f"  {escape(name)}", Text(_number(value)))
    console.print(table)
    console.print(Text("\n" + document.text[:characters].replace("\n", " ")))


def _print_way(console: Console, document: Explanation) -> None:
    """A line a step: `✓ select.rules.2: perplexity in the medium 0.6 of documents: 350.5, cut at 350 and 403`.

    The rules inside a rule stand below it.
    """
    for met in document.met:
        _print_met(console, met)
        for part in met.parts:
            _print_met(console, part, "  ")


def _print_met(console: Console, met: Met, indent: str = "") -> None:
    sign, style = SIGNS.get(met.verdict, ("·", "dim"))
    value = "" if met.value is None else f": {_number(met.value)}"
    cuts = f", cut at {' and '.join(_number(cut) for cut in met.cuts)}" if met.cuts else ""
    result = {"passed": "", "dropped": f": {met.reason}"}.get(met.verdict, f" ({met.verdict})")
    console.print(Text(f"{indent}{sign} {met.place}: {met.text}{value}{cuts}{result}", style=style))


def _number(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def print_difference(runs: RunDifference) -> None:
    """Prints the difference between two runs: totals, reasons, scores and groups that changed."""
    console = Terminal()
    quantities = runs.quantities()
    rows = []
    for name in (name for name in TOTALS if name != OVERLAP):
        sides = [count(getattr(side, name)) for side in (runs.old, runs.new)]
        rows.append([name, *sides, f"{quantities[name]:.4g}" if name in quantities else "–"])
    console.print(columned(("", "old", "new", "new / old"), rows))
    console.print(
        f"kept by both {runs.kept_in_both:,}, came in {runs.now_kept:,}, went out {runs.now_dropped:,}, "
        f"read by the old run only {runs.only_old:,}, by the new one only {runs.only_new:,}"
    )
    for moved in runs.reasons:
        if moved.old != moved.new:
            console.print(f"  dropped {moved.old:>10,} -> {moved.new:>10,}  {escape(moved.name)}")
    for drift in runs.drifts:
        if drift.changed:
            correlation = "–" if drift.spearman is None else f"{drift.spearman:.4f}"
            console.print(
                f"  {drift.column}: Spearman {correlation}, mean {_number(drift.mean_old)} -> "
                f"{_number(drift.mean_new)} on {drift.documents:,} documents"
            )
    for name, moves in runs.groups.items():
        for moved in [moved for moved in moves if moved.old != moved.new][:5]:
            console.print(f"  {name} {escape(moved.name)}: {moved.old:,} -> {moved.new:,} kept")
