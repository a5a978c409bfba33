"""The feed of the score stage: in order, one window ahead of the model, its errors not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

import pyarrow as pa
import pytest

from siftlm.errors import UserError
from siftlm.stages.score import one_ahead


def window(number: int) -> pa.RecordBatch:
    return pa.record_batch({"row": [number]})


def test_the_next_window_is_tokenised_while_one_is_in_the_model() -> None:
    """Every window but the last waits in the model until the one after it is ready: without overlap, for ever."""
    ready = [Event() for _ in range(5)]

    def scored(number: int) -> pa.RecordBatch:
        if number + 1 < len(ready):
            assert ready[number + 1].wait(30)
        return window(number)

    def feed() -> Iterator[Callable[[], pa.RecordBatch]]:
        for number, event in enumerate(ready):
            event.set()
            yield lambda number=number: scored(number)

    batches = [score() for score in one_ahead(feed())]
    assert [batch["row"].to_pylist() for batch in batches] == [[0], [1], [2], [3], [4]]


def test_no_window_is_tokenised_two_ahead() -> None:
    """Memory is that of two windows."""
    made: list[int] = []

    def feed() -> Iterator[Callable[[], pa.RecordBatch]]:
        for number in range(6):
            made.append(number)
            yield lambda number=number: window(number)

    for number, score in enumerate(one_ahead(feed())):
        score()
        assert len(made) <= number + 2


def test_an_error_of_the_feed_comes_out_behind_the_windows_before_it() -> None:
    """As it would without a thread."""

    def feed() -> Iterator[Callable[[], pa.RecordBatch]]:
        yield lambda: window(0)
        raise UserError("documents/x: cut short")

    windows = one_ahead(feed())
    assert next(windows)().num_rows == 1
    with pytest.raises(UserError, match="cut short"):
        next(windows)


def test_a_shard_without_documents_has_no_window() -> None:
    """Nothing hangs."""
    assert list(one_ahead(iter(()))) == []
