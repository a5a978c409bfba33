"""Lays out n-gram models in files as KenLM's probing models are, and checks such files before anything is read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"mmap lm http://kheafield.com/code format version 5\n"
UNFINISHED = b"mmap lm http://kheafield.com/code incomplete"
SANITY = MAGIC.ljust(56, b"\0") + struct.pack("<3f3IQ", 0.0, 1.0, -0.5, 1, 0xFFFFFFFF, 0, 1)
FIXED = "<B3xfIB3xI"  # order, multiplier, type, whether there are words, version of the search
MULTIPLIER = np.float32(1.5)
PROBING, PROBING_WITH_REST, TRIE, QUANTISED, ARRAYS, QUANTISED_ARRAYS = range(6)
NO_BACKOFF = 0x80000000  # -0.0, of an n-gram that is no context
SEAL = struct.Struct("<16sQ16s8s")  # name, bytes before it, xxh3_128 of these, zeros
SEAL_NAME = b"siftlm n-gram 01"
Table = NDArray[np.uint32]


def zeros(size: int) -> Table:
    """Returns a table of so many numbers in memory."""
    return np.zeros(size, np.uint32)


@dataclass(frozen=True)
class Header:
    """Holds what the beginning of a file of KenLM says."""

    kind: int
    counts: tuple[int, ...]  # n-grams of each order, from 1 on
    multiplier: float = float(MULTIPLIER)
    has_words: bool = True
    version: int = 0  # of the search

    @property
    def size(self) -> int:
        """Returns the bytes before the vocabulary."""
        return align8(len(SANITY) + struct.calcsize(FIXED) + 8 * len(self.counts))

    def pack(self) -> bytes:
        """Returns the bytes before the vocabulary."""
        fixed = struct.pack(FIXED, len(self.counts), self.multiplier, self.kind, self.has_words, self.version)
        counts = struct.pack(f"<{len(self.counts)}Q", *self.counts)
        return (SANITY + fixed + counts).ljust(self.size, b"\0")


def align8(size: int) -> int:
    """Returns a size rounded up to a multiple of 8."""
    return (size + 7) // 8 * 8


def is_binary(head: bytes) -> bool:
    """Tells whether the first bytes of a file are those of a binary file of KenLM."""
    return head.startswith((MAGIC[:40], UNFINISHED[:40]))


def read_header(content: Any) -> Header:
    """Returns the header of a file; raises ValueError where it is not one that this code reads."""
    head = bytes(content[: len(SANITY)])
    if head.startswith(UNFINISHED):
        raise ValueError("a file whose making was not finished")
    if head != SANITY:
        raise ValueError("a binary file of another version of KenLM, or damaged at its beginning")
    try:
        order, multiplier, kind, has_words, version = struct.unpack_from(FIXED, content, len(SANITY))
        counts = struct.unpack_from(f"<{order}Q", content, len(SANITY) + struct.calcsize(FIXED))
    except struct.error:
        raise ValueError(f"a file that ends in its header, after {len(content)} bytes") from None
    if not order or not 1.0 < multiplier < 1e3 or kind > QUANTISED_ARRAYS or not all(0 < n < 1 << 48 for n in counts):
        raise ValueError(f"impossible numbers in its header: type {kind}, n-grams {counts}, multiplier {multiplier}")
    return Header(kind, counts, multiplier, bool(has_words), version)


def buckets_of(entries: int, multiplier: float = float(MULTIPLIER)) -> int:
    """Returns how many places a hash table of KenLM has."""
    return max(entries + 1, int(np.float32(multiplier) * np.float32(entries)))


@dataclass(frozen=True)
class ModelLayout:
    """Says where each table of a probing model begins; all numbers count uint32."""

    order: int
    words: int
    word_buckets: int
    unigrams: int
    longer: tuple[tuple[int, int], ...]  # (where it begins, places) of each order from 2 on
    end: int

    @staticmethod
    def of(header: Header) -> ModelLayout:
        """Returns the layout of a file with this header."""
        counts, at = header.counts, header.size // 4 + 2
        word_buckets = buckets_of(counts[0], header.multiplier)
        words, at = at, at + 3 * word_buckets
        unigrams, at = at, at + 2 * (counts[0] + 1)
        longer = []
        for n, count in enumerate(counts[1:], 2):
            buckets = buckets_of(count, header.multiplier)
            longer.append((at, buckets))
            at += buckets * (4 if n < len(counts) else 3)
        return ModelLayout(len(counts), words, word_buckets, unigrams, tuple(longer), at)

    def numbers(self) -> NDArray[np.int64]:
        """Returns the layout as the kernels read it."""
        pairs = [number for pair in self.longer for number in pair]
        return np.array([self.order, self.words, self.word_buckets, self.unigrams, *pairs], np.int64)


def seal(size: int, digest: bytes) -> bytes:
    """Returns the last bytes of a file that siftlm wrote: its size before them and the digest of that."""
    return SEAL.pack(SEAL_NAME, size, digest, b"")


def sealed(content: Any) -> tuple[int, bytes] | None:
    """Returns the size and the digest that a file ends with, None for KenLM's; raises ValueError for a wrong size."""
    if len(content) < SEAL.size or bytes(content[-SEAL.size :][:13]) != SEAL_NAME[:13]:
        return None
    name, size, digest, _ = SEAL.unpack(content[-SEAL.size :])
    if name != SEAL_NAME:
        raise ValueError(f"a model of another version of siftlm: {name.decode('ascii', 'replace')}")
    if size != len(content) - SEAL.size:
        raise ValueError(f"a file of {len(content)} bytes that was written with {size + SEAL.size}")
    return size, bytes(digest)
