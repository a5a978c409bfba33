"""Compares two runs by documents, scores, reasons and domains, and checks conditions on the difference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from siftlm import filesystem, paths
from siftlm.engine.runner import RunnerSettings
from siftlm.inspect.proof import proof_quantities
from siftlm.inspect.run import FinishedRun, SelectedRun
from siftlm.inspect.survey import survey
from siftlm.report.composition import UNNAMED, added
from siftlm.report.difference import TOTALS, Drift, Moved, RunDifference, Side, holds
from siftlm.report.manifest import MANIFEST
from siftlm.report.page import difference_page
from siftlm.report.tally import GROUPS, NOTHING, Asked, Tally, with_nan
from siftlm.report.terminal import print_difference
from siftlm.stages.columns import read_columns
from siftlm.stages.folders import check_file
from siftlm.stages.summary import numeric_columns
from siftlm.statistics.hashing import hash_strings
from siftlm.statistics.ordered import BoolArray, Float64Array, UInt64Array
from siftlm.statistics.ranks import spearman

PAIRS = 1_000_000  # documents in both runs whose scores are compared: those of the smallest hashes
SHOWN = 30
PAGE_BEGIN = b"<!doctype html>"


def compare(old: str, new: str) -> RunDifference:
    """Returns the difference between the finished runs in two folders."""
    return compare_runs(FinishedRun.open(old), FinishedRun.open(new))


def compare_runs(old: FinishedRun, new: SelectedRun) -> RunDifference:
    """Returns the difference between two runs, with documents matched by doc_id, the first where ids repeat."""
    first, second = _Documents(old), _Documents(new)
    in_old, in_new = np.intersect1d(first.ids, second.ids, assume_unique=True, return_indices=True)[1:]
    kept_old, kept_new = first.kept[in_old], second.kept[in_new]
    common = [name for name in first.numeric if name in second.numeric]
    pairs = slice(0, PAIRS)
    old_counts, new_counts = first.tally(), second.tally()
    return RunDifference(
        old=first.side(old_counts),
        new=second.side(new_counts),
        documents_in_both=len(in_old),
        kept_in_both=int((kept_old & kept_new).sum()),
        now_kept=int((~kept_old & kept_new).sum()),
        now_dropped=int((kept_old & ~kept_new).sum()),
        only_old=len(first.ids) - len(in_old),
        only_new=len(second.ids) - len(in_new),
        kept_only_old=int(first.kept.sum() - kept_old.sum()),
        kept_only_new=int(second.kept.sum() - kept_new.sum()),
        compared=min(len(in_old), PAIRS),
        drifts=tuple(drift(n, first.values(n)[in_old[pairs]], second.values(n)[in_new[pairs]]) for n in common),
        reasons=tuple(moved for moved in _moved(old_counts["reasons"], new_counts["reasons"], 0) if moved.name),
        groups={
            name: tuple(_moved(old_counts["groups"].get(name, {}), new_counts["groups"].get(name, {}), 3)[:SHOWN])
            for name in GROUPS
        },
        proof=proof_quantities(new),
    )


class _Documents:
    """Holds the documents of a run by the hash of their id: `ids` ascend, `rows` says where in the run each is."""

    def __init__(self, run: SelectedRun) -> None:
        self.run, self.tasks = run, run.tasks()
        self.numeric = [n for n in numeric_columns(run.columns()) if n not in {"cluster_size"}]
        tables = [read_columns(task, run.store, {"doc_id", "kept"}) for task in self.tasks]
        hashes = [hash_strings(table["doc_id"].combine_chunks()) for table in tables]
        hashed: UInt64Array = np.concatenate([np.empty(0, np.uint64), *hashes])
        kept = np.concatenate([np.empty(0, np.bool_), *(table["kept"].to_numpy() for table in tables)])
        self.ids, self.rows = np.unique(hashed, return_index=True)
        self.kept: BoolArray = kept[self.rows].astype(np.bool_)

    def values(self, name: str) -> Float64Array:
        """Returns a column of numbers in the order of `ids`, NaN where missing."""
        columns = [with_nan(read_columns(task, self.run.store, {name}), name) for task in self.tasks]
        return np.concatenate([np.empty(0), *columns])[self.rows]

    def tally(self) -> Tally:
        """Returns exact counts of documents by reason and group."""
        asked = Asked(columns=frozenset(self.run.columns()), tokens=self.run.tokens_column(), rate=0.0)
        return survey(self.run, "diff", asked, RunnerSettings())

    def side(self, counted: Tally) -> Side:
        documents, size, *_ = added(counted["reasons"].values())
        kept, kept_bytes, tokens, _, _, _, written, *_ = counted["reasons"].get("", NOTHING)
        kept_tokens = tokens if self.run.tokens_column() else None
        identity = self.run.manifest["identity"]
        return Side(self.run.place, identity, documents, size, kept, kept_bytes, kept_tokens, written)


def drift(column: str, old: Float64Array, new: Float64Array) -> Drift:
    """Returns how a column's values changed, over documents with a finite value in both runs, in the same order."""
    usable = np.isfinite(old) & np.isfinite(new)
    before, after = old[usable], new[usable]
    if not len(before):
        return Drift(column, 0, None, None, None, None)
    return Drift(
        column=column,
        documents=len(before),
        spearman=spearman(before, after),
        mean_old=float(before.mean()),
        mean_new=float(after.mean()),
        changed=int((before != after).sum()),
    )


def _moved(old: Mapping[Any, tuple[int, ...]], new: Mapping[Any, tuple[int, ...]], which: int) -> list[Moved]:
    """One of the counts by name in both runs, the largest change first."""
    moves = [
        Moved(UNNAMED if name is None else name, old.get(name, NOTHING)[which], new.get(name, NOTHING)[which])
        for name in {**old, **new}
    ]
    return sorted(moves, key=lambda moved: (-abs(moved.new - moved.old), -moved.old, moved.name))


def checked_page(html: str | None) -> str | None:
    """Returns the checked path of the page, or None; raises UserError where no page can be written there."""
    if html is None:
        return None
    html = paths.given("--html", html)
    check_file("--html", html, PAGE_BEGIN)
    return html


class ConditionError(Exception):
    """Reports that a run was not published because conditions of `--fail-if` hold, which its message names."""


@dataclass(frozen=True)
class Conditions:
    """Checks conditions on what a new run changes, before it replaces the published one."""

    expressions: Sequence[str]

    def check(self, folder: str, columns: Mapping[str, pa.DataType], tokens: bool) -> None:
        """Raises UserError for an expression that is invalid or names a quantity that the runs lack.

        Args:
            folder: Of the run, where something may be published.
            columns: All columns that the run computes.
            tokens: Whether the run counts tokens.
        """
        old = _published(folder)
        common = numeric_columns(dict(columns))
        if old is not None:
            before = set(numeric_columns(old.columns()))
            common = [name for name in common if name in before]
        names = [*TOTALS, *(f"{kind}_{name}" for kind in ("drift", "mean") for name in common)]
        known = dict.fromkeys(names, 1.0)
        if not tokens or (old is not None and old.tokens_column() is None):
            known.pop("kept_tokens")
        for expression in self.expressions:
            holds(expression, known)

    def look(self, folder: str, new: SelectedRun) -> RunDifference | None:
        """Returns the difference from the published run; None where there is none, or no condition is set.

        Raises:
            ConditionError: a condition holds.
        """
        old = _published(folder) if self.expressions else None
        if old is None:
            return None
        difference = compare_runs(old, new)
        quantities = difference.quantities()
        if failed := [expression for expression in self.expressions if holds(expression, quantities)]:
            words = set(re.findall(r"\w+", " ".join(failed)))
            values = ", ".join(f"{name} is {value:.4g}" for name, value in quantities.items() if name in words)
            raise ConditionError(f"{'; '.join(failed)} ({values}): {folder} keeps what it had before")
        return difference


def _published(folder: str) -> FinishedRun | None:
    return FinishedRun.open(folder) if filesystem.exists(f"{folder}/{MANIFEST}") else None


def publish(difference: RunDifference, conditions: Sequence[str], *, json: bool, html: str | None) -> list[str]:
    """Prints a difference as text or JSON, writes it as a page if asked, and returns the conditions that hold."""
    quantities = difference.quantities()
    failed = [condition for condition in conditions if holds(condition, quantities)]
    if html is not None:
        filesystem.write_bytes(html, difference_page(difference, failed).encode())
    if json:
        print(orjson.dumps(difference.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        print_difference(difference)
    return failed
