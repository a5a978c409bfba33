"""Stores replacements as spans of bytes, a list a document, and applies them to texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.edits.protocol import EditSettings, Replacement

SPAN = pa.struct(
    [
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("replacement", pa.string(), nullable=False),
    ]
)
"""[start, end) in UTF-8 bytes of the text that the edit was given, and what stands there afterwards."""
SPANS = pa.list_(SPAN)


def edit_schema(settings: EditSettings) -> pa.Schema:
    """Returns the columns of an edit: its counts, then the list of its spans."""
    counts = [pa.field(name, pa.int32(), nullable=False) for name in settings.counts()]
    return pa.schema([*counts, pa.field(settings.spans, SPANS, nullable=False)])


def span_columns(schema: pa.Schema) -> list[str]:
    """Returns the names of the columns of spans, in the order in which they are applied."""
    return [field.name for field in schema if field.type == SPANS]


def edited_columns(settings: EditSettings, texts: pa.LargeStringArray) -> pa.RecordBatch:
    """Returns an edit's columns (`edit_schema`) for every text."""
    schema, rows = edit_schema(settings), len(texts)
    counts = {name: np.zeros(rows, np.int32) for name in settings.counts()}
    spans: list[list[dict[str, Any]]] = [[] for _ in range(rows)]
    suspects = np.flatnonzero(settings.suspects(texts))
    for row, text in zip(suspects.tolist(), texts.take(pa.array(suspects)).to_pylist(), strict=True):
        made = settings.replacements(text)
        spans[row] = _in_bytes(text, [one for one in made if one.text is not None])
        for name, count in Counter(one.column for one in made).items():
            counts[name][row] = count
    return pa.RecordBatch.from_arrays([*map(pa.array, counts.values()), pa.array(spans, SPANS)], schema=schema)


def _in_bytes(text: str, made: Sequence[Replacement]) -> list[dict[str, Any]]:
    """The spans of replacements, whose places are counted in characters."""
    edges = [edge for one in made for edge in (one.start, one.end)]
    places = edges if text.isascii() else _byte_places(text, edges)
    starts_ends = zip(places[::2], places[1::2], made, strict=True)
    return [{"start": start, "end": end, "replacement": one.text} for start, end, one in starts_ends]


def _byte_places(text: str, rising: Iterable[int]) -> list[int]:
    """The number of UTF-8 bytes before each of some characters, whose numbers rise."""
    before = place = 0
    places = []
    for character in rising:
        place += len(text[before:character].encode())
        before = character
        places.append(place)
    return places


def replaced(texts: pa.LargeStringArray, spans: pa.ListArray) -> pa.LargeStringArray:
    """Returns the texts with their spans replaced; texts without spans are not touched."""
    rows = pc.indices_nonzero(pc.greater(pc.list_value_length(spans), 0))
    if not len(rows):
        return texts
    pairs = zip(texts.take(rows).to_pylist(), spans.take(rows).to_pylist(), strict=True)
    mask = np.zeros(len(texts), np.bool_)
    mask[rows.to_numpy()] = True
    edited = pa.array([_replaced(text.encode(), of_text) for text, of_text in pairs], texts.type)
    return pc.replace_with_mask(texts, pa.array(mask), edited)


def _replaced(text: bytes, spans: Sequence[dict[str, Any]]) -> str:
    parts, at = [], 0
    for span in spans:
        parts += [text[at : span["start"]], span["replacement"].encode()]
        at = span["end"]
    return b"".join([*parts, text[at:]]).decode()
