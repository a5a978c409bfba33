"""Renders pages as Markdown or as self-contained HTML, without scripts and with every text escaped."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import orjson
from markupsafe import Markup

from siftlm.errors import visible
from siftlm.report.difference import RunDifference
from siftlm.report.steps import remarks, shortages, stage_times, stored_bytes, unfindable
from siftlm.report.tally import WEIGHT_UNIT
from siftlm.report.view import Report

INPUTS_SHOWN = 500
FILES_SHOWN = 500
SPECIAL = re.compile(r"[\\`*\[\]~$|]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown reads as its own; underscores within a word are not."""


def report_page(report: Report) -> str:
    """Returns the HTML of report.html for a run's report."""
    manifest = report.manifest
    return render(
        "report.html.jinja",
        report=report,
        times=stage_times(manifest),
        stored=stored_bytes(manifest),
        remarks=[*remarks(manifest), *shortages(manifest["steps"])],
        unfindable=unfindable(manifest["benchmarks"]),
        inputs_shown=INPUTS_SHOWN,
        files_shown=FILES_SHOWN,
        weight_unit=WEIGHT_UNIT,
    )


def render(template: str, **values: Any) -> str:
    """Returns a page made from a template of this package; in HTML its values are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("siftlm.report", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=lambda template: template is None or not template.endswith(".md.jinja"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (count, size, share, value, breakable, pretty, plain)
    environment.filters |= {function.__name__: function for function in filters}
    environment.globals["css"] = Markup((resources.files("siftlm.report") / "report.css").read_text("utf-8"))
    return environment


def count(number: int | None) -> str:
    """Returns a number with thousands marked, 1368 as `1,368`, and None as a dash."""
    return "–" if number is None else f"{number:,}"


def size(number: int | None) -> str:
    """Returns a number of bytes with three digits and a unit, 3518491 as `3.52 MB`, and None as a dash."""
    if number is None:
        return "–"
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if number >= 10**power:
            scaled = number / 10**power
            return f"{scaled:.3g} {unit}" if scaled < 1000 else f"{scaled:,.0f} {unit}"
    return f"{number} B"


def share(number: float, total: float) -> str:
    """Returns `number / total` as a percentage, and a dash where the total is 0."""
    return f"{100 * number / total:.1f} %" if total else "–"


def value(number: float | None) -> str:
    """Returns a number with five significant digits and thousands marked, and None as a dash."""
    if number is None:
        return "–"
    without_decimals = abs(number) >= 10_000 or float(number).is_integer()
    return f"{number:,.0f}" if without_decimals and math.isfinite(number) else f"{number:.5g}"


def breakable(name: str) -> Markup:
    """Returns a name that a narrow column may break after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def plain(text: object) -> str:
    """Returns a text in one line, escaped so that Markdown and HTML show it as it is."""
    escaped = html.escape(visible(" ".join(str(text).split())), quote=False)
    return SPECIAL.sub(lambda sign: f"\\{sign[0]}", escaped)


def pretty(tree: Any) -> str:
    """Returns a value as indented JSON."""
    return orjson.dumps(tree, option=orjson.OPT_INDENT_2).decode()


def difference_page(difference: RunDifference, failed: Sequence[str] = ()) -> str:
    """Returns an HTML page that compares two runs; `failed` are the `--fail-if` conditions that hold."""
    return render("diff.html.jinja", runs=difference, quantities=difference.quantities(), failed=failed)
