"""Ranks the values of columns, and ranks them again cheaply for every resample of the rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class SortedColumns:
    """Sorts the columns of X[N, D] once, so that average ranks in a resample need no further sort.

    A resample is a count c_k of each row k. The average rank of a value in the resample is
    (rows below) + (rows equal + 1) / 2, rows counted as often as they were drawn.

    `order[D, N]` holds the rows of each column in ascending order of value; `first` and `last` hold the
    places of the first and the last value equal to the one at that place.
    """

    def __init__(self, X: Floats) -> None:
        columns = np.ascontiguousarray(X.T)
        self.order = np.argsort(columns, axis=1, kind="stable")
        values = np.take_along_axis(columns, self.order, axis=1)
        new = np.ones(values.shape, bool)
        new[:, 1:] = values[:, 1:] != values[:, :-1]
        self.tied = not bool(new.all())
        places = np.arange(values.shape[1])
        self.first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
        ends = np.ones(values.shape, bool)
        ends[:, :-1] = new[:, 1:]
        upward = np.where(ends, places, values.shape[1])[:, ::-1]
        self.last = np.minimum.accumulate(upward, axis=1)[:, ::-1]

    def ranks_in_order(self, counts: Floats) -> Floats:
        """Returns average ranks [D, N] in a resample that draws row k `counts[k]` times.

        The ranks stand in the order of `order`.
        """
        drawn = counts[self.order]
        upto = np.cumsum(drawn, axis=1)
        if not self.tied:
            return np.asarray(upto - (drawn - 1.0) / 2.0)
        through = np.take_along_axis(upto, self.last, axis=1)
        below = np.take_along_axis(upto, self.first, axis=1) - np.take_along_axis(drawn, self.first, axis=1)
        return np.asarray((below + through + 1.0) / 2.0)


def average_ranks(values: Floats) -> Floats:
    """Returns the ranks from 1 to N of a vector, or of each column of X[N, D].

    Equal values share their mean rank.
    """
    columns = values.reshape(len(values), -1)
    by_column = SortedColumns(columns)
    ranks = np.empty((columns.shape[1], columns.shape[0]))
    ones = np.ones(len(values))
    np.put_along_axis(ranks, by_column.order, by_column.ranks_in_order(ones), axis=1)
    return np.ascontiguousarray(ranks.T).reshape(values.shape)


def order_ranks(values: Floats) -> npt.NDArray[np.signedinteger]:
    """Returns integer ranks in each column of X[N, D], the same rank for equal values.

    A rank is the place of the first equal value in ascending order, from 0. In 16 bits where that is enough for N,
    since comparing them is what the pair statistics spend their time on.
    """
    by_column = SortedColumns(values)
    kind = np.int16 if len(values) <= np.iinfo(np.int16).max else np.int32
    ranks = np.empty(by_column.order.shape, kind)
    np.put_along_axis(ranks, by_column.order, by_column.first.astype(kind), axis=1)
    return np.ascontiguousarray(ranks.T)


def spearman(first: Floats, second: Floats) -> float | None:
    """Returns Spearman's rank correlation with mean ranks for ties; None where a column does not vary.

    Of two columns that rank alike it is 1 exactly.
    """
    a, b = average_ranks(first), average_ranks(second)
    if np.array_equal(a, b):
        return 1.0 if len(a) > 1 else None
    deviation_a, deviation_b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((deviation_a @ deviation_a) * (deviation_b @ deviation_b)))
    return float(deviation_a @ deviation_b) / scale if scale > 0 else None
