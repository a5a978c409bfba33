"""Sums the row counts of every step and shard, and finds documents that are unaccounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from siftlm.store import Marker

DATA, REJECTS = "data", "rejects"
WRITTEN = (DATA, REJECTS)  # the files of the output, which are no shards of the run


Markers = Mapping[str, Sequence[Marker]]
"""The markers of a run by stage, each list in the order of the run's shards."""


def totals(markers: Sequence[Marker]) -> dict[str, Any]:
    """Returns a stage's total rows in and out, and its dropped rows and errors by reason."""
    dropped: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for marker in markers:
        dropped.update(marker.dropped)
        errors.update(marker.errors)
    return {
        "rows_in": sum(m.rows_in for m in markers),
        "rows_out": sum(m.rows_out for m in markers),
        "dropped": dict(sorted(dropped.items())),
        "errors": dict(sorted(errors.items())),
    }


class AuditError(Exception):
    """Signals that rows are unaccounted for; the run fails because its output cannot be trusted."""


def audit(markers: Markers) -> None:
    """Raises AuditError unless every row of every shard is accounted for in every stage.

    In each output rows in = rows out + dropped + errors; each stage reads exactly the documents that ingest wrote;
    the output holds exactly the copies that selection asked for.
    """
    problems = [
        f"{m.stage} of {m.shard}: {m.rows_in} rows in, {m.balance()} unaccounted for"
        for of_stage in markers.values()
        for m in of_stage
        if m.balance()
    ]
    first, *later = [stage for stage in markers if stage not in WRITTEN]
    for stage in later:
        for before, after in zip(markers[first], markers[stage], strict=True):
            if before.rows_out != after.rows_in:
                problems.append(f"{stage} of {after.shard}: {after.rows_in} rows in, {before.rows_out} documents")
    problems += _audit_output(markers, markers[[first, *later][-1]])
    if problems:
        raise AuditError("the audit failed: " + "; ".join(problems[:10]))


def _audit_output(markers: Markers, decisions: Sequence[Marker]) -> list[str]:
    """Returns what is wrong with the written files, given what the last step decided."""
    problems = []
    wanted = {
        DATA: (sum(int(m.facts.get("copies", 0)) for m in decisions), "selected"),
        REJECTS: (sum(m.rows_in - m.rows_out for m in decisions), "dropped"),
    }
    for part, (rows, what) in wanted.items():
        written = sum(marker.rows_out for marker in markers.get(part, []))
        if rows != written and (part == DATA or written) and part in markers:
            problems.append(f"{part}: {written} rows written, {rows} {what}")
    return problems
