"""What a run shows while it works: stage, shards, rate and time left, on a terminal or as plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from siftlm.stages.shards import Task
from siftlm.store import Store

INTERVAL_SECONDS = 1.0
PLAIN_INTERVAL_SECONDS = 10.0
PLAIN_SECONDS = 0.5


class Progress:
    """Counts committed shards of the stage at work, from their markers, and says so on `stream`.

    Markers are the truth on every runner: Beam's counters are for display and some runners show none.
    """

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = self._stream.isatty()

    @contextmanager
    def stage(self, name: str, tasks: Sequence[Task], store: Store) -> Iterator[None]:
        """Watches a stage while the block runs; silent when it has nothing to do."""
        wanted = {task.key for task in tasks}
        before = len(wanted & store.done(name)) if wanted else 0
        if self._quiet or before == len(wanted):
            yield
            return
        stop = threading.Event()
        started = time.monotonic()
        watcher = threading.Thread(target=self._watch, args=(name, wanted, before, store, stop), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
        seconds = time.monotonic() - started
        self._line(f"{name}: {len(wanted) - before} of {len(wanted)} shards in {seconds:.1f} s", last=True)

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Says how long a block took that has no shards to count."""
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        if seconds >= PLAIN_SECONDS and not self._quiet:
            self._line(f"{name}: done in {seconds:.1f} s", last=True)

    def say(self, text: str) -> None:
        if not self._quiet:
            self._line(text, last=True)

    def _watch(self, name: str, wanted: set[str], before: int, store: Store, stop: threading.Event) -> None:
        started = time.monotonic()
        interval = INTERVAL_SECONDS if self._terminal else PLAIN_INTERVAL_SECONDS
        while not stop.wait(interval):
            done = len(wanted & store.done(name))
            self._line(status(name, done, len(wanted), done - before, time.monotonic() - started))

    def _line(self, text: str, last: bool = False) -> None:
        if self._terminal:
            self._stream.write(f"\r\x1b[2K{text}" + ("\n" if last else ""))
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()


def status(name: str, done: int, total: int, fresh: int, seconds: float) -> str:
    """`score: 12/80 shards, 0.40 shards/s, 2 min 50 s left`; no rate before the first shard is through."""
    text = f"{name}: {done}/{total} shards"
    if fresh <= 0 or seconds <= 0:
        return f"{text}, {duration(seconds)} so far"
    left = (total - done) * seconds / fresh
    return f"{text}, {fresh / seconds:.2f} shards/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """`2 h 5 min`, `3 min 20 s` or `8 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
