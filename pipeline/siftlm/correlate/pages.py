"""Samples pages of each domain, and cuts pages into chunks that joined give the page again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siftlm.correlate.settings import SampleSettings
from siftlm.statistics.hashing import hash_strings, keyed, uniform


def keyed_uniform(keys: Sequence[str], seed: int, purpose: str) -> npt.NDArray[np.float64]:
    """Returns a number in the open interval (0, 1) for each key, which depends on key, seed and purpose alone."""
    return uniform(keyed(hash_strings(pa.array(keys, pa.string())), seed, purpose))


@dataclass(frozen=True)
class PageSample:
    """Holds the positions of the chosen pages, ascending, and how many pages were left out for which reason."""

    chosen: list[int]
    dropped: dict[str, int]


def sample_pages(doc_ids: Sequence[str], domains: Sequence[str | None], settings: SampleSettings) -> PageSample:
    """Returns a random sample of exactly `pages_per_group` pages (0: all) of every domain that has so many.

    A page's place in the draw is a keyed hash of its doc_id, so neither order nor sharding changes the
    sample. A doc_id that comes again in its domain is the same page and counts once.

    With `most_pages` a draw among these follows. Reasons: `no_domain`, `repeated_page`, `domain_too_small`,
    `not_drawn`.
    """
    wanted = settings.pages_per_group
    dropped: Counter[str] = Counter()
    by_domain: dict[str, dict[str, int]] = defaultdict(dict)
    for position, (doc_id, domain) in enumerate(zip(doc_ids, domains, strict=True)):
        if not domain:
            dropped["no_domain"] += 1
        elif doc_id in by_domain[domain]:
            dropped["repeated_page"] += 1
        else:
            by_domain[domain][doc_id] = position
    place = keyed_uniform(doc_ids, settings.seed, "page of its domain")
    chosen: list[int] = []
    for pages in by_domain.values():
        if len(pages) < wanted:
            dropped["domain_too_small"] += len(pages)
            continue
        ranked = sorted(pages, key=lambda doc_id: (place[pages[doc_id]], doc_id))
        chosen += [pages[doc_id] for doc_id in ranked[: wanted or None]]
    if settings.most_pages is not None:
        chosen = sorted(chosen, key=lambda position: (place[position], doc_ids[position]))[: settings.most_pages]
    dropped["not_drawn"] = len(doc_ids) - len(chosen) - dropped.total()
    return PageSample(sorted(chosen), {reason: n for reason, n in sorted(dropped.items()) if n})


def chunk_text(text: str, offsets: Sequence[tuple[int, int]], size: int) -> list[str]:
    """Returns pieces of `size` tokens each, cut at token ends, such that `"".join(pieces) == text`.

    Args:
        text: A page.
        offsets: Start and end of every token, in characters, as a tokenizer gives them; an empty span (a special
            token) is no token.
        size: Tokens a piece. The last piece has the rest, and what follows the last token.

    No piece is empty. Tokens that share a character (bytes of one character) are never cut apart, so a piece
    can lack tokens that its neighbour has.
    """
    assert size > 0, size
    ends = [end for start, end in offsets if end > start]
    cuts = [end for end in ends[size - 1 :: size] if end < ends[-1]]
    bounds = [0, *sorted(set(cuts)), len(text)]
    return [text[a:b] for a, b in pairwise(bounds) if b > a]
