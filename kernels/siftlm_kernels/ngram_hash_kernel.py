"""Compiles the hash functions and the hash tables of n-gram models, which are those of KenLM's probing files."""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled

WORD_FACTOR, CONTEXT_FACTOR = np.uint64(17894857484156487943), np.uint64(8978948897894561157)
MIX, SHIFT = np.uint64(0xC6A4A7935BD1E995), np.uint64(47)
LOW, HALF, ONE = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(1)
FULL = -1


@compiled
def murmur(values: Any, start: Integer, end: Integer) -> Any:
    """Returns MurmurHash64A, seed 0, of the bytes from `start` to `end`: the key of a word."""
    size = end - start
    state = np.uint64(size) * MIX
    at = start
    while at + 8 <= end:
        block = np.uint64(0)
        for k in range(8):
            block |= np.uint64(values[at + k]) << np.uint64(8 * k)
        block *= MIX
        block ^= block >> SHIFT
        state = (state ^ (block * MIX)) * MIX
        at += 8
    if at < end:
        rest = np.uint64(0)
        for k in range(end - at):
            rest |= np.uint64(values[at + k]) << np.uint64(8 * k)
        state = (state ^ rest) * MIX
    state ^= state >> SHIFT
    state *= MIX
    return state ^ (state >> SHIFT)


@compiled
def longer(key: Any, word: Any) -> Any:
    """Returns the key of an n-gram with one more word to its left; a single word's is its id."""
    return (np.uint64(key) * CONTEXT_FACTOR) ^ ((ONE + np.uint64(word)) * WORD_FACTOR)


@compiled
def key_at(table: Any, place: Integer) -> Any:
    """Returns the key whose two halves, uint32, stand at a place of a table."""
    return np.uint64(table[place]) | (np.uint64(table[place + 1]) << HALF)


@compiled
def find(table: Any, base: Integer, buckets: Integer, width: Integer, key: Any) -> Integer:
    """Returns the place of the entry with a key, or -1 where there is none.

    The table begins at `base` and has `buckets` entries of `width` uint32, of which some have the key 0, for free ones.
    """
    bucket: Integer = np.int64(key % np.uint64(buckets))
    for _ in range(buckets):
        place = base + bucket * width
        found = key_at(table, place)
        if found == key:
            return place
        if found == 0:
            return FULL
        bucket = bucket + 1 if bucket + 1 < buckets else 0
    return FULL


@compiled
def insert(table: Any, base: Integer, buckets: Integer, width: Integer, key: Any, first: Any, second: Any) -> Integer:
    """Puts an entry into a table, whatever the order of insertions in one place; returns whether it is new.

    Of two entries that want a place the one with the smaller key has it (Amble and Knuth 1974). `second` is written
    where the width is 4. Of two entries with one key the larger `first` stays.
    """
    bucket: Integer = np.int64(key % np.uint64(buckets))
    for _ in range(buckets):
        place = base + bucket * width
        found = key_at(table, place)
        if found == key:
            table[place + 2] = max(table[place + 2], first)
            return 0
        if found == 0 or found > key:
            old_first = table[place + 2]
            old_second = table[place + 3] if width == 4 else first
            table[place], table[place + 1], table[place + 2] = np.uint32(key & LOW), np.uint32(key >> HALF), first
            if width == 4:
                table[place + 3] = second
            if found == 0:
                return 1
            key, first, second = found, old_first, old_second
        bucket = bucket + 1 if bucket + 1 < buckets else 0
    return FULL


@compiled
def insert_all(table: Any, base: Integer, buckets: Integer, width: Integer, keys: Any, firsts: Any, second: Any) -> Any:
    """Puts entries with the payloads `firsts`, uint32 [entries], into a table; returns how many keys are new."""
    new = 0
    for row in range(len(keys)):
        new += insert(table, base, buckets, width, keys[row], firsts[row], second)
    return new


@compiled
def set_second(table: Any, base: Integer, buckets: Integer, keys: Any, seconds: Any) -> Integer:
    """Writes the second payloads of entries of width 4; returns how many keys are not there."""
    missing = 0
    for row in range(len(keys)):
        place = find(table, base, buckets, 4, keys[row])
        if place < 0:
            missing += 1
        else:
            table[place + 3] = seconds[row]
    return missing


@compiled
def ranges(keys: Any, buckets: Integer, size: Integer, counts: Any, order: Any) -> None:
    """Fills `order` with the rows of keys by ranges of `size` buckets, `counts` [ranges + 1] with where each begins."""
    for row in range(len(keys)):
        counts[np.int64(keys[row] % np.uint64(buckets)) // size + 1] += 1
    for k in range(len(counts) - 1):
        counts[k + 1] += counts[k]
    ends = counts.copy()
    for row in range(len(keys)):
        k = np.int64(keys[row] % np.uint64(buckets)) // size
        order[ends[k]] = row
        ends[k] += 1
