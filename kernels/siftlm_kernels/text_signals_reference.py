"""The text signals in plain Python, definition by definition, as the papers' tables read."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from siftlm_kernels.text_signals import SIGNALS
from siftlm_kernels.text_signals_tables import (
    BULLETS,
    C4_END_MARKS,
    CLOSERS,
    POLICY_PHRASES,
    STOP_WORDS,
    sentence_terminals,
)

TERMINALS = tuple(map(chr, sentence_terminals()))
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def reference_columns(values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """The columns of `text_signals`, one document at a time."""
    content = values.tobytes()
    bounds = offsets.tolist()
    rows = [signals_of(content[a:b].decode("utf-8")) for a, b in pairwise(bounds)]
    return {s.name: np.array([row[s.name] for row in rows], dtype=s.dtype) for s in SIGNALS}


def signals_of(text: str) -> dict[str, float]:
    """Every signal of one document."""
    words = text.split()
    stripped = [line.strip() for line in text.split("\n")]
    lines = [line for line in stripped if line]
    paragraphs = ["\n".join(run) for full, run in groupby(stripped, bool) if full]
    return {
        **basic(text, words, lines, paragraphs),
        **gopher_quality(text, words, lines),
        **gopher_repetition(text, words, lines, paragraphs),
        **c4(text, lines),
        **fineweb(text, words, lines),
    }


def basic(text: str, words: list[str], lines: list[str], paragraphs: list[str]) -> dict[str, float]:
    """What a user would count first."""
    symbols = [c for c in text if not c.isalnum() and not c.isspace()]
    return {
        "char_count": len(text),
        "line_count": len(lines),
        "paragraph_count": len(paragraphs),
        "uppercase_fraction": _ratio(sum(c.isupper() for c in text), len(text)),
        "digit_fraction": _ratio(sum(c.isdigit() for c in text), len(text)),
        "whitespace_fraction": _ratio(sum(c.isspace() for c in text), len(text)),
        "symbol_fraction": _ratio(len(symbols), len(text)),
        "unique_word_fraction": _ratio(len(set(words)), len(words)),
        "unigram_entropy": _entropy(words),
        "longest_word_length": max(map(len, words), default=0),
    }


def gopher_quality(text: str, words: list[str], lines: list[str]) -> dict[str, float]:
    """Gopher, appendix A1.1, the paragraph on quality."""
    return {
        "word_count": len(words),
        "mean_word_length": _ratio(sum(map(len, words)), len(words)),
        "hash_word_ratio": _ratio(text.count("#"), len(words)),
        "ellipsis_word_ratio": _ratio(text.count("...") + text.count("…"), len(words)),
        "bullet_line_fraction": _share(line.startswith(tuple(BULLETS)) for line in lines),
        "ellipsis_line_fraction": _share(line.endswith(("...", "…")) for line in lines),
        "alpha_word_fraction": _share(any(c.isalpha() for c in word) for word in words),
        "stop_word_count": len(set(STOP_WORDS) & {word.translate(_ASCII_LOWER) for word in words}),
    }


def gopher_repetition(text: str, words: list[str], lines: list[str], paragraphs: list[str]) -> dict[str, float]:
    """Gopher, table A1."""
    return {
        "duplicate_line_fraction": _ratio(len(_duplicates(lines)), len(lines)),
        "duplicate_paragraph_fraction": _ratio(len(_duplicates(paragraphs)), len(paragraphs)),
        "duplicate_line_char_fraction": _ratio(sum(map(len, _duplicates(lines))), len(text)),
        "duplicate_paragraph_char_fraction": _ratio(sum(map(len, _duplicates(paragraphs))), len(text)),
        **{f"top_{n}_gram_char_fraction": min(1.0, _ratio(_top(words, n), len(text))) for n in (2, 3, 4)},
        **{f"duplicate_{n}_gram_char_fraction": _ratio(_repeated(words, n), len(text)) for n in range(5, 11)},
    }


def c4(text: str, lines: list[str]) -> dict[str, float]:
    """C4, section 2.2, as columns."""
    lower = [line.translate(_ASCII_LOWER) for line in lines]
    return {
        "c4_terminal_line_fraction": _share(
            line.endswith(tuple(C4_END_MARKS)) and not line.endswith("...") for line in lines
        ),
        "under_3_word_line_fraction": _share(len(line.split()) < 3 for line in lines),
        "under_5_word_line_fraction": _share(len(line.split()) < 5 for line in lines),
        "javascript_line_fraction": _share("javascript" in line for line in lower),
        "policy_line_fraction": _share(any(phrase in line for phrase in POLICY_PHRASES) for line in lower),
        "lorem_ipsum_count": text.translate(_ASCII_LOWER).count("lorem ipsum"),
        "curly_brace_count": text.count("{"),
        "sentence_count": sum(map(_sentences, lines)),
    }


def fineweb(text: str, words: list[str], lines: list[str]) -> dict[str, float]:
    """FineWeb, section 3.6."""
    return {
        "terminal_line_fraction": _share(line.endswith(TERMINALS) for line in lines),
        "short_line_fraction": _share(len(line) < 30 for line in lines),
        "duplicate_char_fraction": _ratio(sum(map(len, _duplicates(lines))), len(re.sub("\n", "", text))),
        "newline_word_ratio": _ratio(text.count("\n"), len(words)),
    }


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else 0.0


def _share(flags: Any) -> float:
    flags = list(flags)
    return _ratio(sum(flags), len(flags))


def _entropy(words: list[str]) -> float:
    shares = [count / len(words) for count in Counter(words).values()]
    return -sum(share * math.log(share) for share in shares) + 0.0


def _duplicates(pieces: list[str]) -> list[str]:
    seen: set[str] = set()
    return [piece for piece in pieces if piece in seen or seen.add(piece)]  # type: ignore[func-returns-value]


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _top(words: Sequence[str], n: int) -> int:
    """Characters in all occurrences of the most frequent n-gram; the first of equals."""
    counts = Counter(_ngrams(words, n)).most_common(1)
    return counts[0][1] * len(" ".join(counts[0][0])) if counts and counts[0][1] > 1 else 0


def _repeated(words: Sequence[str], n: int) -> int:
    """Characters in n-grams seen before; after one, the search goes on behind it, so that none counts twice."""
    seen: set[tuple[str, ...]] = set()
    position = characters = 0
    while position <= len(words) - n:
        gram = tuple(words[position : position + n])
        if gram in seen:
            characters += sum(map(len, gram))
            position += n
        else:
            seen.add(gram)
            position += 1
    return characters


def _sentences(line: str) -> int:
    words = line.split()
    ends = [word.rstrip(CLOSERS).endswith(TERMINALS) for word in words]
    return sum(ends) + (not ends[-1])
