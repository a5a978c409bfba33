"""Compiles the sort of n-grams and the passes from their counts to Kneser-Ney probabilities.

Rows are sorted by the word before the last, the words before it backwards, and the last: so the n-grams of one context
lie together, and contexts with a common end do too, of every order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled
from siftlm_kernels.ngram_hash_kernel import HALF, LOW, longer

BEGIN = 1
DIGIT = 11
BUCKETS = 1 << DIGIT
SHORT = 24  # rows that an insertion sort is faster for


@compiled
def _digits(rows: Any, into: Any, column: Integer, low: Any, shift: Integer, counts: Any) -> Any:
    """Sorts rows by one digit of a column into another array; tells whether there was anything to sort."""
    counts[:] = 0
    for row in range(len(rows)):
        counts[((rows[row, column] - low) >> shift) & (BUCKETS - 1)] += 1
    total = 0
    for k in range(BUCKETS):
        if counts[k] == len(rows):
            return False
        counts[k], total = total, total + counts[k]
    width = rows.shape[1]
    for row in range(len(rows)):
        k = ((rows[row, column] - low) >> shift) & (BUCKETS - 1)
        place = counts[k]
        counts[k] = place + 1
        for c in range(width):
            into[place, c] = rows[row, c]
    return True


@compiled
def sort_rows(rows: Any, spare: Any) -> Any:
    """Sorts rows, uint32 [rows, columns], by all columns but the last; returns whether they are in `spare` now."""
    counts, swapped = np.zeros(BUCKETS, np.int64), False
    for column in range(rows.shape[1] - 2, -1, -1):
        low, high = rows[0, column], rows[0, column]
        for row in range(len(rows)):
            low, high = min(low, rows[row, column]), max(high, rows[row, column])
        shift = 0
        while (high - low) >> shift:
            if _digits(rows, spare, column, low, shift, counts):
                rows, spare, swapped = spare, rows, not swapped
            shift += DIGIT
    return swapped


@compiled
def collapse(rows: Any) -> Integer:
    """Merges equal sorted rows in place and adds up their last column; returns how many are left, or -1.

    -1 is for a count that needs more than 32 bits.
    """
    last, kept = rows.shape[1] - 1, 0
    for row in range(1, len(rows)):
        same = True
        for c in range(last):
            if rows[row, c] != rows[kept, c]:
                same = False
                break
        if same:
            total = np.uint64(rows[kept, last]) + np.uint64(rows[row, last])
            if total > LOW:
                return -1
            rows[kept, last] = np.uint32(total)
        else:
            kept += 1
            for c in range(last + 1):
                rows[kept, c] = rows[row, c]
    return kept + 1 if len(rows) else 0


@compiled
def contexts_of(rows: Any, starts: Any, depths: Any) -> Integer:
    """Finds where contexts begin in sorted rows of the highest order; returns how many there are.

    Fills `starts` and `depths`, int64 [rows + 1]: how many words a context has in common with the one before.
    """
    words, count = rows.shape[1] - 2, 0
    for row in range(len(rows)):
        depth = 0
        while row and depth < words and rows[row, depth] == rows[row - 1, depth]:
            depth += 1
        if row == 0 or depth < words:
            starts[count], depths[count] = row, depth
            count += 1
    starts[count] = len(rows)
    return count


@compiled
def _sort_by_word(keys: Any, spare: Any, size: Integer, counts: Any) -> None:
    """Sorts the first `size` keys by their upper half, in a stable way."""
    if size <= SHORT:
        for at in range(1, size):
            key, place = keys[at], at
            while place and (keys[place - 1] >> HALF) > (key >> HALF):
                keys[place] = keys[place - 1]
                place -= 1
            keys[place] = key
        return
    if size < BUCKETS // 2:
        keys[:size].sort()  # the lower half are ascending numbers, so this is stable
        return
    high = np.uint64(0)
    for at in range(size):
        high = max(high, keys[at] >> HALF)
    shift = np.uint64(0)
    while high >> shift:
        counts[:] = 0
        for at in range(size):
            counts[np.int64((keys[at] >> (HALF + shift)) & np.uint64(BUCKETS - 1))] += 1
        total = 0
        for k in range(BUCKETS):
            counts[k], total = total, total + counts[k]
        for at in range(size):
            digit = np.int64((keys[at] >> (HALF + shift)) & np.uint64(BUCKETS - 1))
            spare[counts[digit]] = keys[at]
            counts[digit] += 1
        keys[:size] = spare[:size]
        shift += np.uint64(DIGIT)


@compiled
def lower_order(
    starts: Any, words: Any, counts: Any, padded: Any, depths: Any, order: Integer, out: Any, links: Any
) -> Any:
    """Makes the n-grams of `order` from those of one word more: each counts the different words to its left.

    Args:
        starts: Where the n-grams of each context begin, int64 [contexts + 1].
        words: The last word of each n-gram, ascending within a context, uint32 [n-grams].
        counts: Their adjusted counts, uint32.
        padded: Which contexts begin with two beginnings of a sentence, which are no n-grams of a model; these hand
            their count down, bool [contexts].
        depths: How many words each context has in common with the one before, int64 [contexts].
        order: The order of the result, at least 2.
        out: (starts, words, counts, whether an n-gram goes on to the left, depths, first context), to be filled.
        links: For each n-gram the number of the one without its first word, uint32, to be filled.

    Returns:
        (contexts, n-grams) of the result.
    """
    new_starts, new_words, new_counts, extends, new_depths, firsts = out
    keys, spare = np.empty(64, np.uint64), np.empty(64, np.uint64)
    digits = np.zeros(BUCKETS, np.int64)
    contexts, grams, at, total = 0, 0, 0, len(starts) - 1
    while at < total:
        end = at + 1
        while end < total and depths[end] >= order - 1:
            end += 1
        new_starts[contexts], new_depths[contexts], firsts[contexts] = grams, depths[at], at
        contexts += 1
        begin, size = starts[at], starts[end] - starts[at]
        if end == at + 1:
            for row in range(begin, begin + size):
                new_words[grams] = words[row]
                new_counts[grams] = counts[row] if padded[at] else 1
                extends[grams] = not padded[at]
                links[row] = grams
                grams += 1
        else:
            if size > len(keys):
                keys, spare = np.empty(2 * size, np.uint64), np.empty(2 * size, np.uint64)
            for row in range(size):
                keys[row] = (np.uint64(words[begin + row]) << HALF) | np.uint64(row)
            _sort_by_word(keys, spare, size, digits)
            for row in range(size):
                word = np.uint32(keys[row] >> HALF)
                if row == 0 or word != new_words[grams - 1]:
                    new_words[grams], new_counts[grams], extends[grams] = word, 0, True
                    grams += 1
                new_counts[grams - 1] += 1
                links[begin + np.int64(keys[row] & LOW)] = grams - 1
        at = end
    new_starts[contexts] = grams
    return contexts, grams


@compiled
def tally(starts: Any, counts: Any, padded: Any, tallies: Any) -> None:
    """Adds to `tallies`, int64 [5], how many n-grams there are, and how many have the counts 1 to 4."""
    for context in range(len(starts) - 1):
        if not padded[context]:
            for row in range(starts[context], starts[context + 1]):
                tallies[0] += 1
                if counts[row] < 5:
                    tallies[counts[row]] += 1


@compiled
def last_row(rows: Any) -> Integer:
    """Returns the row that is last by its last word, then the word before, and so on."""
    best, columns = 0, rows.shape[1] - 2
    for row in range(1, len(rows)):
        larger = rows[row, columns] > rows[best, columns]
        if rows[row, columns] == rows[best, columns]:
            for c in range(columns):
                if rows[row, c] != rows[best, c]:
                    larger = rows[row, c] > rows[best, c]
                    break
        if larger:
            best = row
    return best


@compiled
def shared_counts(rows: Any, of: Integer, raw: Any) -> None:
    """Adds to `raw[n]`, n from 2 on, the counts of rows that share their last n words with row `of`."""
    columns = rows.shape[1] - 2
    for row in range(len(rows)):
        if rows[row, columns] == rows[of, columns]:
            for c in range(columns):
                if rows[row, c] != rows[of, c]:
                    break
                raw[c + 2] += rows[row, columns + 1]


@compiled
def probabilities(
    starts: Any, words: Any, counts: Any, links: Any, lower: Any, discounts: Any, out: Any, backoffs: Any
) -> None:
    """Interpolates n-grams with those of the order below.

    Fills `out` [n-grams] with (c - D(c)) / sum of c + gamma * p(lower), and `backoffs` [contexts] with gamma, the
    sum of D(c) over the sum of c. `lower` are the probabilities that `links` number, or that words do where there
    are no links.
    """
    for context in range(len(starts) - 1):
        total, held = 0.0, 0.0
        for row in range(starts[context], starts[context + 1]):
            total += counts[row]
            held += discounts[min(counts[row], 3)]
        gamma = held / total
        backoffs[context] = gamma
        for row in range(starts[context], starts[context + 1]):
            below = links[row] if len(links) else words[row]
            out[row] = (counts[row] - discounts[min(counts[row], 3)]) / total + gamma * lower[below]


@compiled
def entries(
    starts: Any, words: Any, padded: Any, extends: Any, logs: Any, contexts: Any, keys: Any, firsts: Any, of: Any
) -> Integer:
    """Writes the key and the payload of every n-gram of a model; returns how many there are.

    `contexts` [contexts, words] are backwards. The payload is the float32 log10 p, whose sign says whether a longer
    n-gram ends with this one (then it is taken away), as in KenLM's files. `of` has the keys of contexts.
    """
    count = 0
    for context in range(len(starts) - 1):
        if padded[context]:
            continue
        key = np.uint64(contexts[context, 0])
        for k in range(1, contexts.shape[1]):
            key = longer(key, contexts[context, k])
        of[context] = key
        for row in range(starts[context], starts[context + 1]):
            key = np.uint64(words[row])
            for k in range(contexts.shape[1]):
                key = longer(key, contexts[context, k])
            keys[count] = key
            firsts[count] = logs[row] & np.uint32(0x7FFFFFFF) if extends[row] else logs[row] | np.uint32(0x80000000)
            count += 1
    return count
