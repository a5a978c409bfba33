"""Reads files of perplexities at which the percentiles of each language lie, in the form of CCNet's cutoff.csv."""

from __future__ import annotations

import csv
import io
import math
from typing import Literal

from siftlm import filesystem
from siftlm.errors import reason_of

Bucket = Literal["head", "middle", "tail"]
BUCKETS: tuple[Bucket, ...] = ("head", "middle", "tail")
HEAD_PERCENTILE, TAIL_PERCENTILE = 30, 60  # where CCNet ends the head and begins the tail


def cutoffs_between(path: str, head: int, tail: int) -> dict[str, tuple[float, float]]:
    """Returns for each language of a file where its head ends and where its tail begins.

    Args:
        path: A file with a row a percentile and a column a language (`cc_net/data/cutoff.csv`).
        head: The percentile of the head's end.
        tail: That of the tail's beginning.

    Raises:
        ValueError: There is no such file or percentile, or a line is wrong; the message begins with `path`.
    """
    rows = _rows(path)
    missing = [percentile for percentile in (head, tail) if percentile not in rows]
    if missing:
        raise ValueError(
            f"path must name a file with rows for percentiles {head} and {tail}, got none for {missing[0]}"
        )
    between = {language: (low, rows[tail][language]) for language, low in rows[head].items()}
    if crossed := [language for language, (low, high) in between.items() if head < tail and low > high]:
        low, high = between[crossed[0]]
        raise ValueError(
            f"path must name a file whose cut-offs rise, got {low:g} at percentile {head} and {high:g} at {tail} for "
            f"{crossed[0]}"
        )
    return between


def _rows(path: str) -> dict[int, dict[str, float]]:
    """The cut-offs by percentile and language; raises ValueError that names the line of a mistake."""
    try:
        lines = list(csv.reader(io.StringIO(filesystem.read_bytes(path).decode("utf-8-sig"))))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"path must name a file of cut-offs, got {path}: {reason_of(error)}") from None
    languages = lines[0][1:] if lines else []
    if not languages or not all(languages) or len(set(languages)) < len(languages):
        raise ValueError(f"path must name a file whose first line has different languages behind a comma, got {path}")
    rows = {}
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        try:
            rows[int(line[0])] = dict(zip(languages, map(_cutoff, line[1:]), strict=True))
        except ValueError:
            told = f"{path}, line {number}, must have a percentile and {len(languages)} numbers"
            raise ValueError(f"{told}, got {','.join(line)[:60]!r}") from None
    return rows


def _cutoff(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(text)
    return value
