"""Renders the dataset card, README.md, that lies beside the selected data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from siftlm.report.page import render
from siftlm.report.steps import drops, remarks, shortages, unfindable

PORTIONS = 10  # of a mixture
OWN_CONFIG = "default"
_FRONT = re.compile(r"---\n(.*?\n)??---\n", re.DOTALL)
_SIZES = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]  # of rows, as the hub names them


def dataset_card(manifest: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Returns README.md of a selected corpus, from its manifest and the names and types of its columns."""
    rows = sum(file["rows"] for file in manifest["data"])
    lines = [*remarks(manifest), *shortages(manifest["steps"]), *unfindable(manifest["benchmarks"])]
    return render(
        "card.md.jinja",
        **{name: value for name, value in manifest.items() if name != "remarks"},
        columns=columns,
        documents=manifest["counts"]["documents"]["rows_out"],
        dropped=drops(manifest["steps"]),
        remarks=lines,
        portions=PORTIONS,
        rows=rows,
        size=size_category(rows),
        sources=sorted({shard["source"] for shard in manifest["inputs"]}),
    )


def size_category(rows: int) -> str:
    """Returns what the hub calls a dataset of so many rows, `1K<n<10K` for instance."""
    step = next((at for at in range(len(_SIZES)) if rows < 10 ** (3 + at)), len(_SIZES))
    if step == len(_SIZES):
        return f"n>{_SIZES[-1]}"
    return f"{_SIZES[step - 1]}<n<{_SIZES[step]}" if step else f"n<{_SIZES[0]}"


def with_fields_of(there: str, card: str) -> str:
    """Returns a card with the fields that another card has beside siftlm's own, its license for instance.

    Tags of both are kept, and configurations under other names.

    Raises:
        ValueError: the front matter of the other card is no table of YAML.
    """
    kept, own = _fields(there), _fields(card)
    others = [config for config in kept.get("configs") or [] if _name(config) != OWN_CONFIG]
    merged = kept | own | {"configs": [*own["configs"], *others]}
    merged["tags"] = list(dict.fromkeys([*(kept.get("tags") or []), *own["tags"]]))
    if merged == own:
        return card
    front = yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n{_FRONT.sub('', card, count=1)}"


def _name(config: Any) -> Any:
    return config.get("config_name") if isinstance(config, dict) else None


def _fields(card: str) -> dict[str, Any]:
    """The fields of a card's front matter; none where it has none."""
    front = _FRONT.match(card.replace("\r\n", "\n"))
    try:
        fields = yaml.safe_load(front[1] or "") if front else None
    except yaml.YAMLError:
        raise ValueError("must have a front matter of YAML") from None
    if fields is not None and not isinstance(fields, dict):
        raise ValueError("must have a table as its front matter")
    return fields or {}
