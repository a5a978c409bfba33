"""Compiles the functions of `minhash`: shingle hashes, signatures and band hashes of UTF-8 bytes.

A document passes through blocks that stay in the first-level cache, in four steps: `_normalise` (lower case, NUL
between words), `_edges` (where words begin and end, 64 bytes at a time), `_hash_words` and `_roll` (shingles), and
`_sweep` (minima under all permutations). Vectors are written in LLVM's own terms, so they compile on every machine.

All that may change is in this one file, because numba's cache looks at the file of the outermost function alone;
tables come as arguments for the same reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic

from siftlm_kernels.compiling import Integer, compiled
from siftlm_kernels.splitmix import mix, step

BLOCK_BYTES = 4096
_BUFFER_BYTES = 2 * BLOCK_BYTES + 256  # a character grows by at most two thirds, and stores run ahead
_LANES = 32
PERMUTATION_LANES = 8

WORD_SEED = np.uint64(0x9E3779B97F4A7C15)
SHINGLE_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_32 = np.uint64(32)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW_56 = np.uint64(0x00FFFFFFFFFFFFFF)
MAX_HASH = np.uint32(0xFFFFFFFF)


def _pointer(context: Any, builder: Any, signature: Any, args: Any, of: int, at: int, kind: Any) -> Any:
    """The address of element `args[at]` of the array `args[of]`, to be read or written as `kind` at any alignment."""
    array = cgutils.create_struct_proxy(signature.args[of])  # type: ignore[no-untyped-call]
    base = array(context, builder, value=args[of]).data
    return builder.bitcast(builder.gep(base, [args[at]]), kind.as_pointer())


def _load_u64_code(_typing: Any, array: Any, _index: Any) -> Any:
    """Eight bytes from `array[index]` on, little-endian where the machine is."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args, 0, 1, ir.IntType(64)), align=1)

    return types.uint64(array, types.intp), generate


def _store_u64_code(_typing: Any, array: Any, _index: Any, _value: Any) -> Any:
    """Writes eight bytes from `array[index]` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature, args, 0, 1, ir.IntType(64)), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.uint64), generate


def _normalise_ascii_code(_typing: Any, source: Any, _at: Any, target: Any, _to: Any) -> Any:
    """Writes 32 bytes, lower-cased, NUL for separators; returns the bit mask of those that are not ASCII."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), _LANES)

        def every(byte: int) -> Any:
            return ir.Constant(vector, [byte] * _LANES)

        text = builder.load(_pointer(context, builder, signature, args, 0, 1, vector), align=1)
        lower = builder.or_(text, every(0x20))
        letter = builder.icmp_unsigned("<", builder.sub(lower, every(ord("a"))), every(26))
        digit = builder.icmp_unsigned("<", builder.sub(text, every(ord("0"))), every(10))
        other = builder.or_(digit, builder.icmp_unsigned("==", text, every(ord("_"))))
        words = builder.select(letter, lower, builder.select(other, text, every(0)))
        builder.store(words, _pointer(context, builder, signature, args, 2, 3, vector), align=1)
        return builder.bitcast(builder.icmp_signed("<", text, every(0)), ir.IntType(_LANES))

    return types.uint32(source, types.intp, target, types.intp), generate


def _word_mask_code(_typing: Any, array: Any, _index: Any) -> Any:
    """The bit mask of the bytes other than NUL among 64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        text = builder.load(_pointer(context, builder, signature, args, 0, 1, vector), align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", text, ir.Constant(vector, [0] * 64)), ir.IntType(64))

    return types.uint64(array, types.intp), generate


def _lower_code(_typing: Any, a: Any, b: Any, minima: Any, _at: Any, _w: Any, _x: Any, _y: Any, _z: Any) -> Any:
    """Lowers eight minima by the lower 32 bits of four hashes under eight permutations."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(32), PERMUTATION_LANES)
        places = [_pointer(context, builder, signature, args, k, 3, vector) for k in range(3)]
        factor, mask, least = (builder.load(place, align=4) for place in places)
        zeros = ir.Constant(vector, [0] * PERMUTATION_LANES)
        first = ir.Constant(ir.IntType(32), 0)
        for h in args[4:]:
            one = builder.insert_element(zeros, builder.trunc(h, ir.IntType(32)), first)
            permuted = builder.mul(builder.xor(builder.shuffle_vector(one, one, zeros), mask), factor)
            least = builder.select(builder.icmp_unsigned("<", permuted, least), permuted, least)
        builder.store(least, places[2], align=4)
        return context.get_dummy_value()

    return types.void(a, b, minima, types.intp, *[types.uint64] * 4), generate


_load_u64: Any = intrinsic(_load_u64_code)
_store_u64: Any = intrinsic(_store_u64_code)
_normalise_ascii: Any = intrinsic(_normalise_ascii_code)
_word_mask: Any = intrinsic(_word_mask_code)
_lower: Any = intrinsic(_lower_code)
_trailing_zeros: Any = trailing_zeros


@compiled
def _decode(values: Any, at: Integer, end: Integer) -> tuple[Integer, Integer]:
    """(code point, bytes) at `values[at]`; (U+FFFD, 1) where no well-formed UTF-8 sequence begins."""
    first = int(values[at])
    if first < 0x80:
        return first, 1
    size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if first < 0xC2 or first > 0xF4 or at + size > end:
        return 0xFFFD, 1
    point = first & (0x7F >> size)
    for k in range(1, size):
        byte = int(values[at + k])
        if byte & 0xC0 != 0x80:
            return 0xFFFD, 1
        point = point << 6 | byte & 0x3F
    overlong = (size == 3 and point < 0x800) or (size == 4 and point < 0x10000)
    if overlong or 0xD800 <= point < 0xE000 or point > 0x10FFFF:
        return 0xFFFD, 1
    return point, size


@compiled
def _write(values: Any, at: Integer, end: Integer, table: Any, text: Any, to: Integer) -> tuple[Integer, Integer]:
    """Writes what the character at `values[at]` adds to `text[to:]`; returns where the next ones are read and go."""
    point, size = _decode(values, at, end)
    entry = table[point]
    _store_u64(text, to, entry & _LOW_56)
    return at + size, to + np.int64(entry >> np.uint64(56))


@compiled
def _normalise(
    values: Any, at: Integer, stop: Integer, end: Integer, table: Any, text: Any, to: Integer
) -> tuple[Integer, Integer]:
    """Fills `text[to:]` from `values[at:]` until `stop` is passed; returns (next position, length of text)."""
    while at < stop:
        if at + _LANES <= end:
            ascii_bytes = min(np.int64(_trailing_zeros(np.uint64(_normalise_ascii(values, at, text, to)))), _LANES)
            at += ascii_bytes
            to += ascii_bytes
            if ascii_bytes == _LANES:
                continue
        at, to = _write(values, at, end, table, text, to)
        while at < stop and values[at] >= 0x80:
            at, to = _write(values, at, end, table, text, to)
    return at, to


@compiled
def _edges(text: Any, length: Integer, is_open: bool, edges: Any) -> Integer:
    """Positions where words begin and end, in turn; `is_open`: the text begins inside a word. Returns how many."""
    count, inside = 0, np.uint64(0)
    if is_open:
        edges[0] = 0
        count, inside = 1, np.uint64(1)
    for base in range(0, length, 64):
        mask = _word_mask(text, base)
        changes = mask ^ (mask << np.uint64(1) | inside)
        inside = mask >> np.uint64(63)
        while changes:
            edges[count] = base + np.int64(_trailing_zeros(changes))
            count += 1
            changes &= changes - np.uint64(1)
    return count


@compiled
def _load_chunk(text: Any, start: Integer, length: Integer) -> Any:
    """The first `length` bytes of eight, 1 to 8."""
    return _load_u64(text, start) & (_ALL >> np.uint64(64 - 8 * length))


@compiled
def _hash_bytes(text: Any, start: Integer, stop: Integer, h: Any) -> Any:
    """The word hash `h` continued over `text[start:stop]`, zero-padded to a multiple of 8."""
    while stop - start > 8:
        h = step(h, _load_u64(text, start))
        start += 8
    if stop > start:
        h = step(h, _load_chunk(text, start, stop - start))
    return h


@compiled
def _hash_words(text: Any, edges: Any, count: Integer, words: Any, to: Integer) -> None:
    """Hashes of the words between pairs of edges into `words[to:]`, without a branch up to 16 bytes."""
    for k in range(count // 2):
        start = np.int64(edges[2 * k])
        length = np.int64(edges[2 * k + 1]) - start
        h = step(WORD_SEED, _load_chunk(text, start, max(1, min(length, 8))))
        longer = step(h, _load_chunk(text, start + 8, max(1, min(length - 8, 8))))
        h = longer if length > 8 else h
        if length > 16:
            h = _hash_bytes(text, start + 16, start + length, h)
        words[to + k] = h


@compiled
def _next_block(
    values: Any, at: Integer, end: Integer, table: Any, text: Any, edges: Any, words: Any, to: Integer, state: Any
) -> tuple[Integer, Integer]:
    """Hashes of the words that end in the next block into `words[to:]`; returns (next position, how many).

    `state` holds what is left of a word that the block's end cuts: [bytes at the start of `text`, open, hash].
    """
    at, length = _normalise(values, at, min(at + BLOCK_BYTES, end), end, table, text, np.int64(state[0]))
    for k in range(length, length + 64):
        text[k] = 0
    h, is_open = (state[2], True) if state[1] else (WORD_SEED, False)
    count = _edges(text, length + 1, is_open, edges)
    if at < end and count and edges[count - 1] == length:
        count -= 1  # the NUL behind the text is not the document's: its last word goes on
    _hash_words(text, edges, count, words, to)
    if is_open and count > 1:
        words[to] = _hash_bytes(text, np.int64(edges[0]), np.int64(edges[1]), h)
    _carry(text, length, edges, count, h, state)
    return at, count // 2


@compiled
def _carry(text: Any, length: Integer, edges: Any, count: Integer, h: Any, state: Any) -> None:
    """Keeps the open word for the next block: whole chunks of 8 bytes hashed, the rest at the start of `text`."""
    state[0], state[1], state[2] = 0, 0, 0
    if count % 2 == 0:
        return
    start = np.int64(edges[count - 1])
    left = (length - start) % 8
    state[2] = _hash_bytes(text, start, length - left, h if count == 1 else WORD_SEED)
    state[0], state[1] = left, 1
    for k in range(left):
        text[k] = text[length - left + k]


@compiled
def _roll(words: Any, count: Integer, ngram: Integer, power: Any, rolled: Any, skip: Integer, out: Any) -> Any:
    """Shingle hashes that end at words `words[ngram : ngram + count]` but the first `skip`; `words[:ngram]` precede."""
    for k in range(min(skip, count)):
        rolled = rolled * SHINGLE_FACTOR + words[ngram + k] - words[k] * power
    for k in range(min(skip, count), count):
        rolled = rolled * SHINGLE_FACTOR + words[ngram + k] - words[k] * power
        out[k - skip] = mix(rolled)
    for k in range(ngram):
        words[k] = words[count + k]
    return rolled


@compiled
def _sweep(hashes: Any, count: Integer, a: Any, b: Any, minima: Any) -> None:
    """Lowers the minima by `count` shingles, four at a time; repeats of the last one fill up the four.

    The first half of the minima takes the upper 32 bits of a hash, the second half the lower ones.
    """
    half = len(minima) // 2
    for k in range(count, count + 3):
        hashes[k] = hashes[count - 1]
    for k in range(0, count, 4):
        w, x, y, z = hashes[k], hashes[k + 1], hashes[k + 2], hashes[k + 3]
        for p in range(0, half, PERMUTATION_LANES):
            _lower(a, b, minima, p, w >> _32, x >> _32, y >> _32, z >> _32)
        for p in range(half, 2 * half, PERMUTATION_LANES):
            _lower(a, b, minima, p, w, x, y, z)


@compiled
def _next_shingles(
    values: Any, at: Integer, end: Integer, table: Any, ngram: Integer, scratch: Any, out: Any
) -> tuple[Integer, Integer]:
    """Shingles that end in the next block into `out`; returns (next position, how many).

    The last block of a document with fewer words than `ngram`, but one at least, gives the shingle of them all.
    """
    text, edges, words, state = scratch
    seen, rolled = np.int64(state[3]), state[4]
    at, count = _next_block(values, at, end, table, text, edges, words, ngram, state)
    skip = max(0, ngram - 1 - seen)
    rolled = _roll(words, count, ngram, state[5], rolled, skip, out)
    state[3], state[4] = seen + count, rolled
    if at >= end and 0 < seen + count < ngram:
        out[0] = mix(rolled)
        return at, 1
    return at, max(0, count - skip)


@compiled
def _new_scratch(ngram: Integer) -> Any:
    """Working memory of one call: text, edges, words after `ngram` earlier ones, state.

    The state is [bytes carried, word open, its hash, words seen, rolling hash, factor ** ngram].
    """
    state = np.zeros(6, np.uint64)
    state[5] = 1
    for _ in range(ngram):
        state[5] *= SHINGLE_FACTOR
    text = np.zeros(_BUFFER_BYTES, np.uint8)
    return text, np.empty(_BUFFER_BYTES, np.int32), np.zeros(_BUFFER_BYTES // 2 + ngram, np.uint64), state


@compiled
def _begin(ngram: Integer, scratch: Any) -> None:
    scratch[3][:5] = 0
    scratch[2][:ngram] = 0


@compiled
def _sign(
    values: Any, at: Integer, end: Integer, table: Any, ngram: Integer, a: Any, b: Any, scratch: Any, hashes: Any,
    minima: Any, out: Any,
) -> Any:  # fmt: skip
    """Writes the signature of `values[at:end]`; returns whether it has words.

    The minima are those of the even permutations, then those of the odd ones, as `a` and `b` are; each half is
    filled up to a multiple of `PERMUTATION_LANES`.
    """
    _begin(ngram, scratch)
    minima[:] = MAX_HASH
    while at < end:
        at, count = _next_shingles(values, at, end, table, ngram, scratch, hashes)
        if count:
            _sweep(hashes, count, a, b, minima)
    half = len(minima) // 2
    for p in range(len(out)):
        out[p] = minima[p // 2 + half * (p % 2)]
    return scratch[3][3] > 0


@compiled
def signatures(values: Any, offsets: Any, table: Any, ngram: Integer, a: Any, b: Any, out: Any) -> None:
    """Fills `out` with the signature of every document, uint32 (documents, permutations).

    `a` and `b` hold the even permutations, then the odd ones.
    """
    scratch, hashes = _new_scratch(ngram), np.empty(_BUFFER_BYTES // 2 + 4, np.uint64)
    minima = np.empty(len(a), np.uint32)
    for row in range(len(offsets) - 1):
        _sign(values, offsets[row], offsets[row + 1], table, ngram, a, b, scratch, hashes, minima, out[row])


@compiled
def _band(signature: Any, index: Integer, rows: Integer) -> Any:
    h = step(WORD_SEED, np.uint64(index))
    for k in range(index * rows, (index + 1) * rows):
        h = step(h, np.uint64(signature[k]))
    return mix(h)


@compiled
def hash_bands(matrix: Any, rows: Integer, out: Any) -> None:
    """Fills `out` with the band keys of signatures, uint64 (documents, bands)."""
    for row in range(len(out)):
        for band in range(out.shape[1]):
            out[row, band] = _band(matrix[row], band, rows)


@compiled
def signature_bands(
    values: Any, offsets: Any, table: Any, ngram: Integer, a: Any, b: Any, rows: Integer, out: Any, has_words: Any
) -> None:
    """Fills `out` with every document's band keys, keeping one signature in memory at a time.

    `out` is uint64 (documents, bands); `has_words` says which documents have words.
    """
    scratch, hashes = _new_scratch(ngram), np.empty(_BUFFER_BYTES // 2 + 4, np.uint64)
    minima, signature = np.empty(len(a), np.uint32), np.empty(out.shape[1] * rows, np.uint32)
    for row in range(len(offsets) - 1):
        has_words[row] = _sign(
            values, offsets[row], offsets[row + 1], table, ngram, a, b, scratch, hashes, minima, signature
        )
        for band in range(out.shape[1]):
            out[row, band] = _band(signature, band, rows)


@compiled
def shingles(values: Any, offsets: Any, table: Any, ngram: Integer, out: Any, counts: Any) -> None:
    """Fills `out`, uint64, with all documents' shingle hashes in order, and `counts` with each document's number."""
    scratch, total = _new_scratch(ngram), 0
    for row in range(len(offsets) - 1):
        _begin(ngram, scratch)
        at, end, first = offsets[row], offsets[row + 1], total
        while at < end:
            at, count = _next_shingles(values, at, end, table, ngram, scratch, out[total:])
            total += count
        counts[row] = total - first


@compiled
def _find(table: Any, h: Any) -> Integer:
    """The slot that holds `h`, or the free one (0) where it belongs; `h` is not 0."""
    mask = np.uint64(len(table) - 1)
    slot = h & mask
    while table[slot] != 0 and table[slot] != h:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@compiled
def _collect(hashes: Any) -> tuple[Any, Integer]:
    """(hash table of the distinct values, how many); they move to the front of `hashes`."""
    size = 2
    while size < 2 * len(hashes):
        size *= 2
    table, count = np.zeros(size, np.uint64), 0
    for k in range(len(hashes)):
        h = max(hashes[k], np.uint64(1))
        slot = _find(table, h)
        if table[slot] == 0:
            table[slot] = hashes[count] = h
            count += 1
    return table, count


@compiled
def jaccard(hashes: Any, starts: Any, pairs: Any, out: Any) -> None:
    """Fills `out`, float64 (pairs,), with the Jaccard similarity of documents, whose shingle hashes are reordered."""
    sizes = np.empty(len(starts) - 1, np.int64)
    for row in range(len(sizes)):
        sizes[row] = _collect(hashes[starts[row] : starts[row + 1]])[1]
    table, built = np.zeros(2, np.uint64), np.int64(-1)
    for k in range(len(pairs)):
        first, second = pairs[k]
        if first != built:
            table, built = _collect(hashes[starts[first] : starts[first] + sizes[first]])[0], first
        common = 0
        for h in hashes[starts[second] : starts[second] + sizes[second]]:
            common += table[_find(table, h)] == h
        union = sizes[first] + sizes[second] - common
        out[k] = common / union if union else 0.0


@compiled
def spaced(values: Any, offsets: Any, table: Any, out: Any, ends: Any) -> None:
    """Fills `out` with every document's lower-cased words joined by one space, and `ends` with their ends."""
    text, to = np.empty(_BUFFER_BYTES, np.uint8), 0
    for row in range(len(offsets) - 1):
        at, end, first, gap = offsets[row], offsets[row + 1], to, False
        while at < end:
            at, length = _normalise(values, at, min(at + BLOCK_BYTES, end), end, table, text, 0)
            for k in range(length):
                if text[k] and gap and to > first:
                    out[to] = 0x20
                    to += 1
                gap = text[k] == 0
                out[to] = text[k]
                to += not gap
        ends[row] = to
