"""Reads the tries of KenLM, packed in bits and quantised or not, into the hash tables that are scored with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.ngram_probing import (
    ARRAYS,
    NO_BACKOFF,
    PROBING,
    QUANTISED,
    QUANTISED_ARRAYS,
    TRIE,
    Header,
    ModelLayout,
    Table,
    align8,
    zeros,
)

Ints = NDArray[np.uint64]
_VERSION, _QUANTISED_VERSION, _ARRAYS_VERSION = 1, 2, 0
_ROWS = 1 << 20  # entries that are unpacked at a time


def is_trie(header: Header) -> bool:
    """Tells whether a file with this header has a trie."""
    return header.kind in (TRIE, QUANTISED, ARRAYS, QUANTISED_ARRAYS)


def unpack_trie(
    content: NDArray[np.uint8], header: Header, make: Callable[[int], Table] = zeros
) -> tuple[Table, ModelLayout, Header]:
    """Returns the tables of the model in a trie of KenLM, where they are, and the header that says so.

    `make` gives a new table of zeros, which is filled. Raises ValueError where the trie is damaged. A trie
    goes from the last word of an n-gram to those before, as the keys of the tables do.
    """
    from siftlm_kernels.ngram_hash_kernel import insert_all

    if header.version != _VERSION:
        raise ValueError(f"a trie of version {header.version}, this code reads version {_VERSION}")
    own = Header(PROBING, header.counts)
    layout = ModelLayout.of(own)
    table = make(layout.end)
    reader = _Trie(content, header)
    numbers = np.arange(1, len(reader.hashes) + 1, dtype=np.uint32)
    insert_all(table, layout.words, layout.word_buckets, 3, reader.hashes, numbers, np.uint32(0))
    words = header.counts[0]
    unigrams = table[layout.unigrams : layout.unigrams + 2 * words].reshape(-1, 2)
    unigrams[:] = reader.unigrams[:words, :2]
    unigrams[:, 0] = _signed(unigrams[:, 0], counts_between(reader.bounds) > 0)
    keys, bounds = np.arange(words, dtype=np.uint64), reader.bounds
    for n in range(2, len(header.counts) + 1):
        base, buckets = layout.longer[n - 2]
        last = n == len(header.counts)
        keys, bounds = _order(table, base, buckets, reader, n, keys, bounds, last)
    return table, layout, own


def _order(
    table: Table, base: int, buckets: int, reader: _Trie, order: int, above: Ints, bounds: Ints, last: bool
) -> tuple[Ints, Ints]:
    """Fills the table of one order; returns the keys of its n-grams, and where those that extend each begin."""
    from siftlm_kernels.ngram_hash_kernel import insert_all
    from siftlm_kernels.ngram_trie_kernel import insert_pairs, longer_keys

    count = reader.header.counts[order - 1]
    keys, pointers = np.empty(count, np.uint64), np.zeros(0 if last else count + 1, np.uint64)
    parents = np.repeat(np.arange(len(above)), counts_between(bounds))
    if len(parents) != count:
        raise ValueError(f"{len(parents)} places for {count} {order}-grams: damaged")
    if not last:
        pointers = reader.pointers(order)
        counts_between(pointers)
    for first, end in _stretches(count):
        words, logs, backoffs = reader.entries(order, first, end)
        keys[first:end] = longer_keys(above[parents[first:end]], words)
        if last:
            insert_all(table, base, buckets, 3, keys[first:end], logs | np.uint32(NO_BACKOFF), np.uint32(0))
        else:
            extends = np.diff(pointers[first : end + 1].astype(np.int64)) > 0
            insert_pairs(table, base, buckets, keys[first:end], _signed(logs, extends), backoffs)
    return keys, pointers


def counts_between(bounds: Ints) -> NDArray[np.int64]:
    """Returns how many there are between one bound and the next; raises ValueError where bounds do not rise."""
    counts: NDArray[np.int64] = np.diff(bounds.astype(np.int64)).astype(np.int64)
    if np.any(counts < 0):
        raise ValueError("pointers that do not rise: damaged")
    return counts


def _stretches(count: int) -> Iterator[tuple[int, int]]:
    for first in range(0, count, _ROWS):
        yield first, min(count, first + _ROWS)


def _signed(bits: NDArray[np.uint32], extends: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Bits of logarithms whose sign says that no longer n-gram ends so, as in probing models."""
    return np.where(extends, bits & np.uint32(0x7FFFFFFF), bits | np.uint32(0x80000000)).astype(np.uint32)


def bits_for(largest: int) -> int:
    """Returns how many bits a number needs that is at most `largest`."""
    return int(largest).bit_length()


@dataclass(frozen=True)
class _Packed:
    """Says where the entries of an order begin, and how many bits each has."""

    base: int  # byte
    word_bits: int
    value_bits: int
    next_bits: int
    ends: tuple[int, int]  # of the array that has the upper bits of pointers: its first byte, and its entries

    @property
    def bits(self) -> int:
        return self.word_bits + self.value_bits + self.next_bits


class _Trie:
    """Knows where everything is in a file."""

    def __init__(self, content: NDArray[np.uint8], header: Header) -> None:
        self.content, self.header = content, header
        self.quantised = header.kind in (QUANTISED, QUANTISED_ARRAYS)
        self.arrays = header.kind in (ARRAYS, QUANTISED_ARRAYS)
        counts, at = header.counts, header.size
        (size,) = self._numbers(at, 1, np.uint64).tolist()
        if size + 1 != counts[0]:
            raise ValueError(f"{size + 1} words in a model of {counts[0]}: damaged")
        self.hashes: Ints = self._numbers(at + 8, size, np.uint64).copy()
        at += 8 + 8 * counts[0]
        at = self._read_bins(at)
        raw = self._numbers(at, 4 * (counts[0] + 1), np.uint32).reshape(-1, 4)
        self.unigrams, self.bounds = raw[:, :2].copy(), raw[:, 2:].copy().view(np.uint64)[:, 0]
        self.packed: list[_Packed] = []
        self._find_orders(at + 16 * (counts[0] + 2))

    def _numbers(self, at: int, count: int, dtype: Any) -> NDArray[Any]:
        size = count * np.dtype(dtype).itemsize
        if count < 0 or at + size > len(self.content):
            raise ValueError(f"a file of {len(self.content)} bytes that needs {at + size}: cut short")
        return np.frombuffer(self.content[at : at + size].tobytes(), dtype)

    def _read_bins(self, at: int) -> int:
        """Reads the values that codes stand for; returns where they end."""
        self.log_bits, self.backoff_bits, self.bins = 31, 32, list[tuple[NDArray[np.uint32], NDArray[np.uint32]]]()
        if not self.quantised:
            return at
        version, self.log_bits, self.backoff_bits = self._numbers(at, 3, np.uint8).tolist()
        if version != _QUANTISED_VERSION or not 0 < self.log_bits <= 25 or not 0 < self.backoff_bits <= 25:
            raise ValueError(f"quantisation of version {version} with {self.log_bits} and {self.backoff_bits} bits")
        at += 8
        for n in range(2, len(self.header.counts) + 1):
            logs = self._numbers(at, 1 << self.log_bits, np.uint32)
            at += 4 << self.log_bits
            backoffs = np.zeros(0, np.uint32)
            if n < len(self.header.counts):
                backoffs = self._numbers(at, 1 << self.backoff_bits, np.uint32)
                at += 4 << self.backoff_bits
            self.bins.append((logs, backoffs))
        return at

    def _find_orders(self, at: int) -> None:
        counts = self.header.counts
        word_bits = bits_for(counts[0])
        for n in range(2, len(counts)):
            next_bits, ends = bits_for(counts[n]), (0, 0)
            if self.arrays:
                version, chop = self._numbers(at, 2, np.uint8).tolist()
                if version != _ARRAYS_VERSION:
                    raise ValueError(f"compressed pointers of version {version}")
                next_bits -= chopped(counts[n - 1] + 1, counts[n], chop)
                entries = (counts[n] >> next_bits) + 1
                ends = (align8(at) + 8, entries)
                at += 8 * (1 + entries) + 7
            found = _Packed(at, word_bits, self.log_bits + self.backoff_bits, next_bits, ends)
            self.packed.append(found)
            at += ((1 + counts[n - 1]) * found.bits + 7) // 8 + 8
        last = _Packed(at, word_bits, self.log_bits, 0, (0, 0))
        self.packed.append(last)
        end = at + ((1 + counts[-1]) * last.bits + 7) // 8 + 8
        if end > len(self.content):
            raise ValueError(f"a file of {len(self.content)} bytes that needs {end}: cut short")

    def _field(self, order: int, first: int, end: int, offset: int, bits: int) -> Ints:
        from siftlm_kernels.ngram_trie_kernel import unpack

        of, out = self.packed[order - 2], np.empty(end - first, np.uint64)
        unpack(self.content, 8 * of.base + offset, of.bits, bits, first, out)
        return out

    def entries(self, order: int, first: int, end: int) -> tuple[NDArray[np.uint32], ...]:
        """Returns (words, bits of log10 p, bits of backoff weights) of some entries of an order."""
        of, last = self.packed[order - 2], order == len(self.header.counts)
        words = self._field(order, first, end, 0, of.word_bits).astype(np.uint32)
        none = np.zeros(0, np.uint32)
        if not self.quantised:
            logs = self._field(order, first, end, of.word_bits, 31).astype(np.uint32)
            if last:
                return words, logs, none
            return words, logs, self._field(order, first, end, of.word_bits + 31, 32).astype(np.uint32)
        bins = self.bins[order - 2]
        if last:
            return words, bins[0][self._field(order, first, end, of.word_bits, self.log_bits)], none
        codes = self._field(order, first, end, of.word_bits, self.backoff_bits)
        logs = bins[0][self._field(order, first, end, of.word_bits + self.backoff_bits, self.log_bits)]
        return words, logs, bins[1][codes]

    def pointers(self, order: int) -> Ints:
        """Returns where the entries of the next order begin that extend each entry, and where the last ones end."""
        of, count = self.packed[order - 2], self.header.counts[order - 1]
        found = self._field(order, 0, count + 1, of.word_bits + of.value_bits, of.next_bits)
        if not self.arrays:
            return found
        upper = self._numbers(of.ends[0], of.ends[1], np.uint64)
        high = np.searchsorted(upper, np.arange(count + 1, dtype=np.uint64), "right").astype(np.uint64) - np.uint64(1)
        return (high << np.uint64(of.next_bits)) | found


def chopped(most_places: int, most_pointer: int, limit: int) -> int:
    """Returns how many upper bits of pointers stand in an array of their own (KenLM's `ChopBits`)."""
    required, best, lowest = bits_for(most_pointer), 0, 1 << 62
    for chop in range(min(required, limit) + 1):
        change = (most_pointer >> (required - chop)) * 64 - most_places * chop
        if change < lowest:
            lowest, best = change, chop
    return best
