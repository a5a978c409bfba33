"""Divides documents by the values of columns, and by bins of columns of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.config import RunConfig
from siftlm.engine.shards import Task
from siftlm.errors import UserError, nearest
from siftlm.proving.draws import Indices
from siftlm.proving.libraries import Places
from siftlm.stages.columns import DECISIONS, read_columns
from siftlm.steps import columns_before

SOURCE = "source"
OTHERS = "others"  # the parts that are too small or too many to count by themselves
MOST_VALUES = 10_000  # of a column, or of several together


def check_columns(config: RunConfig, by: Sequence[str], place: str) -> None:
    """Raises UserError at `place` where documents are divided by a column that the run does not have."""
    known = [SOURCE, *columns_before(config, DECISIONS)]
    for name in by:
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {near!r}?" if near else f"; known here: {', '.join(known)}"
            raise UserError(f"{place}: must name columns of the run, got {name!r}{hint}")


def divided(by: Sequence[str], places: Places, bins: int, place: str) -> tuple[list[str], Indices]:
    """Returns the names of the parts, and the number of the part that every document is in, int64[documents].

    Parts are the combinations of the columns' values that there are, or of bins of equal text of columns of numbers.

    Args:
        by: The columns.
        places: The documents.
        bins: How many of a column of numbers.
        place: The configuration key, for errors.

    Raises:
        UserError: there are too many values, or a column that not every shard has.
    """
    return _crossed([_codes(name, places, bins, place) for name in by], by, place)


def _crossed(codes: Sequence[tuple[list[str], Indices]], by: Sequence[str], place: str) -> tuple[list[str], Indices]:
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
