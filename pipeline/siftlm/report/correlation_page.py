"""`correlation.html`: the tables of a folder as one page without anything from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem
from siftlm.correlate.tables import read_table
from siftlm.report.correlation_figures import against_baseline, by_unit, caps_and_weights, held_out_ranks
from siftlm.report.svg import Chart

PAGE = "correlation.html"
SHOWN_UNITS = 15
STYLE = """
:root { --ink: #1d2329; --muted: #5c6670; --grid: #dfe3e7; --before: #8a97a4; --kept: #1b7f4d; --dropped: #c0392b;
  --cut: #a86a00; --ground: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --muted: #a3adb7; --grid: #353c43; --before: #7d8994;
  --kept: #4cc38a; --dropped: #ff7b6b; --cut: #e0a030; --ground: #15191d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 2rem auto;
  max-width: 960px; padding: 0 1rem; }
figure { display: inline-block; width: min(460px, 100%); margin: 0 0 1rem; vertical-align: top; }
figure svg { width: 100%; font-family: inherit; } figcaption { font-weight: 600; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { padding: .15rem .8rem .15rem 0; text-align: right; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
th { color: var(--muted); font-weight: 400; }
p { color: var(--muted); max-width: 70ch; }
"""


def write_page(folder: str) -> None:
    """Writes the page of the tables that are in a folder: those of correlate, those of project, or both."""
    tables = {
        name: read_table(f"{folder}/{name}.parquet")
        for name in ("estimates", "held_out", "comparison", "weights")
        if filesystem.exists(f"{folder}/{name}.parquet")
    }
    if "estimates" in tables:
        targets = list(dict.fromkeys(tables["estimates"]["target"].to_pylist()))
        sections = [_section(number, target, tables) for number, target in enumerate(targets)]
        filesystem.write_bytes(f"{folder}/{PAGE}", _page(sections).encode())


def _page(sections: list[str]) -> str:
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><style>{STYLE}</style>"
    body = "".join(sections)
    return f"<!doctype html><html lang='en'><title>Correlations</title>{head}<h1>Correlations</h1>{body}</html>\n"


def _section(number: int, target: str, tables: dict[str, pa.Table]) -> str:
    mine = {name: table.filter(pc.equal(table["target"], target)) for name, table in tables.items()}
    charts = [by_unit(f"t{number}-units", mine["estimates"])] if "low" in mine["estimates"].column_names else []
    if "weights" in mine:
        charts.append(caps_and_weights(f"t{number}-weights", mine["weights"]))
    if "held_out" in mine:
        charts.append(held_out_ranks(f"t{number}-ranks", mine["held_out"]))
    if "comparison" in mine:
        charts.append(against_baseline(f"t{number}-baseline", mine["comparison"]))
    return f"<h2>{escape(target)}</h2>{''.join(map(_figure, charts))}{_comparison(mine)}{_units(mine['estimates'])}"


def _figure(chart: Chart) -> str:
    return f"<figure><figcaption>{escape(chart.title)}</figcaption>{chart.svg}</figure>"


def _comparison(mine: dict[str, pa.Table]) -> str:
    if "comparison" not in mine:
        return ""
    rows = [[row["predictor"], *(f"{row[c]:.3f}" for c in COMPARED)] for row in mine["comparison"].to_pylist()]
    words = "A prediction that does not beat the mean bits per byte says little about the text."
    return f"<p>{words}</p>{_table(['held-out prediction', *COMPARED], rows)}"


COMPARED = ("rank_r2", "rank_r2_sd", "spearman", "spearman_sd")


def _units(estimates: pa.Table) -> str:
    columns = [name for name in ("estimate", "low", "high", "partial") if name in estimates.column_names]
    rows = [
        [row["unit"], *(_number(row[name]) for name in columns)] for row in estimates.slice(0, SHOWN_UNITS).to_pylist()
    ]
    return _table([f"best {len(rows)} units of {estimates.num_rows:,}", *columns], rows)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<table><tr>{titles}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
