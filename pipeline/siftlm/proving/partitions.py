"""Divides the pool into partitions by columns, and says which shares of them a draw of documents has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.shards import Task
from siftlm.errors import UserError, nearest
from siftlm.proving.draws import Documents, Indices
from siftlm.proving.libraries import Library, Places
from siftlm.proving.settings import ProofConfig, SoupSettings
from siftlm.stages.columns import DECISIONS, read_columns
from siftlm.steps import columns_before

SOURCE = "source"
OTHERS = "others"  # the partitions that are too small or too many to have a model each
MOST_VALUES = 10_000  # of a column, or of several together
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


def check_columns(config: ProofConfig) -> None:
    """Raises UserError where soups are divided by a column that the run does not have."""
    known = [SOURCE, *columns_before(config, DECISIONS)]
    for name in config.prove.soups.by if config.prove.soups else ():
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {near!r}?" if near else f"; known here: {', '.join(known)}"
            raise UserError(f"prove.soups.by: must name columns of the run, got {name!r}{hint}")


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


def divided(by: Sequence[str], places: Places, bins: int, place: str) -> tuple[list[str], Indices]:
    """Returns the names of the groups that columns divide documents into, and the number of every document's.

    A group is a combination of values, or of bins of equal text where a column has numbers. Some names may have no
    document.

    Args:
        by: The columns.
        places: The documents.
        bins: Of a column of numbers.
        place: In the configuration, for messages.

    Raises:
        UserError: a column is not there, or there are too many values.
    """
    return _crossed([_codes(name, places, bins, place) for name in by], by, place)


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


def _crossed(
    codes: Sequence[tuple[list[str], Indices]], by: Sequence[str], place: str = "prove.soups.by"
) -> tuple[list[str], Indices]:
    """The partitions that every combination of values makes, of those that there are."""
    names, numbers = codes[0]
    for more, others in codes[1:]:
        pairs, numbers = np.unique(numbers * len(more) + others, return_inverse=True)
        names = [f"{names[pair // len(more)]}, {more[pair % len(more)]}" for pair in pairs.tolist()]
        if len(names) > MOST_VALUES:
            raise UserError(f"{place}: must have {MOST_VALUES:,} combinations at most, got more of {list(by)}")
    return names, np.asarray(numbers, np.int64)


def _codes(name: str, places: Places, bins: int, place: str) -> tuple[list[str], Indices]:
    """The names of a column's values or bins, and the number of every document's."""
    if name == SOURCE:
        sources = sorted(set(places.sources))
        return sources, np.repeat([sources.index(of) for of in places.sources], np.diff(places.starts))
    columns = list(_columns(name, places, place))
    kind = next((column.type for column in columns if not pa.types.is_null(column.type)), pa.string())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _binned(name, [column.cast(pa.float64()) for column in columns], places, bins)
    return _valued(name, [column.cast(pa.string()) for column in columns], place)


def _columns(name: str, places: Places, place: str) -> Iterator[pa.Array]:
    """The values of a column of the documents of every shard that has some."""
    every = np.arange(len(places), dtype=np.int64)
    for task, _, rows in places.by_shard(every):
        yield _column(task, name, places, place).take(pa.array(rows))


def _column(task: Task, name: str, places: Places, place: str) -> pa.Array:
    table = read_columns(task, places.store, {name})
    if name not in table.schema.names:
        raise UserError(f"{place}: must name columns that every document has, got {name!r}")
    return table[name].combine_chunks()


def _valued(name: str, columns: Sequence[pa.Array], place: str) -> tuple[list[str], Indices]:
    values = sorted({value for column in columns for value in pc.unique(column).to_pylist() if value is not None})
    if len(values) > MOST_VALUES:
        raise UserError(f"{place}: must name columns of {MOST_VALUES:,} values at most, got more of {name!r}")
    known = pa.array(values, pa.string())
    found = [pc.fill_null(pc.index_in(column, known, skip_nulls=True), len(values)).to_numpy() for column in columns]
    return [*values, f"no {name}"], np.concatenate(found).astype(np.int64)


def _binned(name: str, columns: Sequence[pa.Array], places: Places, bins: int) -> tuple[list[str], Indices]:
    """Bins with the same bytes of text each, but for ties; one more for documents without a value.

    Where there are no more different numbers than bins, each is a partition.
    """
    values = np.concatenate([column.to_numpy(zero_copy_only=False) for column in columns])
    known = np.isfinite(values)
    different = np.unique(values[known])
    if len(different) <= bins:
        numbers = np.where(known, np.searchsorted(different, values), len(different))
        return [*(f"{name} {value:g}" for value in different), f"no {name}"], numbers.astype(np.int64)
    order = np.argsort(values[known], kind="stable")
    text = np.cumsum((places.bytes * places.weight)[known][order])
    edges = values[known][order][np.searchsorted(text, text[-1] * np.arange(1, bins) / bins)] if len(text) else []
    numbers = np.where(known, np.searchsorted(edges, values, "left"), bins)
    return [*(f"{name} {n} of {bins}" for n in range(1, bins + 1)), f"no {name}"], numbers.astype(np.int64)
