"""Stops a run that reads or keeps no document, unless the configuration allows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from siftlm.checks.mentions import Mentions, components
from siftlm.config import RunConfig
from siftlm.errors import UserError
from siftlm.patterns import InputFile
from siftlm.readers.presence import suspicion
from siftlm.readers.settings import InputSettings
from siftlm.store import Marker

SHOWN = 3  # reasons, and values of a column
ALLOW = "output.allow_empty = true lets it pass"


def let_pass(config: RunConfig, problem: str) -> str:
    """Returns a problem (an empty source or output) as a warning, or raises UserError unless it is allowed."""
    if not config.output.allow_empty:
        raise UserError(f"{problem}; {ALLOW}")
    return problem


def nothing_read(settings: InputSettings, files: Sequence[InputFile], markers: Sequence[Marker]) -> str | None:
    """Returns a message on why a source gave no text, or None if it gave some."""
    documents = sum(marker.rows_out for marker in markers)
    if documents and sum(int(marker.facts["text_bytes"]) for marker in markers):
        return None
    reasons: Counter[str] = Counter()
    for marker in markers:
        reasons.update(marker.dropped)
        reasons.update(marker.errors)
    got = f"{documents:,} documents without a byte of text" if documents else _records(reasons, files)
    worst = reasons.most_common(1)[0][0] if reasons else ""
    known = {file.path for file in files}
    reading = (marker.shard for marker in markers if worst in {**marker.dropped, **marker.errors})
    path = next((shard for shard in reading if shard in known), files[0].path)
    cause = suspicion(path, settings, worst)
    return f"input {settings.source!r}: must hold documents, got {got}{f'; {cause}' if cause else ''}"


def _records(reasons: Counter[str], files: Sequence[InputFile]) -> str:
    where = f"{len(files):,} file{'s' if len(files) != 1 else ''}"
    if not reasons:
        return f"no record in {where}"
    most = ", ".join(f"{number:,} times {reason}" for reason, number in reasons.most_common(SHOWN))
    return f"none in {reasons.total():,} records of {where}; {most}"


def nothing_kept(config: RunConfig, decisions: Iterable[Marker], present: Mentions) -> str:
    """Returns a message on why no document is kept: documents dropped per rule, and values that occur."""
    lost: Counter[tuple[str, str]] = Counter()
    documents = 0
    for marker in decisions:
        documents += marker.rows_in
        for step, reason, number in marker.facts["lost"]:
            lost[step, reason] += number
    most = ", ".join(_loss(config, *step, number) for step, number in lost.most_common(SHOWN))
    there = "".join(f"; documents have {name} {_values(common)}" for name, (_, common) in present.items() if common)
    return f"select: must keep a document, got none of {documents:,}{f'; {most}' if most else ''}{there}"


def _loss(config: RunConfig, step: str, reason: str, number: int) -> str:
    """`600 language_not_in_list (select.rules.0: language in eng)`."""
    words = next((f": {component.describe()}" for place, component in components(config) if place == step), "")
    return f"{number:,} {reason} ({step}{words})"


def _values(common: Mapping[str, int]) -> str:
    shown = [f"{value!r} ({number:,})" for value, number in list(common.items())[:SHOWN]]
    return ", ".join(shown) + (f" and {len(common) - SHOWN:,} more" if len(common) > SHOWN else "")
