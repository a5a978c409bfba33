"""Divides the pool into partitions by columns, and says which shares of them a draw of documents has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError
from siftlm.proving.draws import Documents, Indices
from siftlm.proving.libraries import Library
from siftlm.proving.settings import SoupSettings
from siftlm.proving.values import OTHERS, divided

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Partitions:
    """Holds the partition of every document of the pool.

    Attributes:
        names: Names of the partitions.
        numbers: int16[n], the partition of each of the pool's documents, -1 for none.
        hashes: uint64[n], the sorted hashes of the documents' ids.
        order: int64[n], the documents in the order of `hashes`.
    """

    names: tuple[str, ...]
    numbers: npt.NDArray[np.int16]
    hashes: npt.NDArray[np.uint64]
    order: Indices

    def only(self, documents: Documents, number: int) -> Documents:
        """Returns the documents of the pool with a weight in one partition alone."""
        return replace(documents, weight=np.where(self.numbers == number, documents.weight, np.float32(0)))

    def shares(self, documents: Documents, rows: Indices) -> tuple[Floats, float]:
        """Returns the share of every partition in the tokens of drawn documents, and the share that is in none.

        Documents of a finished run that the pool does not have are in none; the shares of the partitions add up to 1
        without them, unless all are in none.
        """
        hashes, sizes = documents.hashes[rows], documents.sizes(rows)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        numbers = np.where(self.hashes[at] == hashes, self.numbers[self.order[at]], -1)
        inside = numbers >= 0
        sums = np.bincount(numbers[inside], sizes[inside], len(self.names))
        return sums / max(1.0, sums.sum()), float(sizes[~inside].sum() / max(1, sizes.sum()))


def partitions(pool: Library, documents: Documents, settings: SoupSettings, least: float) -> Partitions:
    """Returns the partitions of the pool by the values of columns, or by bins of equal text of numeric ones.

    Those of fewer than `least` estimated tokens, and those beyond the `most` largest, are one, named `others`; where
    that has fewer, too, its documents are in none.

    Raises:
        UserError: there is one partition only, or there are too many values.
    """
    places = pool.training
    names, numbers = divided(settings.by, places, settings.bins, "prove.soups.by")
    sizes = np.bincount(numbers, documents.sizes() * documents.weight.astype(np.float64), len(names)).astype(np.float64)
    names, numbers = _joined(names, numbers, sizes, least, settings.most)
    if len(names) < 2:
        raise UserError(
            f"prove.soups.by: must divide the pool into two partitions or more of {least:,.0f} tokens each, got one of "
            f"{sizes.sum():,.0f}; name other columns, or lower prove.soups.tokens"
        )
    order = np.argsort(places.hashes, kind="stable")
    return Partitions(tuple(names), numbers.astype(np.int16), places.hashes[order], order)


def _joined(
    names: Sequence[str], numbers: Indices, sizes: Floats, least: float, most: int
) -> tuple[list[str], Indices]:
    """The partitions of which the small ones are joined; documents are in none, -1, where that is still too small."""
    order = np.argsort(-sizes, kind="stable")
    large = [int(n) for n in order if sizes[n] >= least]
    joins = sizes.sum() - sizes[large[:most]].sum() >= least
    kept = sorted(large[: most - 1] if joins else large[:most])
    place = np.full(len(names), len(kept) if joins else -1)
    place[kept] = np.arange(len(kept))
    return [*(names[n] for n in kept), *([OTHERS] if joins else [])], place[numbers]
