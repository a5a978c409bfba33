"""Defines the rule `ccnet`, which keeps the head, middle or tail of each language by a file of cut-offs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from siftlm import filesystem
from siftlm.errors import reason_of
from siftlm.paths import ReadPath, readable
from siftlm.selectors.component import Mention
from siftlm.selectors.rules.thresholds import ColumnLimits
from siftlm.settings import FileSettings

Bucket = Literal["head", "middle", "tail"]
BUCKETS: tuple[Bucket, ...] = ("head", "middle", "tail")


class Ccnet(ColumnLimits, FileSettings):
    """Keeps documents in the head, the middle or the tail of their language by perplexity, as CCNet parts them.

    The head is what lies below the language's cut-off for percentile `head_percentile`, the middle what lies from there
    to below that for `tail_percentile`, the tail the rest. The file is one of CCNet's form (`cc_net/data/cutoff.csv`):
    a row a percentile, a column a language. Documents of other languages are kept, unless they have no value. CCNet
    compares perplexities that it has rounded to one decimal; here they are not.
    """

    paper: ClassVar[str] = "Wenzek et al. 2020, arXiv 1911.00359"
    unchecked: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "ccnet",
        "column": "perplexity",
        "by": "language",
        "keep": ["head", "middle"],
        "columns": {"perplexity": {"by": "language", "table": {"en": {"max": 20}, "fr": {"max": 80}}}},
    }

    kind: Literal["ccnet"] = "ccnet"
    path: ReadPath | None = Field(None, description="The file of cut-offs; `columns` is read from it.")
    column: str = Field(min_length=1, description="The column of perplexities.")
    by: str = Field("language", min_length=1, description="The column of languages.")
    keep: list[Bucket] = Field(
        ["head"], min_length=1, max_length=2, description="What is kept: neighbours of these three."
    )
    head_percentile: int = Field(30, ge=0, le=100, description="The row of the file where the head ends.")
    tail_percentile: int = Field(60, ge=0, le=100, description="The row of the file where the tail begins.")

    @model_validator(mode="before")
    @classmethod
    def _read(cls, tree: Any) -> Any:
        """Fills in the limits of the file: what is selected depends on them, and not on where they came from."""
        if not isinstance(tree, dict) or not isinstance(tree.get("path"), str) or tree.get("columns"):
            return tree
        percentiles = [tree.get(key, usual) for key, usual in (("head_percentile", 30), ("tail_percentile", 60))]
        limits = dict(_limits(readable(tree["path"]), tree.get("keep", ["head"]), *percentiles))
        return {**tree, "columns": {str(tree.get("column")): {"by": tree.get("by", "language"), "table": limits}}}

    @model_validator(mode="after")
    def _in_order_of_percentiles(self) -> Ccnet:
        if self.head_percentile >= self.tail_percentile:
            raise ValueError(f"head_percentile must be below tail_percentile = {self.tail_percentile}")
        return self

    def mentions(self) -> list[Mention]:
        inner = [mention for mention in super().mentions() if not mention.place.endswith(".table")]
        return [*inner, Mention("path", self.by, tuple(self.columns_[self.column].table))]


def _limits(path: str, keep: Any, head: Any, tail: Any) -> Iterator[tuple[str, dict[str, float]]]:
    """The least and the greatest value kept of each language in a file."""
    rows = _rows(path)
    if not isinstance(keep, list) or not set(keep) <= set(BUCKETS):
        return  # the field says what is wrong
    if set(keep) == {"head", "tail"} or len(set(keep)) in (0, 3):
        raise ValueError(f"keep must name one of {', '.join(BUCKETS)} or two that are neighbours, got {keep}")
    missing = [percentile for percentile in (head, tail) if percentile not in rows]
    if missing:
        raise ValueError(
            f"path must name a file with rows for percentiles {head} and {tail}, got none for {missing[0]}"
        )
    for language, low in rows[head].items():
        high, limits = rows[tail][language], dict[str, float]()
        if "head" not in keep:
            limits["min"] = high if "middle" not in keep else low
        if "tail" not in keep:
            limits["max"] = math.nextafter(high if "middle" in keep else low, -math.inf)
        yield language, limits


def _rows(path: str) -> dict[int, dict[str, float]]:
    """The cut-offs by percentile and language; raises ValueError that names the line of a mistake."""
    try:
        lines = list(csv.reader(io.StringIO(filesystem.read_bytes(path).decode("utf-8-sig"))))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"path must name a file of cut-offs, got {path}: {reason_of(error)}") from None
    languages = lines[0][1:] if lines else []
    if not languages or not all(languages) or len(set(languages)) < len(languages):
        raise ValueError(f"path must name a file whose first line has different languages behind a comma, got {path}")
    rows = {}
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        try:
            rows[int(line[0])] = dict(zip(languages, map(_cutoff, line[1:]), strict=True))
        except ValueError:
            told = f"{path}, line {number}, must have a percentile and {len(languages)} numbers"
            raise ValueError(f"{told}, got {','.join(line)[:60]!r}") from None
    return rows


def _cutoff(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(text)
    return value
