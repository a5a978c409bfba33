"""Defines the list `values`, of values as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pyarrow as pa

from siftlm.selectors.lists.hashed import HashedSet
from siftlm.selectors.lists.lines import Lines
from siftlm.selectors.lists.settings import KeyedListSettings
from siftlm.statistics.ordered import BoolArray


class ValuesList(KeyedListSettings):
    """Has the values that are its entries, letter by letter."""

    kind: Literal["values"] = "values"
    unchecked: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {"entries": ["web"]}
    told: ClassVar[str] = "values"

    def keys_of_lines(self, block: Lines) -> pa.Array:
        return block.texts

    def holds(self, values: pa.Array, keys: HashedSet) -> BoolArray:
        return keys.holds(values)
