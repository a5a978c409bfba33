"""Compiles the functions that score text under an n-gram model in hash tables.

Each order is looked up for all words of a text before the next one, so that the processor waits for many places of
memory at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled
from siftlm_kernels.ngram_hash_kernel import find, longer, murmur

SIGN = np.uint32(0x80000000)
HEAD = 4  # numbers of a layout before those of the orders from 2 on


@compiled
def count_tokens(values: Any, offsets: Any, separators: Any, counts: Any) -> None:
    """Fills `counts` [texts] with the words of each text and the ends of its lines that have words."""
    for text in range(len(counts)):
        total, within, any_word = 0, False, False
        for at in range(offsets[text], offsets[text + 1]):
            byte = values[at]
            if byte == 10:
                total += any_word
                within, any_word = False, False
            elif separators[byte]:
                within = False
            elif not within:
                total, within, any_word = total + 1, True, True
        counts[text] = total + any_word


@compiled
def word_id(values: Any, start: Integer, end: Integer, table: Any, layout: Any) -> Any:
    """Returns the id of a word in a model, 0 for one that it does not know."""
    place = find(table, layout[1], layout[2], 3, murmur(values, start, end))
    return table[place + 2] if place >= 0 else np.uint32(0)


@compiled
def _ids(
    values: Any, start: Integer, stop: Integer, separators: Any, table: Any, layout: Any, marks: Any, ids: Any, at_: Any
) -> Integer:
    """Writes the ids of a text, with the beginning and the end of each line, and each one's place in its line."""
    count, at, within = 0, start, 0
    while at < stop:
        byte = values[at]
        if byte == 10 or separators[byte]:
            if byte == 10 and within:
                ids[count], at_[count] = marks[1], within
                count, within = count + 1, 0
            at += 1
            continue
        first = at
        while at < stop and values[at] != 10 and not separators[values[at]]:
            at += 1
        if not within:
            ids[count], at_[count] = marks[0], 0
            count, within = count + 1, 1
        ids[count], at_[count] = word_id(values, first, at, table, layout), within
        count, within = count + 1, within + 1
    if within:
        ids[count], at_[count] = marks[1], within
        count += 1
    return count


@compiled
def logs(
    values: Any, offsets: Any, separators: Any, table: Any, floats: Any, layout: Any, marks: Any, bounds: Any, out: Any
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
        bounds: Where the tokens of each text begin in `out`, int64 [texts + 1].
        out: float64 [tokens].
    """
    order, longest = layout[0], 1
    for text in range(len(offsets) - 1):
        longest = max(longest, 2 * (bounds[text + 1] - bounds[text]) + 2)
    ids, at_ = np.empty(longest, np.uint32), np.empty(longest, np.int64)
    nodes, prob = np.empty(longest, np.uint64), np.empty(longest, np.float64)
    back = np.zeros((longest, max(1, order - 1)), np.float32)
    found, usable = np.empty(longest, np.int64), np.empty(longest, np.int64)
    for text in range(len(offsets) - 1):
        count = _ids(values, offsets[text], offsets[text + 1], separators, table, layout, marks, ids, at_)
        for t in range(count):
            place = layout[3] + 2 * np.int64(ids[t])
            prob[t], nodes[t], back[t, 0] = -abs(floats[place]), ids[t], floats[place + 1]
            found[t] = -1 if table[place] & SIGN else 1  # negative where no longer n-gram ends so
            usable[t] = order > 1 and table[place + 1] != SIGN
        for n in range(2, order + 1):
            base, buckets, width = layout[HEAD + 2 * n - 4], layout[HEAD + 2 * n - 3], 4 if n < order else 3
            for t in range(count - 1, -1, -1):
                if found[t] != n - 1 or at_[t] < n - 1:
                    continue
                if usable[t - 1] < n - 1:
                    continue
                key = longer(nodes[t], ids[t - n + 1])
                place = find(table, base, buckets, width, key)
                if place < 0:
                    found[t] = -found[t]
                    continue
                prob[t], nodes[t] = -abs(floats[place + 2]), key
                found[t] = -n if table[place + 2] & SIGN else n
                if n < order:
                    back[t, n - 1] = floats[place + 3]
                    if table[place + 3] != SIGN:
                        usable[t] = n
        written = bounds[text]
        for t in range(count):
            if at_[t]:
                total = prob[t]
                for k in range(abs(found[t]), usable[t - 1] + 1):
                    total += back[t - 1, k - 1]
                out[written] = total
                written += 1
