"""Tells how many texts of a corpus a model was trained on, from a small sample of hashes.

The sample is the smallest hashes of the texts (bottom-k, Broder 1997): whether a text with a hash below the largest of
them is among the others can be told without error, and such texts are a fair draw of any corpus.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import orjson
import xxhash

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.statistics.ordered import UInt64Array

SIZE = 4096
SUFFIX = ".seen"
"""What follows the name of a model's file in that of its sketch."""
NAME = "texts.seen"
"""The sketch in the folder of a model."""


def hash_texts(texts: Iterable[bytes]) -> UInt64Array:
    """Returns the xxh3_64 hash of every text that is not empty, uint64[texts]."""
    return np.fromiter((xxhash.xxh3_64_intdigest(text) for text in texts if text), np.uint64)


@dataclass
class TextSketch:
    """Holds the smallest hashes of some texts, ascending and different, and the number of texts."""

    hashes: UInt64Array = field(default_factory=lambda: np.zeros(0, np.uint64))  # SIZE at most
    texts: int = 0

    def add(self, hashes: UInt64Array, texts: int | None = None) -> None:
        """Adds texts by their hashes, of which the smallest SIZE are enough where `texts` has their number."""
        self.texts += len(hashes) if texts is None else texts
        self.hashes = np.unique(np.concatenate([self.hashes, smallest(hashes)]))[:SIZE]

    def look(self, hashes: UInt64Array) -> tuple[int, int]:
        """Returns how many of other texts are among these, and of how many that could be told, by their hashes."""
        told = hashes if len(self.hashes) < SIZE else hashes[hashes <= self.hashes[-1]]
        return int(np.isin(told, self.hashes).sum()), len(told)

    def write(self, path: str) -> None:
        """Writes the sketch to a file beside a model."""
        filesystem.write_bytes(path, orjson.dumps({"texts": self.texts, "hashes": self.hashes.tolist()}))

    @classmethod
    def read(cls, path: str) -> TextSketch | None:
        """Returns what was written, None where there is no such file; raises UserError for one that is no sketch."""
        try:
            tree = orjson.loads(filesystem.read_bytes(path))
            return cls(np.array(tree["hashes"], np.uint64), int(tree["texts"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise UserError(f"{path}: must be what siftlm wrote of a model's texts, got {error}") from None


def smallest(hashes: UInt64Array) -> UInt64Array:
    """Returns the SIZE smallest hashes, in no order."""
    different = np.unique(hashes) if len(hashes) <= SIZE else np.unique(np.partition(hashes, SIZE - 1)[:SIZE])
    return different[:SIZE]
