"""Reads n-gram models in ARPA format into the hash tables that are scored with."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.ngram_probing import PROBING, Header, ModelLayout, Table, zeros

Content = bytes | mmap.mmap

_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)\s*")
_MOST_ORDER = 64
COUNT_BYTES = 1 << 24  # of a text whose lines are counted at a time
MULTIPLIERS = (1.5, 4.0, 16.0)  # places of tables by n-grams: the next where entries must be made up
UNKNOWN_WORDS = (b"<unk>", b"<UNK>")
_WRONG = {
    1: "must have a number, {n} words and maybe a second number",
    2: "must have numbers where they belong",
    3: "must have a logarithm of at most 0",
    4: "must have words that have lines of their own in \\1-grams:",
    5: "must not have an n-gram that was there before",
    6: "must have a context, the words but the last, that is an n-gram of the model itself",
}


def parse_arpa(content: Content, make: Callable[[int], Table] = zeros) -> tuple[Table, ModelLayout, Header]:
    """Returns the tables of a model, where they are, and the header that says so.

    Args:
        content: The text, in memory or mapped from its file.
        make: Returns a new table of so many zeros, which is filled; a second one where the first is too small.

    Raises:
        ValueError: that names the line.
    """
    counts, at = _counts(content)
    for multiplier in MULTIPLIERS:
        header = Header(PROBING, tuple(counts), multiplier)
        found = _tables(content, header, at, make)
        if found is not None:
            return *found, header
    raise ValueError("too many n-grams whose ends (without the first word) are missing")


def _line(content: Content, at: int) -> int:
    starts = range(0, at, COUNT_BYTES)
    return 1 + sum(content[start : min(at, start + COUNT_BYTES)].count(b"\n") for start in starts)


def _error(content: Content, at: int, wrong: str) -> ValueError:
    end = content.find(b"\n", at)
    line = content[at : end if end >= 0 else len(content)][:80].decode("utf-8", "replace").strip()
    return ValueError(f"line {_line(content, at)} {wrong}, got {line!r}")


def _counts(content: Content) -> tuple[tuple[int, ...], int]:
    """The numbers of n-grams that the head of the file tells, and where the lines behind it begin."""
    at = 0
    while at < len(content) and content[at : content.find(b"\n", at) + 1 or len(content)].strip() != b"\\data\\":
        at = content.find(b"\n", at) + 1 or len(content)
    if at >= len(content):
        raise ValueError("no line \\data\\")
    at, counts = content.find(b"\n", at) + 1 or len(content), list[int]()
    while at < len(content):
        end = content.find(b"\n", at) + 1 or len(content)
        line = content[at:end].strip()
        if line.startswith(b"\\"):
            break
        if line:
            found = _COUNT.fullmatch(line)
            if found is None or int(found[1]) != len(counts) + 1 or not 0 < int(found[2]) <= len(content):
                raise _error(content, at, f"must tell the number of {len(counts) + 1}-grams, more than 0")
            counts.append(int(found[2]))
        at = end
    if not 0 < len(counts) <= _MOST_ORDER:
        raise ValueError(f"{len(counts)} orders in its head, between 1 and {_MOST_ORDER} must be there")
    return tuple(counts), at


def _tables(
    content: Content, header: Header, at: int, make: Callable[[int], Table]
) -> tuple[Table, ModelLayout] | None:
    """The tables; None where they are too small for the entries that must be made up."""
    from siftlm_kernels import ngram_arpa_kernel as kernel

    layout, counts = ModelLayout.of(header), header.counts
    table, values = make(layout.end), np.frombuffer(content, np.uint8)
    unknown, found = np.array([_key(word) for word in UNKNOWN_WORDS], np.uint64), np.zeros(1, np.bool_)
    for size, count in enumerate(counts, 1):
        at = _section(content, at, size)
        numbers = layout.numbers()
        if size == 1:
            ended, at = kernel.read_words(values, at, count, table, numbers, unknown, found)
        else:
            floats = table.view(np.float32)
            ended, at = kernel.read_ngrams(values, at, size, count, table, floats, numbers, unknown)
        if ended == kernel.FULL and size > 1:
            return None
        if ended != kernel.GOOD:
            raise _wrong(content, at, ended, size, count, kernel.EARLY)
    _check_end(content, at, counts)
    _check_words(table, layout, bool(found[0]))
    return table, layout


def _wrong(content: Content, at: int, ended: int, size: int, count: int, early: int) -> ValueError:
    if ended == early or ended not in _WRONG:
        return _error(content, at, f"must be one of {count} {size}-grams, as many as the head of the file tells")
    return _error(content, at, _WRONG[ended].format(n=size))


def _section(content: Content, at: int, size: int) -> int:
    """Where the lines of n-grams begin, behind the line that names them."""
    while at < len(content):
        end = content.find(b"\n", at) + 1 or len(content)
        if line := content[at:end].strip():
            if line == b"\\%d-grams:" % size:
                return end
            break
        at = end
    raise _error(content, at, f"must be \\{size}-grams: behind as many lines before as the head of the file tells")


def _check_end(content: Content, at: int, counts: Sequence[int]) -> None:
    rest = content[at : at + 4096].strip().split(b"\n")[0].strip()
    if rest != b"\\end\\":
        raise _error(content, at, f"must be \\end\\ behind {counts[-1]} {len(counts)}-grams, as many as the head tells")


def _key(word: bytes) -> np.uint64:
    from siftlm_kernels.ngram_hash_kernel import murmur

    return np.uint64(murmur(np.frombuffer(word, np.uint8), 0, len(word)))


def _check_words(table: NDArray[np.uint32], layout: ModelLayout, has_unknown: bool) -> None:
    from siftlm_kernels.ngram_hash_kernel import find

    if not has_unknown:
        raise ValueError("there is no entry <unk>")
    for word in (b"<s>", b"</s>"):
        if find(table, layout.words, layout.word_buckets, 3, _key(word)) < 0:
            raise ValueError(f"there is no entry {word.decode()}")
