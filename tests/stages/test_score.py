"""The feed of the score stage: in order, one window ahead of the model, its errors not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event

import pyarrow as pa
import pytest

from siftlm.errors import UserError
from siftlm.stages.scoring import one_ahead


def window(number: int) -> pa.RecordBatch:
    return pa.record_batch({"row": [number]})


@dataclass
class Begun:
    """A window whose columns are what a call gives."""

    finish: Callable[[], pa.RecordBatch]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


def test_the_next_window_is_tokenised_while_one_is_in_the_model() -> None:
    """Every window but the last waits in the model until the one after it is ready: without overlap, for ever."""
    ready = [Event() for _ in range(5)]

    def scored(number: int) -> pa.RecordBatch:
        if number + 1 < len(ready):
            assert ready[number + 1].wait(30)
        return window(number)

    def feed() -> Iterator[Begun]:
        for number, event in enumerate(ready):
            event.set()
            yield Begun(lambda number=number: scored(number))

    batches = [begun.finish() for begun in one_ahead(feed())]
    assert [batch["row"].to_pylist() for batch in batches] == [[0], [1], [2], [3], [4]]


def test_no_window_is_tokenised_two_ahead() -> None:
    """Memory is that of two windows."""
    made: list[int] = []

    def feed() -> Iterator[Begun]:
        for number in range(6):
            made.append(number)
            yield Begun(lambda number=number: window(number))

    for number, begun in enumerate(one_ahead(feed())):
        begun.finish()
        assert len(made) <= number + 2


def test_an_error_of_the_feed_comes_out_behind_the_windows_before_it() -> None:
    """As it would without a thread."""

    def feed() -> Iterator[Begun]:
        yield Begun(lambda: window(0))
        raise UserError("documents/x: cut short")

    windows = one_ahead(feed())
    assert next(windows).finish().num_rows == 1
    with pytest.raises(UserError, match="cut short"):
        next(windows)


def test_a_shard_without_documents_has_no_window() -> None:
    """Nothing hangs."""
    assert list(one_ahead(iter(()))) == []


def test_what_is_under_way_when_a_window_fails_is_called_off() -> None:
    """The window that failed and the one behind it: a process that gives up is not kept by its threads."""
    windows = [Begun(lambda: window(0)), Begun(lambda: window(1)), Begun(lambda: window(2))]
    going = one_ahead(iter(windows))
    assert [next(going), next(going)] == windows[:2]
    going.close()  # what Python does when the loop over it raises
    assert [begun.cancelled for begun in windows] == [False, True, True]
