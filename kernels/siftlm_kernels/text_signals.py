"""Computes simple quality signals of texts, the heuristics of Gopher, C4 and FineWeb, as columns.

Thresholds are not here: they belong to selection. What the papers leave open is decided once, for every signal:

- A character is a Unicode code point; `text` is the whole document.
- A word is a maximal run of characters that are not white space: `text.split()`. Punctuation stays on its word, so
  the definition needs no language. Case matters, except for stop words and phrases (ASCII letters only). Scripts
  that put no spaces between words (Han, Kana, Yi, Thai, Lao, Khmer, Myanmar, Tai Tham, Javanese and others:
  `unicode_words.SOLO_BLOCKS`) have no such runs: each of their letters is a word, with the marks and the punctuation
  behind it, as the default rules of Unicode Standard Annex 29 have it. Dictionaries would find longer ones, of about
  1.5 letters in Chinese, 2 in Japanese and 4 in Thai, so thresholds of length go by language. A visible divider ends
  a word too (`text_signals_tables.WORD_DIVIDERS`): Tibetan has one behind every syllable, old Ethiopic print between
  words.
- A line is what `text.split("\\n")` gives, stripped of white space at both ends; an empty one is not a line.
- A paragraph is a maximal run of lines without an empty one between them, joined by newlines.
- A sentence ends at a word whose last character, closing quotes and brackets aside, is a sentence terminal of
  Unicode or a Tibetan shad, and at the end of every line. Thai and Lao end it with a space: one between two of their
  letters.
- A duplicate is the second or a later occurrence of the same thing in the same document.
- A ratio whose denominator is 0 is 0. Ratios are float64: the quotient of two exact integers, so that a value of
  1/10 equals a threshold of 0.1. The entropy is float32, for a logarithm is not the same to the last bit everywhere.

Where datatrove 0.10 gives other numbers: its words are spaCy's, with punctuation as words of its own (so more words,
fewer of them alphabetic, more n-grams repeated); words of symbols alone do not count for its word count and mean
length; its lines are unstripped, may be blank for the repetition signals, and are short at 30 characters too; the top
n-gram counts there even when it occurs once; n-grams are joined without spaces before they are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Impl = Literal["auto", "reference"]
Column = npt.NDArray[Any]


@dataclass(frozen=True)
class Signal:
    """Describes a signal: its group, name, kernel counts, definition and source."""

    group: str
    name: str
    counts: str  # of the kernel: one, or two to divide
    definition: str
    source: str

    @property
    def dtype(self) -> str:
        return "float64" if "/" in self.counts else {"entropy": "float32"}.get(self.counts, "int64")


_GOPHER = "Rae et al. 2021 (Gopher), appendix A1.1"
_GOPHER_A1 = "Rae et al. 2021 (Gopher), table A1"
_C4 = "Raffel et al. 2020 (C4), section 2.2"
_C4_BUILT = "C4 as built by TFDS, c4_utils.py"
_FINEWEB = "Penedo et al. 2024 (FineWeb), section 3.6"
_OWN = "siftlm"

_TABLE: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "basic": (
        ("char_count", "chars", "characters of the text", _OWN),
        ("line_count", "lines", "lines", _OWN),
        ("paragraph_count", "paragraphs", "paragraphs", _OWN),
        ("uppercase_fraction", "upper/chars", "upper-case letters / characters", _OWN),
        ("digit_fraction", "digits/chars", "digits / characters", _OWN),
        ("whitespace_fraction", "spaces/chars", "white space / characters", _OWN),
        ("symbol_fraction", "symbols/chars", "characters neither alphanumeric nor white space / characters", _OWN),
        ("unique_word_fraction", "unique_words/words", "distinct words / words", _OWN),
        ("unigram_entropy", "entropy", "entropy of the words' frequencies, in nats", "RedPajama-V2"),
        ("longest_word_length", "longest", "characters of the longest word; C4's limit is 1000", _C4_BUILT),
    ),
    "gopher_quality": (
        ("word_count", "words", "words", _GOPHER),
        ("mean_word_length", "word_chars/words", "characters of the words / words", _GOPHER),
        ("hash_word_ratio", "hashes/words", "occurrences of # / words", _GOPHER),
        ("ellipsis_word_ratio", "ellipses/words", "occurrences of ... and … / words", _GOPHER),
        ("bullet_line_fraction", "bullet_lines/lines", "lines that start with a bullet / lines", _GOPHER),
        ("ellipsis_line_fraction", "ellipsis_lines/lines", "lines that end in ... or … / lines", _GOPHER),
        ("alpha_word_fraction", "alpha_words/words", "words with an alphabetic character / words", _GOPHER),
        ("stop_word_count", "stop_words", "how many of the eight stop words occur", _GOPHER),
    ),
    "gopher_repetition": (
        ("duplicate_line_fraction", "duplicate_lines/lines", "duplicate lines / lines", _GOPHER_A1),
        ("duplicate_paragraph_fraction", "duplicate_paragraphs/paragraphs",
         "duplicate paragraphs / paragraphs", _GOPHER_A1),
        ("duplicate_line_char_fraction", "duplicate_line_chars/chars",
         "characters of duplicate lines / characters", _GOPHER_A1),
        ("duplicate_paragraph_char_fraction", "duplicate_paragraph_chars/chars",
         "characters of duplicate paragraphs / characters", _GOPHER_A1),
        *((f"top_{n}_gram_char_fraction", f"top_{n}/chars",
           f"occurrences of the most frequent {n}-gram of words (the first, of several) x its characters, with single "
           "spaces where it has any, / characters; 0 where none occurs twice, 1 at most", _GOPHER_A1)
          for n in (2, 3, 4)),
        *((f"duplicate_{n}_gram_char_fraction", f"duplicate_{n}/chars",
           f"characters of the words of duplicate {n}-grams, found from left to right and never overlapping, / "
           "characters", _GOPHER_A1)
          for n in range(5, 11)),
    ),
    "c4": (
        ("c4_terminal_line_fraction", "c4_terminal_lines/lines",
         "lines that end in . ? ! \" ' but not in ... / lines", _C4),
        ("under_3_word_line_fraction", "under_3_lines/lines", "lines of fewer than 3 words / lines", _C4),
        ("under_5_word_line_fraction", "under_5_lines/lines", "lines of fewer than 5 words / lines", _C4_BUILT),
        ("javascript_line_fraction", "javascript_lines/lines", "lines that contain 'javascript' / lines", _C4),
        ("policy_line_fraction", "policy_lines/lines", "lines that contain a policy phrase / lines", _C4_BUILT),
        ("lorem_ipsum_count", "lorem_ipsum", "occurrences of 'lorem ipsum'", _C4),
        ("curly_brace_count", "braces", "occurrences of {", _C4),
        ("sentence_count", "sentences", "sentences", _C4),
    ),
    "fineweb": (
        ("terminal_line_fraction", "terminal_lines/lines", "lines that end in a sentence terminal / lines", _FINEWEB),
        ("short_line_fraction", "short_lines/lines", "lines of fewer than 30 characters / lines", _FINEWEB),
        ("duplicate_char_fraction", "duplicate_line_chars/visible_chars",
         "characters of duplicate lines / characters that are not newlines", _FINEWEB),
        ("newline_word_ratio", "newlines/words", "newline characters / words", _FINEWEB),
    ),
}  # fmt: skip

SIGNALS = tuple(Signal(group, *row) for group, rows in _TABLE.items() for row in rows)
"""Every column, in the order in which `text_signals` returns them."""

GROUPS = tuple(_TABLE)


def text_signals(
    values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, impl: Impl = "auto"
) -> dict[str, Column]:
    """Returns the columns of `SIGNALS`, with one row for each document.

    Equal to calling `text_signals_reference.signals_of(text)` on every document, which states each definition in
    plain Python. The fast path reads the bytes once, makes no Python object and releases the GIL; its time is linear
    in the bytes whatever they are. It needs 50 to 100 bytes of memory for each word of the longest document.

    Args:
        values: valid UTF-8 of all documents, one after the other. Shape (bytes,).
        offsets: where each document begins, and the end of the last. Shape (documents + 1,).
        impl: "auto" for the compiled pass, "reference" for plain Python.
    """
    if impl == "reference":
        from siftlm_kernels.text_signals_reference import reference_columns

        return reference_columns(values, offsets)
    if impl != "auto":
        raise ValueError(f"impl: must be 'auto' or 'reference', got {impl!r}")
    return _compiled(values, offsets)


def _compiled(values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> dict[str, Column]:
    from siftlm_kernels.text_signals_kernel import COUNTS, count_signals
    from siftlm_kernels.text_signals_tables import character_classes

    documents = len(offsets) - 1
    table, entropies = np.zeros((documents, len(COUNTS)), np.int64), np.zeros(documents)
    count_signals(np.ascontiguousarray(values), np.ascontiguousarray(offsets), character_classes(), table, entropies)
    counts: dict[str, Column] = dict(zip(COUNTS, np.ascontiguousarray(table.T), strict=True))
    counts["entropy"] = entropies
    counts["symbols"] = counts["chars"] - counts["alnum"] - counts["spaces"]
    counts["visible_chars"] = counts["chars"] - counts["newlines"]
    return {signal.name: _column(signal, counts).astype(signal.dtype, copy=False) for signal in SIGNALS}


def _column(signal: Signal, counts: dict[str, Column]) -> Column:
    if "/" not in signal.counts:
        return counts[signal.counts]
    numerator, divisor = (counts[name] for name in signal.counts.split("/"))
    ratio = np.divide(numerator, divisor, out=np.zeros(len(numerator)), where=divisor != 0)
    # An n-gram that overlaps itself ("a a a a") counts some characters twice.
    return np.minimum(ratio, 1.0) if signal.name.startswith("top_") else ratio
