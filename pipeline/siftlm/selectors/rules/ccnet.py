"""Defines the rule `ccnet`, which keeps the head, middle or tail of each language by a file of cut-offs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from siftlm.cutoffs import BUCKETS, HEAD_PERCENTILE, TAIL_PERCENTILE, Bucket, cutoffs_between
from siftlm.paths import ReadPath, readable
from siftlm.selectors.component import Mention
from siftlm.selectors.rules.thresholds import ColumnLimits
from siftlm.settings import FileSettings


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
    head_percentile: int = Field(HEAD_PERCENTILE, ge=0, le=100, description="The row of the file where the head ends.")
    tail_percentile: int = Field(
        TAIL_PERCENTILE, ge=0, le=100, description="The row of the file where the tail begins."
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, tree: Any) -> Any:
        """Fills in the limits of the file: what is selected depends on them, and not on where they came from."""
        if not isinstance(tree, dict) or not isinstance(tree.get("path"), str) or tree.get("columns"):
            return tree
        percentiles = (tree.get("head_percentile", HEAD_PERCENTILE), tree.get("tail_percentile", TAIL_PERCENTILE))
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
    if not isinstance(keep, list) or not set(keep) <= set(BUCKETS):
        return  # the field says what is wrong
    cutoffs = cutoffs_between(path, head, tail)
    if set(keep) == {"head", "tail"} or len(set(keep)) in (0, 3):
        raise ValueError(f"keep must name one of {', '.join(BUCKETS)} or two that are neighbours, got {keep}")
    for language, (low, high) in cutoffs.items():
        limits = dict[str, float]()
        if "head" not in keep:
            limits["min"] = high if "middle" not in keep else low
        if "tail" not in keep:
            limits["max"] = math.nextafter(high if "middle" in keep else low, -math.inf)
        yield language, limits
