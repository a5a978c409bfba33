"""The dataset card that lies beside the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2


def dataset_card(manifest: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """README.md of a selected corpus, from its manifest and the names and types of its columns."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("siftlm.report", "."), undefined=jinja2.StrictUndefined, autoescape=False
    )
    documents = manifest["counts"]["documents"]
    dropped = {**manifest["counts"]["decisions"]["dropped"], **manifest["counts"]["decisions"]["errors"]}
    return environment.get_template("card.md.jinja").render(
        **manifest,
        columns=columns,
        documents=documents["rows_out"],
        dropped=dict(sorted(dropped.items(), key=lambda entry: (-entry[1], entry[0]))),
        rows=sum(part["rows"] for part in manifest["data"]),
        sources=sorted({shard["source"] for shard in manifest["inputs"]}),
    )
