"""Takes the start of a text as an excerpt, and marks its least likely tokens where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHARACTERS = 320
WORST = 0.05  # the share of a text's tokens that is marked
LEAST_NATS = 4.0  # a token more likely than 2 % is nothing to look at


@dataclass(frozen=True)
class Span:
    """Holds a token's characters [start, end) in the text, and its negative log-likelihood in nats."""

    start: int
    end: int
    nats: float


@dataclass(frozen=True)
class Excerpt:
    """Holds the pieces of an excerpt in order, each with its nats where marked; `characters` counts the whole text."""

    pieces: tuple[tuple[str, float | None], ...]
    characters: int
    cut: bool


def excerpt(text: str, spans: Sequence[Span] = (), characters: int = CHARACTERS) -> Excerpt:
    """Returns the first `characters` of a text after leading white space, with its least likely tokens marked."""
    start = len(text) - len(text.lstrip())
    end = min(len(text), start + characters)
    pieces: list[tuple[str, float | None]] = []
    at = start
    for span in worst(spans):
        if span.start < at or span.end > end:
            continue
        pieces += [(text[at : span.start], None), (text[span.start : span.end], span.nats)]
        at = span.end
    pieces.append((text[at:end], None))
    return Excerpt(tuple(piece for piece in pieces if piece[0]), len(text), end < len(text))


def worst(spans: Sequence[Span]) -> list[Span]:
    """Returns the least likely tokens of a text, in the order in which they stand there."""
    if not spans:
        return []
    ranked = sorted((span.nats for span in spans), reverse=True)
    limit = max(LEAST_NATS, ranked[int(WORST * (len(ranked) - 1))])
    return [span for span in spans if span.nats >= limit]
