"""Shows a run's progress (step, shards, documents, rate, time left) on a terminal or as lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, TextIO

from siftlm import filesystem
from siftlm.engine.shards import Task
from siftlm.errors import UserError, one_line
from siftlm.store import Store

INTERVAL_SECONDS = 1.0
PLAIN_INTERVAL_SECONDS = 10.0
PLAIN_SECONDS = 0.5


@dataclass
class StageCounts:
    """Counts the finished shards and rows of a stage from its markers, each of which is read once."""

    stage: str
    wanted: frozenset[str]
    done: set[str] = field(default_factory=set)
    fresh: int = 0  # shards committed since the stage started
    rows_in: int = 0  # of the fresh shards
    rows_out: int = 0
    unit: ClassVar[str] = "shards"

    def look(self, store: Store) -> None:
        """Adds the shards that were committed since the last call to the counts."""
        new = (self.wanted & store.done(self.stage)) - self.done
        for marker in (store.marker(self.stage, key) for key in sorted(new)):
            self.rows_in += marker.rows_in
            self.rows_out += marker.rows_out
        self.done |= new
        self.fresh += len(new)

    def status(self, seconds: float) -> str:
        """Returns a line such as `scores/m: 12/80 shards, 340 documents/s, keeps 81%, 2 min 50 s left`.

        Until a shard is done, the line has the time so far instead of rates.
        """
        text = f"{self.stage}: {len(self.done)}/{len(self.wanted)} shards"
        if not self.fresh or seconds <= 0:
            return f"{text}, {duration(seconds)} so far"
        left = (len(self.wanted) - len(self.done)) * seconds / self.fresh
        kept = f", keeps {self.rows_out / self.rows_in:.0%}" if self.rows_in else ""
        return f"{text}, {self.rows_in / seconds:,.0f} documents/s{kept}, {duration(left)} left"


class Progress:
    """Prints the progress of the current stage to `stream`, counted from the markers of committed shards.

    Markers are the truth on every runner: Beam's counters are for display and some runners show none. With
    `metrics`, the same numbers go to a text file that Prometheus's node exporter reads.
    """

    def __init__(self, stream: TextIO | None = None, quiet: bool = False, metrics: str | None = None) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._metrics = metrics
        self._tallies: dict[str, StageCounts] = {}

    @contextmanager
    def stage(
        self, name: str, tasks: Sequence[Task], store: Store, counts: Callable[..., StageCounts] = StageCounts
    ) -> Iterator[None]:
        """Prints a stage's progress while the block runs; prints nothing if all its shards are done.

        `counts` is called with the name, the keys, and those that are done, for stages that know more of what they do.
        """
        wanted = frozenset(task.key for task in tasks)
        before = wanted & store.done(name) if wanted else wanted
        if before == wanted:
            yield
            return
        tally = self._tallies[name] = counts(name, wanted, set(before))
        tally.look(store)
        stop = threading.Event()
        started = time.monotonic()
        watcher = threading.Thread(target=self._watch, args=(tally, store, stop), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
        tally.look(store)
        self._write_metrics()
        seconds = time.monotonic() - started
        self._line(f"{name}: {tally.fresh} of {len(wanted)} {tally.unit} in {seconds:.1f} s", last=True)

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Prints how long the block took, for work that has no shards to count."""
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        if seconds >= PLAIN_SECONDS:
            self._line(f"{name}: done in {seconds:.1f} s", last=True)

    def _watch(self, tally: StageCounts, store: Store, stop: threading.Event) -> None:
        started = time.monotonic()
        interval = INTERVAL_SECONDS if self._terminal else PLAIN_INTERVAL_SECONDS
        while not stop.wait(interval):
            try:
                tally.look(store)
                self._write_metrics()
            except (OSError, UserError):  # the end of the stage does both again, and raises it where somebody listens
                return
            self._line(tally.status(time.monotonic() - started))

    def _write_metrics(self) -> None:
        if self._metrics is not None:
            filesystem.write_bytes(self._metrics, prometheus(list(self._tallies.values())).encode())

    def say(self, text: str) -> None:
        """Prints a line that later progress does not overwrite."""
        self._line(one_line(text), last=True)

    def _line(self, text: str, last: bool = False) -> None:
        if self._quiet:
            return
        if self._terminal:
            self._stream.write(f"\r\x1b[2K{text}" + ("\n" if last else ""))
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()


def prometheus(tallies: Sequence[StageCounts]) -> str:
    """Returns stages' counts in Prometheus's text format: shards, shards done, and this run's rows in and out."""
    metrics: dict[str, tuple[str, Callable[[StageCounts], int]]] = {
        "siftlm_shards": ("Shards of the stage.", lambda t: len(t.wanted)),
        "siftlm_shards_done": ("Shards with a marker.", lambda t: len(t.done)),
        "siftlm_rows_in": ("Rows read since the run started.", lambda t: t.rows_in),
        "siftlm_rows_out": ("Rows let through since the run started.", lambda t: t.rows_out),
    }
    lines = []
    for name, (help_text, value) in metrics.items():
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
        lines += [f'{name}{{stage="{_label(tally.stage)}"}} {value(tally)}' for tally in tallies]
    return "\n".join(lines) + "\n"


def _label(value: str) -> str:
    """The value of a label as Prometheus's text format escapes it."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def duration(seconds: float) -> str:
    """Returns a duration in words, such as `2 h 5 min`, `3 min 20 s` or `8 s`."""
    rounded = round(seconds)
    if rounded >= 3600:
        return f"{rounded // 3600} h {rounded % 3600 // 60} min"
    return f"{rounded // 60} min {rounded % 60} s" if rounded >= 60 else f"{rounded} s"
