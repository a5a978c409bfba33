"""Counts how many documents each step dropped for each reason, from the records read to the rows written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from siftlm.report.composition import added
from siftlm.report.tally import NOTHING, Counts

DEDUP_PARAGRAPHS = "dedup.paragraphs"  # the step that cuts texts of documents that stay
CUT_TEXT = "cut_paragraphs"  # what documents lose that stay
EMPTY: Mapping[str, Any] = {"rows_in": 0, "rows_out": 0, "dropped": {}, "errors": {}}
UNREAD = {"dropped": "record that is no document", "errors": "record that could not be read"}


@dataclass(frozen=True)
class LostDocuments:
    """Holds how many documents one step dropped for one reason; bytes and tokens are None where unknown."""

    place: str
    text: str
    reason: str
    documents: int
    bytes: int | None
    tokens: int | None
    left: int  # documents that remain after it


@dataclass(frozen=True)
class Funnel:
    """Holds document counts from the records read to the rows written, with the losses in order of the steps."""

    records: int
    documents: Counts
    kept: Counts
    written: int
    unread: tuple[LostDocuments, ...]
    losses: tuple[LostDocuments, ...]


def funnel(
    manifest: Mapping[str, Any], reasons: Mapping[str, Counts], losses: Mapping[str, Mapping[str, Counts]]
) -> Funnel:
    """Returns the funnel of a run: documents counted by the manifest, bytes and tokens summed from the columns."""
    read = manifest["counts"].get("documents", EMPTY)
    cut = manifest["statistics"].get("cut", {}).get("byte_count", 0)  # bytes of documents that stay, as columns say
    documents, size, *sums = added(reasons.values())
    return Funnel(
        records=read["rows_in"],
        documents=(documents, size + cut, *sums),
        kept=reasons.get("", NOTHING),
        written=manifest["statistics"]["written"]["rows"],
        unread=tuple(_unread(read)),
        losses=tuple(_losses(manifest, losses, read["rows_out"], cut)),
    )


def _unread(read: Mapping[str, Any]) -> Iterator[LostDocuments]:
    left = read["rows_in"]
    for kind, text in UNREAD.items():
        for reason, count in _most_first(read[kind]):
            left -= count
            yield LostDocuments("ingest", text, reason, count, None, None, left)


def _losses(
    manifest: Mapping[str, Any], losses: Mapping[str, Mapping[str, Counts]], left: int, cut: int
) -> Iterator[LostDocuments]:
    for step in manifest["steps"]:
        place, text = step["place"], step["text"]
        if place == DEDUP_PARAGRAPHS and cut:
            yield LostDocuments(place, "loses what other documents have, and stays", CUT_TEXT, 0, cut, None, left)
        for reason, count in _most_first(step["dropped"]):
            left -= count
            _, size, tokens, *_ = losses.get(place, {}).get(reason, NOTHING)
            yield LostDocuments(place, text, reason, count, size, tokens, left)


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
