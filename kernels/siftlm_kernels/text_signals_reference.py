"""Implements the text signals in plain Python, in the order of the papers' definitions."""

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
    THAI_AND_LAO,
    WORD_DIVIDERS,
    sentence_terminals,
)
from siftlm_kernels.unicode_words import SOLO_BLOCKS

TERMINALS = tuple(map(chr, sentence_terminals()))
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def reference_columns(values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Returns the columns of `text_signals`, computed one document at a time."""
    content = values.tobytes()
    bounds = offsets.tolist()
    rows = [signals_of(content[a:b].decode("utf-8")) for a, b in pairwise(bounds)]
    return {s.name: np.array([row[s.name] for row in rows], dtype=s.dtype) for s in SIGNALS}


def signals_of(text: str) -> dict[str, float]:
    """Returns every signal of one document, by name."""
    spaced = split_words(text)
    words = [word for word, _ in spaced]
    stripped = [line.strip() for line in text.split("\n")]
    lines = [line for line in stripped if line]
    paragraphs = ["\n".join(run) for full, run in groupby(stripped, bool) if full]
    return {
        **basic(text, words, lines, paragraphs),
        **gopher_quality(text, words, lines),
        **gopher_repetition(text, spaced, lines, paragraphs),
        **c4(text, lines),
        **fineweb(text, words, lines),
    }


def split_words(text: str) -> list[tuple[str, bool]]:
    """Returns the words of a text, each with whether white space stands before it.

    A letter or digit of a script without spaces begins a word where the word so far has one already, and so does any
    letter or digit behind it or behind a word divider. Marks and punctuation stay with what is before them, or else
    with what follows.
    """
    words: list[tuple[str, bool]] = []
    for token in text.split():
        starts, has_letter, ended = [0], False, False
        for at, character in enumerate(token):
            if not character.isalnum():
                ended |= has_letter and character in WORD_DIVIDERS
                continue
            solo = any(first <= ord(character) <= last for first, last in SOLO_BLOCKS)
            if ended or (solo and has_letter):
                starts.append(at)
            has_letter, ended = True, solo
        words += [(token[start:end], start == 0) for start, end in pairwise([*starts, len(token)])]
    return words


def basic(text: str, words: list[str], lines: list[str], paragraphs: list[str]) -> dict[str, float]:
    """Returns the basic signals of a document, such as its numbers of characters and lines and its entropy."""
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
    """Returns the quality signals of Gopher (appendix A1.1)."""
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


def gopher_repetition(
    text: str, spaced: list[tuple[str, bool]], lines: list[str], paragraphs: list[str]
) -> dict[str, float]:
    """Returns the repetition signals of Gopher (table A1)."""
    words = [word for word, _ in spaced]
    return {
        "duplicate_line_fraction": _ratio(len(_duplicates(lines)), len(lines)),
        "duplicate_paragraph_fraction": _ratio(len(_duplicates(paragraphs)), len(paragraphs)),
        "duplicate_line_char_fraction": _ratio(sum(map(len, _duplicates(lines))), len(text)),
        "duplicate_paragraph_char_fraction": _ratio(sum(map(len, _duplicates(paragraphs))), len(text)),
        **{f"top_{n}_gram_char_fraction": min(1.0, _ratio(_top(spaced, n), len(text))) for n in (2, 3, 4)},
        **{f"duplicate_{n}_gram_char_fraction": _ratio(_repeated(words, n), len(text)) for n in range(5, 11)},
    }


def c4(text: str, lines: list[str]) -> dict[str, float]:
    """Returns the signals of C4 (section 2.2)."""
    lower = [line.translate(_ASCII_LOWER) for line in lines]
    return {
        "c4_terminal_line_fraction": _share(
            line.endswith(tuple(C4_END_MARKS)) and not line.endswith("...") for line in lines
        ),
        "under_3_word_line_fraction": _share(len(split_words(line)) < 3 for line in lines),
        "under_5_word_line_fraction": _share(len(split_words(line)) < 5 for line in lines),
        "javascript_line_fraction": _share("javascript" in line for line in lower),
        "policy_line_fraction": _share(any(phrase in line for phrase in POLICY_PHRASES) for line in lower),
        "lorem_ipsum_count": text.translate(_ASCII_LOWER).count("lorem ipsum"),
        "curly_brace_count": text.count("{"),
        "sentence_count": sum(map(_sentences, lines)),
    }


def fineweb(text: str, words: list[str], lines: list[str]) -> dict[str, float]:
    """Returns the signals of FineWeb (section 3.6)."""
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


def _top(spaced: Sequence[tuple[str, bool]], n: int) -> int:
    """Characters in all occurrences of the most frequent n-gram, spaced as its first one is; the first of equals."""
    grams = _ngrams([word for word, _ in spaced], n)
    if not grams:
        return 0
    ((gram, times),) = Counter(grams).most_common(1)
    at = grams.index(gram)
    spaces = sum(space for _, space in spaced[at + 1 : at + n])
    return times * (sum(map(len, gram)) + spaces) if times > 1 else 0


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
    words = split_words(line)
    ends = [word.rstrip(CLOSERS).endswith(TERMINALS) for word, _ in words]
    spaces = [
        space and not ended and _is_thai_or_lao(before) and THAI_AND_LAO.start <= ord(word[0]) < THAI_AND_LAO.stop
        for (before, _), (word, space), ended in zip(words, words[1:], ends, strict=False)
    ]
    return sum(ends) + sum(spaces) + (not ends[-1])


def _is_thai_or_lao(word: str) -> bool:
    """Whether the last letter or digit of a word is."""
    letters = [ord(character) for character in word if character.isalnum()]
    return bool(letters) and THAI_AND_LAO.start <= letters[-1] < THAI_AND_LAO.stop
