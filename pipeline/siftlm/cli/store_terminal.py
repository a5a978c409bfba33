"""Prints what is in a store, and what of it may go."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.markup import escape

from siftlm.errors import one_line
from siftlm.report.page import size
from siftlm.report.terminal import Terminal, columned
from siftlm.storage.catalogue import Entry, by_folder
from siftlm.storage.prune import Pruning
from siftlm.storage.survey import FolderSize, RunSize, StoreSurvey

SHOWN = 10  # paths of what no run wrote
DAY, HOUR = 86_400, 3_600


def print_survey(survey: StoreSurvey) -> None:
    """Prints a table of a store's folders and one of the runs that use it."""
    console = Terminal()
    total = [sum(getattr(of, name) for of in survey.folders) for name in ("outputs", "bytes", "needed", "needed_bytes")]
    rows = [_of_folder(of) for of in survey.folders]
    rows.append(["all", f"{total[0]:,}", size(total[1]), "", f"{total[2]:,}", size(total[3])])
    console.print(columned(("step", "outputs", "on disk", "newest", "needed", "of these bytes"), rows))
    console.print()
    if survey.runs:
        head = ("run", "finished", "needs", "missing", "on disk", "")
        console.print(columned(head, [_of_run(run) for run in survey.runs]))
    else:
        console.print("no run is registered here: each is when it is run once more")
    _print_strangers(console, survey.strangers)


def _of_folder(of: FolderSize) -> list[str]:
    newest = "" if of.newest is None else age(time.time() - of.newest)
    return [of.folder, f"{of.outputs:,}", size(of.bytes), newest, f"{of.needed:,}", size(of.needed_bytes)]


def _of_run(run: RunSize) -> list[str]:
    command = "" if run.command == "run" else f" ({run.command})"
    finished = "not registered" if run.finished is None else f"{age(time.time() - run.finished)} ago"
    state = "its folder is gone" if run.gone else "" if run.latest else "replaced since"
    return [f"{run.folder}{command}", finished, f"{run.outputs:,}", f"{run.missing:,}", size(run.bytes), state]


def print_pruning(pruning: Pruning) -> None:
    """Prints which runs are kept and let go of, and what of the store goes, by folder."""
    console = Terminal()
    for run in pruning.kept:
        gone = "; its folder is gone (--forget-gone lets go of it)" if run.is_gone else ""
        vague = (
            "" if run.record else "; it is not registered, so tables, plans and models that it may need are kept too"
        )
        _say(console, f"kept: what {run.title} needs{gone}{vague}")
    for run in pruning.dropped:
        _say(
            console, f"let go: {run.title}, finished {age(time.time() - run.record.finished)} ago" if run.record else ""
        )
    rows = [[folder, f"{len(of):,}", _bytes(of)] for folder, of in by_folder(pruning.gone)]
    rows.append(["all", f"{len(pruning.gone):,}", _bytes(pruning.gone)])
    console.print(columned(("goes", "outputs", "on disk"), rows))
    _say(console, f"stays: {len(pruning.needed):,} outputs that runs need, {_bytes(pruning.needed)}")
    if pruning.young:
        _say(
            console,
            f"stays: {len(pruning.young):,} outputs that no finished run needs and that are not old enough "
            f"(--older-than), {_bytes(pruning.young)}",
        )
    _print_strangers(console, pruning.contents.strangers)


def print_pruned(pruning: Pruning) -> None:
    """Prints how much was removed."""
    _say(Terminal(), f"removed {len(pruning.gone):,} outputs, {_bytes(pruning.gone)}")


def _bytes(entries: Sequence[Entry]) -> str:
    return size(sum(entry.bytes for entry in entries))


def _print_strangers(console: Terminal, strangers: Sequence[str]) -> None:
    if strangers:
        more = f" and {len(strangers) - SHOWN:,} more" if len(strangers) > SHOWN else ""
        _say(console, f"not a run's, and left alone: {', '.join(strangers[:SHOWN])}{more}")


def _say(console: Terminal, line: str) -> None:
    console.print(escape(one_line(line)), soft_wrap=True)


def age(seconds: float) -> str:
    """Returns an age in words of one unit: `3 d`, `5 h`, `2 min`."""
    if seconds >= DAY:
        return f"{seconds / DAY:.0f} d"
    return f"{seconds / HOUR:.0f} h" if seconds >= HOUR else f"{max(0.0, seconds) / 60:.0f} min"
