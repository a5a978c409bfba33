"""Compiles the functions that write n-grams as lines of ARPA text, and read such lines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled
from siftlm_kernels.ngram_hash_kernel import find, insert, longer, murmur

TAB, LINE_FEED, SPACE, MINUS, POINT, ZERO = 9, 10, 32, 45, 46, 48
MOST_DECIMALS = 17


@compiled
def write_number(value: Any, out: Any, at: Integer) -> Integer:
    """Writes a float32 of at most 0 with the fewest decimals that give it back; returns where it ends."""
    size = -np.float64(value)
    if size == 0.0:
        out[at] = ZERO
        return at + 1
    out[at] = MINUS
    at += 1
    if math.isinf(size):
        out[at], out[at + 1], out[at + 2] = 105, 110, 102
        return at + 3
    scale, decimals = 1.0, 0
    digits = math.floor(size + 0.5)
    while decimals < MOST_DECIMALS and np.float32(digits / scale) != np.float32(size):
        scale, decimals = scale * 10.0, decimals + 1
        digits = math.floor(size * scale + 0.5)
    number = np.int64(digits)
    width = 1
    while 10**width <= number:
        width += 1
    width = max(width, decimals + 1)
    place = at + width + (1 if decimals else 0)
    end = place
    for k in range(width):
        if decimals and k == decimals:
            place -= 1
            out[place] = POINT
        place -= 1
        out[place] = ZERO + number % 10
        number //= 10
    return end


@compiled
def _write_word(word: Integer, values: Any, offsets: Any, out: Any, at: Integer) -> Integer:
    for k in range(offsets[word], offsets[word + 1]):
        out[at] = values[k]
        at += 1
    return at


@compiled
def format_words(logs: Any, backoffs: Any, with_backoff: Any, values: Any, offsets: Any, out: Any) -> Integer:
    """Writes the lines of single words, in the order of their ids; returns the bytes written."""
    at = 0
    for word in range(len(logs)):
        at = write_number(logs[word], out, at)
        out[at] = TAB
        at = _write_word(word, values, offsets, out, at + 1)
        if with_backoff:
            out[at] = TAB
            at = write_number(backoffs[word], out, at + 1)
        out[at] = LINE_FEED
        at += 1
    return at


@compiled
def format_ngrams(
    contexts: Any, starts: Any, padded: Any, words: Any, logs: Any, first: Integer, end: Integer,
    table: Any, floats: Any, base: Integer, buckets: Integer, values: Any, offsets: Any, out: Any,
) -> Integer:  # fmt: skip
    """Writes the lines of the n-grams of some contexts, with the backoff weights that a table has of them.

    The table begins at `base`, which is negative for the highest order, that has none. Returns the bytes written.
    """
    at = 0
    for context in range(first, end):
        if padded[context]:
            continue
        for row in range(starts[context], starts[context + 1]):
            at = write_number(logs[row], out, at)
            out[at] = TAB
            at += 1
            for k in range(contexts.shape[1] - 1, -1, -1):
                at = _write_word(contexts[context, k], values, offsets, out, at)
                out[at] = SPACE
                at += 1
            at = _write_word(words[row], values, offsets, out, at)
            if base >= 0:
                key = np.uint64(words[row])
                for k in range(contexts.shape[1]):
                    key = longer(key, contexts[context, k])
                out[at] = TAB
                at = write_number(floats[find(table, base, buckets, 4, key) + 3], out, at + 1)
            out[at] = LINE_FEED
            at += 1
    return at


GOOD, FIELDS, NUMBER, POSITIVE, UNKNOWN_WORD, TWICE, NO_CONTEXT, FULL, EARLY, WORD_NUMBER = range(10)
"""How reading ends: well, or with what is wrong with a line."""
SIGN = np.uint32(0x80000000)
VALUE = np.uint32(0x7FFFFFFF)
MOST_DIGITS = 18


@compiled
def read_number(values: Any, start: Integer, end: Integer) -> Any:
    """Returns the decimal number between two places, NaN where there is none."""
    at, negative = start, False
    if at < end and (values[at] == MINUS or values[at] == 43):
        negative = values[at] == MINUS
        at += 1
    if end - at >= 3 and values[at] | 32 == 105 and values[at + 1] | 32 == 110 and values[at + 2] | 32 == 102:
        return -np.inf if negative else np.inf
    mantissa: Integer = 0
    digits, scale, seen, point = 0, 0, False, False
    while at < end:
        byte = values[at]
        if byte == POINT and not point:
            point = True
        elif ZERO <= byte <= 57:
            seen = True
            if digits < MOST_DIGITS:
                mantissa = mantissa * 10 + (np.int64(byte) - ZERO)
                digits += mantissa > 0
                scale -= point
            elif not point:
                scale += 1
        else:
            break
        at += 1
    if not seen:
        return np.nan
    if at < end:
        if values[at] | 32 != 101 or at + 1 >= end:
            return np.nan
        at += 1
        down = values[at] == MINUS
        if values[at] == MINUS or values[at] == 43:
            at += 1
        exponent: Integer = 0
        if at >= end:
            return np.nan
        while at < end:
            if not ZERO <= values[at] <= 57:
                return np.nan
            exponent = min(exponent * 10 + (np.int64(values[at]) - ZERO), 9999)
            at += 1
        scale += -exponent if down else exponent
    number = mantissa * 10.0**scale if scale >= 0 else mantissa / 10.0**-scale
    return -number if negative else number


@compiled
def split_line(values: Any, start: Integer, spans: Any) -> Any:
    """Finds the fields of a line between blanks and tabs; returns (fields, where the next line begins)."""
    at, count, size = start, 0, len(values)
    while at < size and values[at] != LINE_FEED:
        byte = values[at]
        if byte in (SPACE, TAB, 13):
            at += 1
            continue
        first = at
        while at < size and values[at] != SPACE and values[at] != TAB and values[at] != LINE_FEED and values[at] != 13:
            at += 1
        if count < len(spans):
            spans[count, 0], spans[count, 1] = first, at
        count += 1
    return count, min(at + 1, size)


@compiled
def float_bits(value: Any, scratch: Any) -> Any:
    """Returns the bits of a float32; `scratch` is one float32."""
    scratch[0] = value
    return scratch.view(np.uint32)[0]


@compiled
def read_words(values: Any, at: Integer, count: Integer, table: Any, layout: Any, unknown: Any, found: Any) -> Any:
    """Reads the lines of single words into a model's table of words and of unigrams.

    Args:
        values: The text of the file, uint8.
        at: Where the first line begins.
        count: How many lines there must be.
        table: The model, uint32, which is filled.
        layout: Where its tables are.
        unknown: The keys of words that are the unknown word, uint64.
        found: [1], whether the unknown word was there, to be set.

    Returns:
        (how it ended, the place of a bad line or of the end).
    """
    spans, scratch, number = np.empty((3, 2), np.int64), np.empty(1, np.float32), 1
    for _ in range(count):
        fields, after = split_line(values, at, spans)
        if fields < 2 or fields > 3:
            return EARLY if fields < 2 and (fields == 0 or values[spans[0, 0]] == 92) else FIELDS, at
        log, backoff = read_number(values, spans[0, 0], spans[0, 1]), 0.0
        if fields == 3:
            backoff = read_number(values, spans[2, 0], spans[2, 1])
        if math.isnan(log) or math.isnan(backoff) or math.isinf(backoff):
            return NUMBER, at
        if log > 0:
            return POSITIVE, at
        key, own = murmur(values, spans[1, 0], spans[1, 1]), 0
        if key == unknown[0] or key == unknown[1]:
            if found[0]:
                return TWICE, at
            found[0] = True
        else:
            own = number
            if find(table, layout[1], layout[2], 3, key) >= 0:
                return TWICE, at
            if insert(table, layout[1], layout[2], 3, key, np.uint32(number), np.uint32(0)) < 0:
                return FULL, at
            number += 1
        place = layout[3] + 2 * own
        table[place] = float_bits(np.float32(log), scratch) | SIGN
        bits = float_bits(np.float32(backoff), scratch)
        table[place + 1] = SIGN if bits == 0 else bits
        at = after
    return GOOD, at


@compiled
def _place(table: Any, layout: Any, key: Any, size: Integer) -> Integer:
    """Where the n-gram of `size` words with a key is in a model, negative where it is not."""
    if size == 1:
        return layout[3] + 2 * np.int64(key)
    return find(table, layout[2 * size], layout[2 * size + 1], 4 if size < layout[0] else 3, key)


@compiled
def _value(size: Integer, place: Integer) -> Integer:
    """Where log10 p of an entry is; the backoff weight is behind it."""
    return place if size == 1 else place + 2


@compiled
def _add_missing(table: Any, floats: Any, layout: Any, ids: Any, keys: Any, size: Integer, scratch: Any) -> Any:
    """Enters the ends of an n-gram that a model was left without, with the probabilities that backing off gives."""
    have = size - 1
    while _place(table, layout, keys[have], have) < 0:
        have -= 1
    total = -abs(np.float64(floats[_value(have, _place(table, layout, keys[have], have))]))
    for n in range(have + 1, size):
        context = np.uint64(ids[1])  # the n - 1 words before the last
        for k in range(2, n):
            context = longer(context, ids[k])
        place = _place(table, layout, context, n - 1)
        if place >= 0:
            total += np.float64(floats[_value(n - 1, place) + 1])
        bits = float_bits(np.float32(total), scratch) | SIGN
        if insert(table, layout[2 * n], layout[2 * n + 1], 4, keys[n], bits, SIGN) < 0:
            return False
        _mark(table, layout, ids, keys, n)
    return True


@compiled
def _mark(table: Any, layout: Any, ids: Any, keys: Any, size: Integer) -> Any:
    """Notes that an n-gram's end goes on to the left, and that its context is one; tells whether that is there."""
    place = _place(table, layout, keys[size - 1], size - 1)
    table[_value(size - 1, place)] &= VALUE
    context = np.uint64(ids[1])
    for k in range(2, size):
        context = longer(context, ids[k])
    place = _place(table, layout, context, size - 1)
    if place < 0:
        return False
    place = _value(size - 1, place) + 1
    if table[place] == SIGN:
        table[place] = 0
    return True


@compiled
def read_ngrams(
    values: Any, at: Integer, size: Integer, count: Integer, table: Any, floats: Any, layout: Any, unknown: Any
) -> Any:
    """Reads the lines of n-grams of `size` words, at least 2, into a model; see `read_words`."""
    spans, scratch = np.empty((size + 2, 2), np.int64), np.empty(1, np.float32)
    ids, keys = np.empty(size, np.uint32), np.empty(size + 1, np.uint64)
    top = size == layout[0]
    for _ in range(count):
        fields, after = split_line(values, at, spans)
        if fields < size + 1 or fields > size + (1 if top else 2):
            ended = fields == 0 or (fields < size + 1 and values[spans[0, 0]] == 92)
            return EARLY if ended else FIELDS, at
        log, backoff = read_number(values, spans[0, 0], spans[0, 1]), 0.0
        if fields == size + 2:
            backoff = read_number(values, spans[size + 1, 0], spans[size + 1, 1])
        if math.isnan(log) or math.isnan(backoff) or math.isinf(backoff):
            return NUMBER, at
        if log > 0:
            return POSITIVE, at
        for k in range(size):
            key = murmur(values, spans[size - k, 0], spans[size - k, 1])
            ids[k] = 0
            if key != unknown[0] and key != unknown[1]:
                place = find(table, layout[1], layout[2], 3, key)
                if place < 0:
                    return UNKNOWN_WORD, at
                ids[k] = table[place + 2]
            keys[k + 1] = longer(keys[k], ids[k]) if k else np.uint64(ids[k])
        bits = float_bits(np.float32(backoff), scratch)
        bits = SIGN if bits == 0 else bits
        if _place(table, layout, keys[size], size) >= 0:
            return TWICE, at
        log_bits = float_bits(np.float32(log), scratch) | SIGN
        base, buckets, width = layout[2 * size], layout[2 * size + 1], 3 if top else 4
        ended = _place(table, layout, keys[size - 1], size - 1) >= 0
        if not ended and not _add_missing(table, floats, layout, ids, keys, size, scratch):
            return FULL, at
        if insert(table, base, buckets, width, keys[size], log_bits, bits) < 0:
            return FULL, at
        if not _mark(table, layout, ids, keys, size):
            return NO_CONTEXT, at
        at = after
    return GOOD, at
