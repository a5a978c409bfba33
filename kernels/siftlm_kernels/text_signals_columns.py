"""Turns the kernel's integer counts into the columns of `SIGNALS`: each ratio is divided once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from siftlm_kernels.text_signals import SIGNALS
from siftlm_kernels.text_signals_kernel import COUNTS, count_signals
from siftlm_kernels.text_signals_tables import character_classes

Counts = dict[str, npt.NDArray[np.int64]]

_COLUMNS = {
    "char_count": "chars", "line_count": "lines", "paragraph_count": "paragraphs", "word_count": "words",
    "longest_word_length": "longest", "stop_word_count": "stop_words", "lorem_ipsum_count": "lorem_ipsum",
    "curly_brace_count": "braces", "sentence_count": "sentences",
}  # fmt: skip

_RATIOS = {
    "uppercase_fraction": ("upper", "chars"),
    "digit_fraction": ("digits", "chars"),
    "whitespace_fraction": ("spaces", "chars"),
    "symbol_fraction": ("symbols", "chars"),
    "unique_word_fraction": ("unique_words", "words"),
    "mean_word_length": ("word_chars", "words"),
    "hash_word_ratio": ("hashes", "words"),
    "ellipsis_word_ratio": ("ellipses", "words"),
    "bullet_line_fraction": ("bullet_lines", "lines"),
    "ellipsis_line_fraction": ("ellipsis_lines", "lines"),
    "alpha_word_fraction": ("alpha_words", "words"),
    "duplicate_line_fraction": ("duplicate_lines", "lines"),
    "duplicate_paragraph_fraction": ("duplicate_paragraphs", "paragraphs"),
    "duplicate_line_char_fraction": ("duplicate_line_chars", "chars"),
    "duplicate_paragraph_char_fraction": ("duplicate_paragraph_chars", "chars"),
    **{f"top_{n}_gram_char_fraction": (f"top_{n}", "chars") for n in (2, 3, 4)},
    **{f"duplicate_{n}_gram_char_fraction": (f"duplicate_{n}", "chars") for n in range(5, 11)},
    "c4_terminal_line_fraction": ("c4_terminal_lines", "lines"),
    "under_3_word_line_fraction": ("under_3_lines", "lines"),
    "under_5_word_line_fraction": ("under_5_lines", "lines"),
    "javascript_line_fraction": ("javascript_lines", "lines"),
    "policy_line_fraction": ("policy_lines", "lines"),
    "terminal_line_fraction": ("terminal_lines", "lines"),
    "short_line_fraction": ("short_lines", "lines"),
    "duplicate_char_fraction": ("duplicate_line_chars", "visible_chars"),
    "newline_word_ratio": ("newlines", "words"),
}


def compiled_columns(values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Returns the columns of `text_signals`, from one compiled pass."""
    documents = len(offsets) - 1
    table = np.zeros((documents, len(COUNTS)), np.int64)
    entropies = np.zeros(documents, np.float64)
    count_signals(np.ascontiguousarray(values), np.ascontiguousarray(offsets), character_classes(), table, entropies)
    counts = dict(zip(COUNTS, np.ascontiguousarray(table.T), strict=True))
    counts["symbols"] = counts["chars"] - counts["alnum"] - counts["spaces"]
    counts["visible_chars"] = counts["chars"] - counts["newlines"]
    return {s.name: _column(s.name, counts, entropies).astype(s.dtype, copy=False) for s in SIGNALS}


def _column(name: str, counts: Counts, entropies: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    if name == "unigram_entropy":
        return entropies
    if name in _COLUMNS:
        return counts[_COLUMNS[name]]
    numerator, denominator = (counts[part] for part in _RATIOS[name])
    ratio = np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator != 0)
    # An n-gram that overlaps itself ("a a a a") counts some characters twice.
    return np.minimum(ratio, 1.0) if name.startswith("top_") else ratio
