"""Compiles the functions that score text under an n-gram model in hash tables.

Each order is looked up for all words of a text before the next one, so that the processor waits for many places of
memory at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled
from siftlm_kernels.ngram_hash_kernel import find, key_at, longer, murmur

SIGN = np.uint32(0x80000000)
HEAD = 4  # numbers of a layout before those of the orders from 2 on
BLOCK = 1024  # tokens, about, that are looked up together
LINE_FEED = 10


@compiled
def count_tokens(values: Any, offsets: Any, separators: Any, counts: Any) -> Integer:
    """Fills `counts` [texts] with the tokens of each text: words, and the ends of lines with words.

    Returns the tokens of the longest line.
    """
    longest = 0
    for text in range(len(counts)):
        total, within, line = 0, False, 0
        for at in range(offsets[text], offsets[text + 1]):
            byte = values[at]
            if byte == LINE_FEED:
                longest = max(longest, line)
                total += line + (line > 0)
                within, line = False, 0
            elif separators[byte]:
                within = False
            elif not within:
                within, line = True, line + 1
        longest = max(longest, line)
        counts[text] = total + line + (line > 0)
    return longest + 1


@compiled
def word_id(values: Any, start: Integer, end: Integer, table: Any, layout: Any) -> Any:
    """Returns the id of a word in a model, 0 for one that it does not know."""
    place = find(table, layout[1], layout[2], 3, murmur(values, start, end))
    return table[place + 2] if place >= 0 else np.uint32(0)


@compiled
def _probe(table: Any, base: Integer, end: Integer, width: Integer, place: Integer, key: Any) -> Integer:
    """The place of an entry, looked for from its first place on, or -1."""
    while True:
        found = key_at(table, place)
        if found == key:
            return place
        if found == 0:
            return -1
        place += width
        if place == end:
            place = base


@compiled
def _touch(table: Any, places: Any, count: Integer) -> None:
    """Reads from many places without waiting for one before the next, so that they are near when they are needed.

    What was read goes behind the places, else the compiler would leave it out.
    """
    total = np.uint32(0)
    for k in range(count):
        total |= table[places[k]]
    places[len(places) - 1] = total


@compiled
def _look_up_words(count: Integer, table: Any, layout: Any, keys: Any, places: Any, ids: Any) -> None:
    """Fills `ids` of words from their keys; those of beginnings and ends, whose key is 0, are there."""
    base, buckets = layout[1], layout[2]
    for t in range(count):
        places[t] = base + 3 * np.int64(keys[t] % np.uint64(buckets))
    _touch(table, places, count)
    end = base + 3 * buckets
    for t in range(count):
        if keys[t] != 0:
            place = _probe(table, base, end, 3, places[t], keys[t])
            ids[t] = table[place + 2] if place >= 0 else np.uint32(0)


@compiled
def _look_up_ngrams(
    count: Integer, table: Any, floats: Any, layout: Any, at_: Any, ids: Any, keys: Any, places: Any, live: Any,
    logs: Any, found: Any, usable: Any, back: Any,
) -> None:  # fmt: skip
    """Fills `logs` and `found`, log10 p and size of the longest n-gram that ends with each token.

    Fills `back` with the backoff weights of the n-grams of each size that end with it, and `usable` with the size of
    the longest that is a context.
    """
    order, lives = layout[0], 0
    for t in range(count):
        places[t] = layout[3] + 2 * np.int64(ids[t])
    _touch(table, places, count)
    for t in range(count):
        place = places[t]
        logs[t], keys[t], back[t, 0], found[t] = -abs(floats[place]), ids[t], floats[place + 1], 1
        usable[t] = table[place + 1] != SIGN
        if not table[place] & SIGN and at_[t]:
            live[lives] = t
            lives += 1
    for n in range(2, order + 1):
        base, buckets, width = layout[HEAD + 2 * n - 4], layout[HEAD + 2 * n - 3], 4 if n < order else 3
        end, wanted = base + width * buckets, 0
        for k in range(lives):
            t = live[k]
            if at_[t] >= n - 1 and usable[t - 1] >= n - 1:
                keys[t] = longer(keys[t], ids[t - n + 1])
                places[wanted] = base + width * np.int64(keys[t] % np.uint64(buckets))
                live[wanted] = t
                wanted += 1
        _touch(table, places, wanted)
        lives = 0
        for k in range(wanted):
            t = live[k]
            place = _probe(table, base, end, width, places[k], keys[t])
            if place >= 0:
                logs[t], found[t] = -abs(floats[place + 2]), n
                if n < order:
                    back[t, n - 1] = floats[place + 3]
                    if table[place + 3] != SIGN:
                        usable[t] = n
                    if not table[place + 2] & SIGN:
                        live[lives] = t
                        lives += 1


@compiled
def logs(
    values: Any,
    offsets: Any,
    separators: Any,
    table: Any,
    floats: Any,
    layout: Any,
    marks: Any,
    longest: Integer,
    out: Any,
) -> None:
    """Fills `out` with log10 P of every token of every text, given all before it in its line.

    Args:
        values: Bytes of all texts, uint8.
        offsets: Where each begins, int64 [texts + 1].
        separators: Which bytes part words, bool [256]; a line feed ends a line.
        table: The model's file or memory, uint32.
        floats: The same as float32.
        layout: The order; where the table of words begins, and its entries; where the unigrams begin; then where the
            table of each longer n-gram begins, and its entries. Places count uint32.
        marks: Ids of the beginning and the end of a sentence.
        longest: Tokens of the longest line.
        out: float64 [tokens].
    """
    size = BLOCK + longest + 3
    ids, at_, keys = np.empty(size, np.uint32), np.empty(size, np.int64), np.empty(size, np.uint64)
    places, live, found = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    values_of, usable = np.empty(size, np.float64), np.empty(size, np.int64)
    back = np.empty((size, max(1, layout[0] - 1)), np.float32)
    count, within, written, texts = 0, 0, 0, len(offsets) - 1
    for text in range(texts):
        at, stop = offsets[text], offsets[text + 1]
        while True:
            while at < stop and separators[values[at]]:
                at += 1
            if at < stop and values[at] != LINE_FEED:
                start = at
                while at < stop and values[at] != LINE_FEED and not separators[values[at]]:
                    at += 1
                if not within:
                    ids[count], at_[count], keys[count] = marks[0], 0, 0
                    count, within = count + 1, 1
                at_[count], keys[count] = within, murmur(values, start, at)
                count, within = count + 1, within + 1
                continue
            if within:
                ids[count], at_[count], keys[count] = marks[1], within, 0
                count, within = count + 1, 0
            if count >= BLOCK or (text == texts - 1 and at >= stop):
                _look_up_words(count, table, layout, keys, places, ids)
                _look_up_ngrams(
                    count, table, floats, layout, at_, ids, keys, places, live, values_of, found, usable, back
                )
                for t in range(count):
                    if at_[t]:
                        total = values_of[t]
                        for k in range(found[t], usable[t - 1] + 1):
                            total += np.float64(back[t - 1, k - 1])
                        out[written] = total
                        written += 1
                count = 0
            if at >= stop:
                break
            at += 1
