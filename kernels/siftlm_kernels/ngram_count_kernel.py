"""Compiles the functions that turn text into ids of words, and ids into rows of n-grams."""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled
from siftlm_kernels.ngram_hash_kernel import murmur

UNKNOWN, BEGIN, END = 0, 1, 2
FIRST = 3  # id of the first word of a text


@compiled
def _slot(table: Any, hashes: Any, key: Any) -> Integer:
    """Where the id of a hash is in a table of ids (0 for none), or where it belongs."""
    mask = len(table) - 1
    slot = np.int64(key & np.uint64(mask))
    while table[slot] != 0 and hashes[table[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@compiled
def grown(table: Any, hashes: Any, count: Integer, size: Integer) -> Any:
    """Returns a table of ids of `size`, a power of 2, with the first `count` hashes from `FIRST` on."""
    table = np.zeros(size, np.uint32)
    for number in range(FIRST, count):
        table[_slot(table, hashes, hashes[number])] = number
    return table


@compiled
def words_of(values: Any, separators: Any, refused: Any, tokens: Any) -> Any:
    """Reads the words of lines: ids by first appearance from 3 on, and 2 for the end of each line.

    Args:
        values: The text, uint8 [bytes], whose last line ends with a line feed.
        separators: Which bytes part words, bool [256].
        refused: Hashes of words that may not be there, uint64.
        tokens: Where the ids go, uint32, long enough.

    Returns:
        (tokens written, hashes [words], spans [words, 2] of their first places, where a refused word begins or -1).
    """
    table = np.zeros(1 << 12, np.uint32)
    hashes, spans = np.zeros(1 << 11, np.uint64), np.zeros((1 << 11, 2), np.int64)
    count, written, at, size = FIRST, 0, 0, len(values)
    while at < size:
        byte = values[at]
        if byte == 10:
            tokens[written] = END
            written += 1
            at += 1
            continue
        if separators[byte]:
            at += 1
            continue
        start = at
        while at < size and not separators[values[at]]:
            at += 1
        key = murmur(values, start, at)
        for no in refused:
            if key == no:
                return written, hashes[:0], spans[:0], start
        slot = _slot(table, hashes, key)
        number: Integer = np.int64(table[slot])
        if number == 0:
            number = count
            if count == len(hashes):
                hashes = np.concatenate((hashes, np.zeros(count, np.uint64)))
                spans = np.concatenate((spans, np.zeros((count, 2), np.int64)))
            hashes[count], spans[count, 0], spans[count, 1] = key, start, at
            table[slot] = count
            count += 1
            if 2 * count > len(table):
                table = grown(table, hashes, count, 2 * len(table))
        tokens[written] = number
        written += 1
    return written, hashes[FIRST:count], spans[FIRST:count], -1


@compiled
def merge_words(table: Any, hashes: Any, count: Integer, others: Any, mapping: Any, new: Any) -> Any:
    """Gives the ids of a vocabulary to words of a further text, and new ones to new words.

    Returns:
        (table, hashes, count) of the vocabulary, grown. Fills `mapping` with the id of each, and `new` with whether
        it was new.
    """
    for row in range(len(others)):
        slot = _slot(table, hashes, others[row])
        number = np.int64(table[slot])
        new[row] = number == 0
        if number == 0:
            number = count
            if count == len(hashes):
                hashes = np.concatenate((hashes, np.zeros(count, np.uint64)))
            hashes[count] = others[row]
            table[slot] = number
            count += 1
            if 2 * count > len(table):
                table = grown(table, hashes, count, 2 * len(table))
        mapping[row] = number
    return table, hashes, count


@compiled
def count_contexts(tokens: Any, contexts: Any, words: Any) -> None:
    """Adds how often each id stands before another token to `contexts`, and how often it is one to `words`."""
    before = BEGIN
    for at in range(len(tokens)):
        contexts[before] += 1
        words[tokens[at]] += 1
        before = BEGIN if tokens[at] == END else tokens[at]


@compiled
def rows_of(tokens: Any, order: Integer, part_of: Any, starts: Any, rows: Any) -> None:
    """Writes the n-gram that ends with each token: the word before the last, those before it backwards, the last, 1.

    Args:
        tokens: Ids of sentences, each with its end, uint32 [tokens].
        order: Words of an n-gram, at least 2; before a sentence stands its beginning, as often as needed.
        part_of: The part where n-grams with an id before the last go, [ids].
        starts: Where the rows of each part begin, int64 [parts + 1], which is filled.
        rows: Where rows go by part, uint32 [tokens, order + 1].
    """
    before = BEGIN
    for at in range(len(tokens)):
        starts[part_of[before] + 1] += 1
        before = BEGIN if tokens[at] == END else tokens[at]
    for k in range(len(starts) - 1):
        starts[k + 1] += starts[k]
    ends = starts.copy()
    recent = np.full(order - 1, BEGIN, np.uint32)
    for at in range(len(tokens)):
        part = part_of[recent[0]]
        row = ends[part]
        ends[part] += 1
        for k in range(order - 1):
            rows[row, k] = recent[k]
        rows[row, order - 1] = tokens[at]
        rows[row, order] = 1
        if tokens[at] == END:
            recent[:] = BEGIN
        else:
            for k in range(order - 2, 0, -1):
                recent[k] = recent[k - 1]
            recent[0] = tokens[at]
