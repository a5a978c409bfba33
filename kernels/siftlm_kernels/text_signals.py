"""Computes cheap signals of a text, the heuristics of Gopher, C4 and FineWeb, as columns.

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
    """A column: its name, its dtype, the group that it is selected by, what it is, and who proposed it."""

    name: str
    dtype: str
    group: str
    definition: str
    source: str


_GOPHER = "Rae et al. 2021 (Gopher), appendix A1.1"
_GOPHER_A1 = "Rae et al. 2021 (Gopher), table A1"
_C4 = "Raffel et al. 2020 (C4), section 2.2"
_C4_BUILT = "C4 as built by TFDS, c4_utils.py"
_FINEWEB = "Penedo et al. 2024 (FineWeb), section 3.6"
_OWN = "siftlm"

SIGNALS: tuple[Signal, ...] = (
    Signal("char_count", "int64", "basic", "characters of the text", _OWN),
    Signal("line_count", "int64", "basic", "lines", _OWN),
    Signal("paragraph_count", "int64", "basic", "paragraphs", _OWN),
    Signal("uppercase_fraction", "float64", "basic", "upper-case letters / characters", _OWN),
    Signal("digit_fraction", "float64", "basic", "digits / characters", _OWN),
    Signal("whitespace_fraction", "float64", "basic", "white space / characters", _OWN),
    Signal("symbol_fraction", "float64", "basic", "characters neither alphanumeric nor white space / characters", _OWN),
    Signal("unique_word_fraction", "float64", "basic", "distinct words / words", _OWN),
    Signal("unigram_entropy", "float32", "basic", "entropy of the words' frequencies, in nats", "RedPajama-V2"),
    Signal("longest_word_length", "int64", "basic", "characters of the longest word; C4's limit is 1000", _C4_BUILT),
    Signal("word_count", "int64", "gopher_quality", "words", _GOPHER),
    Signal("mean_word_length", "float64", "gopher_quality", "characters of the words / words", _GOPHER),
    Signal("hash_word_ratio", "float64", "gopher_quality", "occurrences of # / words", _GOPHER),
    Signal("ellipsis_word_ratio", "float64", "gopher_quality", "occurrences of ... and … / words", _GOPHER),
    Signal("bullet_line_fraction", "float64", "gopher_quality", "lines that start with a bullet / lines", _GOPHER),
    Signal("ellipsis_line_fraction", "float64", "gopher_quality", "lines that end in ... or … / lines", _GOPHER),
    Signal("alpha_word_fraction", "float64", "gopher_quality", "words with an alphabetic character / words", _GOPHER),
    Signal("stop_word_count", "int64", "gopher_quality", "how many of the eight stop words occur", _GOPHER),
    Signal("duplicate_line_fraction", "float64", "gopher_repetition", "duplicate lines / lines", _GOPHER_A1),
    Signal(
        "duplicate_paragraph_fraction", "float64", "gopher_repetition",
        "duplicate paragraphs / paragraphs", _GOPHER_A1,
    ),
    Signal(
        "duplicate_line_char_fraction", "float64", "gopher_repetition",
        "characters of duplicate lines / characters", _GOPHER_A1,
    ),
    Signal(
        "duplicate_paragraph_char_fraction", "float64", "gopher_repetition",
        "characters of duplicate paragraphs / characters", _GOPHER_A1,
    ),
    *(
        Signal(
            f"top_{n}_gram_char_fraction", "float64", "gopher_repetition",
            f"occurrences of the most frequent {n}-gram of words (the first, of several) x its characters, with single "
            "spaces where it has any, / characters; 0 where none occurs twice, 1 at most", _GOPHER_A1,
        )
        for n in (2, 3, 4)
    ),
    *(
        Signal(
            f"duplicate_{n}_gram_char_fraction", "float64", "gopher_repetition",
            f"characters of the words of duplicate {n}-grams, found from left to right and never overlapping, / "
            "characters", _GOPHER_A1,
        )
        for n in range(5, 11)
    ),
    Signal("c4_terminal_line_fraction", "float64", "c4", "lines that end in . ? ! \" ' but not in ... / lines", _C4),
    Signal("under_3_word_line_fraction", "float64", "c4", "lines of fewer than 3 words / lines", _C4),
    Signal("under_5_word_line_fraction", "float64", "c4", "lines of fewer than 5 words / lines", _C4_BUILT),
    Signal("javascript_line_fraction", "float64", "c4", "lines that contain 'javascript' / lines", _C4),
    Signal("policy_line_fraction", "float64", "c4", "lines that contain a policy phrase / lines", _C4_BUILT),
    Signal("lorem_ipsum_count", "int64", "c4", "occurrences of 'lorem ipsum'", _C4),
    Signal("curly_brace_count", "int64", "c4", "occurrences of {", _C4),
    Signal("sentence_count", "int64", "c4", "sentences", _C4),
    Signal("terminal_line_fraction", "float64", "fineweb", "lines that end in a sentence terminal / lines", _FINEWEB),
    Signal("short_line_fraction", "float64", "fineweb", "lines of fewer than 30 characters / lines", _FINEWEB),
    Signal(
        "duplicate_char_fraction", "float64", "fineweb",
        "characters of duplicate lines / characters that are not newlines", _FINEWEB,
    ),
    Signal("newline_word_ratio", "float64", "fineweb", "newline characters / words", _FINEWEB),
)  # fmt: skip
"""Every column, in the order in which `text_signals` returns them."""

GROUPS: tuple[str, ...] = ("basic", "gopher_quality", "gopher_repetition", "c4", "fineweb")


def text_signals(
    values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, impl: Impl = "auto"
) -> dict[str, Column]:
    """Returns the columns of `SIGNALS`, one row a document.

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
    from siftlm_kernels.text_signals_columns import compiled_columns

    return compiled_columns(values, offsets)
