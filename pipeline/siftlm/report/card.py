"""Writes the dataset card that lies beside the data."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import jinja2

from siftlm.errors import visible
from siftlm.report.steps import drops, kept_ends, shortages, unfindable

SPECIAL = re.compile(r"[\\`*\[\]~$|]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown reads as its own; underscores within a word are not."""
PORTIONS = 10  # of a mixture


def dataset_card(manifest: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Returns README.md of a selected corpus, from its manifest and the names and types of its columns."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("siftlm.report", "."), undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["plain"] = plain
    documents = manifest["counts"]["documents"]
    return environment.get_template("card.md.jinja").render(
        **manifest,
        columns=columns,
        documents=documents["rows_out"],
        dropped=drops(manifest["steps"]),
        remarks=[*kept_ends(manifest["steps"]), *shortages(manifest["steps"]), *unfindable(manifest["benchmarks"])],
        portions=PORTIONS,
        rows=sum(file["rows"] for file in manifest["data"]),
        sources=sorted({shard["source"] for shard in manifest["inputs"]}),
    )


def plain(text: object) -> str:
    """Returns foreign text that Markdown and HTML show as it is, in one line."""
    escaped = html.escape(visible(" ".join(str(text).split())), quote=False)
    return SPECIAL.sub(lambda sign: f"\\{sign[0]}", escaped)
