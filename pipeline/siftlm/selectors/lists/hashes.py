"""Defines the list `hashes`, of digests in hexadecimal digits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from siftlm.selectors.lists.hashed import HashedSet
from siftlm.selectors.lists.lines import Lines
from siftlm.selectors.lists.settings import KeyedListSettings
from siftlm.statistics.ordered import BoolArray

_HEXADECIMAL = "^[0-9a-f]{32,128}$"


class HashesList(KeyedListSettings):
    """Has digests in hexadecimal digits that are its entries, in either case.

    The annotator `text_hash` gives the digests of texts. A line may have a name behind the digest, as those of
    `sha256sum` have.
    """

    kind: Literal["hashes"] = "hashes"
    unchecked: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {"entries": ["0123456789abcdef0123456789abcdef"]}
    told: ClassVar[str] = "hashes"

    def keys_of_lines(self, block: Lines) -> pa.Array:
        """Returns the digests in lower case."""
        keys = pc.replace_substring_regex(pc.utf8_lower(block.texts), r"\s.*$", "")
        wrong = pc.index(pc.match_substring_regex(keys, _HEXADECIMAL), False).as_py()
        if wrong >= 0:
            raise block.mistake(wrong, "must be a digest of 32 to 128 hexadecimal digits a line")
        return keys

    def holds(self, values: pa.Array, keys: HashedSet) -> BoolArray:
        return keys.holds(pc.utf8_lower(values))
