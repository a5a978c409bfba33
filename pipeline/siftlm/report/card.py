"""Renders the dataset card, README.md, that lies beside the selected data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siftlm.report.page import render
from siftlm.report.steps import drops, remarks, shortages, unfindable

PORTIONS = 10  # of a mixture


def dataset_card(manifest: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Returns README.md of a selected corpus, from its manifest and the names and types of its columns."""
    lines = [*remarks(manifest), *shortages(manifest["steps"]), *unfindable(manifest["benchmarks"])]
    return render(
        "card.md.jinja",
        **{name: value for name, value in manifest.items() if name != "remarks"},
        columns=columns,
        documents=manifest["counts"]["documents"]["rows_out"],
        dropped=drops(manifest["steps"]),
        remarks=lines,
        portions=PORTIONS,
        rows=sum(file["rows"] for file in manifest["data"]),
        sources=sorted({shard["source"] for shard in manifest["inputs"]}),
    )
