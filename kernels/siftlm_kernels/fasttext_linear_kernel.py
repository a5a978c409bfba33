"""Compiles the functions that turn UTF-8 text into label probabilities of a fastText model.

They sum the model's rows for each text, and compute probabilities from the sums.
Everything compiled is in this one file, because numba's cache looks at the file of the outermost function alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from siftlm_kernels.compiling import compiled, compiled_for

_FNV_SEED = np.uint32(2166136261)
_FNV_PRIME = np.uint32(16777619)
_NGRAM_PRIME = np.uint64(116049371)
_GOLDEN = np.uint32(2654435769)
_BEGIN_MARK, _END_MARK = 60, 62  # `<` and `>`
_LABEL_PREFIX = np.frombuffer(b"__label__", np.uint8).copy()
_EOS = np.frombuffer(b"</s>", np.uint8).copy()
_SHORT = 8  # bytes of a word that its key holds whole
SIGMOID_STEPS = 512
SIGMOID_BOUND = 8.0
LOG_OFFSET = 1e-5  # fastText reports exp(log(p + 1e-5))


_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_ROWS = types.Array(types.float32, 2, "C", readonly=True)


class Vocabulary(NamedTuple):
    """Holds a hash table (open addressing) of the words and labels of a model.

    `entries` holds 2 * entry + (1 where it is longer than 8 bytes), or -1 for a free slot.
    """

    keys: npt.NDArray[np.uint64]
    entries: npt.NDArray[np.int32]
    entry_bytes: npt.NDArray[np.uint8]
    entry_offsets: npt.NDArray[np.int64]
    words: int


class Shape(NamedTuple):
    """Holds the settings by which words and n-grams of a text select rows of the model.

    `bucket_rows` is empty where bucket b is row words + b.
    """

    word_ngrams: int
    bucket: int
    minn: int
    maxn: int
    bucket_bits: npt.NDArray[np.uint8]
    bucket_rows: npt.NDArray[np.int32]


@compiled
def _is_space(byte: Any) -> Any:
    """fastText's white space: space, newline, return, tab, vertical tab, form feed and NUL."""
    return byte == 32 or (9 <= byte <= 13) or byte == 0


@compiled
def _key(values: Any, start: int, end: int) -> np.uint64:
    key = np.uint64(0)
    for i in range(start, min(end, start + _SHORT)):
        key = key << np.uint64(8) | np.uint64(values[i])
    return key


@compiled
def _hash(values: Any, start: int, end: int) -> np.uint32:
    """FNV-1a, with each byte sign-extended as fastText does."""
    h = _FNV_SEED
    for i in range(start, end):
        h = np.uint32((h ^ np.uint32(np.int8(values[i]))) * _FNV_PRIME)
    return h


@compiled
def _same(values: Any, start: int, end: int, other: Any, begin: int, stop: int) -> bool:
    if end - start != stop - begin:
        return False
    for k in range(end - start):  # noqa: SIM110 (numba compiles no generators)
        if values[start + k] != other[begin + k]:
            return False
    return True


@compiled
def _find(values: Any, start: int, end: int, h: np.uint32, key: np.uint64, vocabulary: Any) -> Any:
    """The entry that these bytes are, or -1."""
    mask = np.uint32(len(vocabulary.keys) - 1)
    slot = (np.uint32(h * _GOLDEN) >> np.uint32(7)) & mask
    long = np.int64(end - start > _SHORT)
    while True:
        entry = vocabulary.entries[slot]
        if entry < 0:
            return -1
        if vocabulary.keys[slot] == key and (entry & 1) == long:
            name = entry >> 1
            if not long:  # the key is the word: no word holds a NUL, so it tells the size too
                return name
            begin, stop = vocabulary.entry_offsets[name], vocabulary.entry_offsets[name + 1]
            if _same(values, start, end, vocabulary.entry_bytes, begin, stop):
                return name
        slot = (slot + np.uint32(1)) & mask


@compiled_for(types.void(_BYTES, _OFFSETS, types.uint64[::1], types.int32[::1]))
def fill_vocabulary(entry_bytes: Any, entry_offsets: Any, keys: Any, entries: Any) -> None:
    """Enters every word and label into a hash table of power-of-two length, whose `entries` must be -1 before."""
    mask = np.uint32(len(keys) - 1)
    for name in range(len(entry_offsets) - 1):
        start, end = entry_offsets[name], entry_offsets[name + 1]
        slot = (np.uint32(_hash(entry_bytes, start, end) * _GOLDEN) >> np.uint32(7)) & mask
        while entries[slot] >= 0:
            slot = (slot + np.uint32(1)) & mask
        keys[slot] = _key(entry_bytes, start, end)
        entries[slot] = 2 * name + (end - start > _SHORT)


@compiled
def _add(rows: Any, row: int, total: Any) -> None:
    for k in range(len(total)):
        total[k] += rows[row, k]


@compiled
def _bucket_row(bucket: Any, shape: Any) -> Any:
    """The row of a bucket behind the words; -1 where pruning took it."""
    if len(shape.bucket_bits) == 0:
        return bucket
    if shape.bucket_bits[bucket >> 3] >> (bucket & 7) & 1:
        return np.int64(shape.bucket_rows[bucket])
    return -1


@compiled
def _add_subwords(marked: Any, size: int, shape: Any, ngram_rows: Any, total: Any) -> int:
    """Adds the character n-grams of the `size` bytes in `marked` (a word between its marks); how many."""
    added = 0
    for i in range(size):
        if marked[i] & 0xC0 == 0x80:
            continue
        h = _FNV_SEED
        j = i
        n = 0
        while j < size and n < shape.maxn:
            h = np.uint32((h ^ np.uint32(np.int8(marked[j]))) * _FNV_PRIME)
            j += 1
            while j < size and marked[j] & 0xC0 == 0x80:
                h = np.uint32((h ^ np.uint32(np.int8(marked[j]))) * _FNV_PRIME)
                j += 1
            n += 1
            if n >= shape.minn and not (n == 1 and (i == 0 or j == size)):
                row = _bucket_row(np.int64(h % np.uint32(shape.bucket)), shape)
                if row >= 0:
                    _add(ngram_rows, row, total)
                    added += 1
    return added


@compiled
def _mark(values: Any, start: int, end: int, marked: Any) -> int:
    """Copies a word between its marks; the size with them."""
    marked[0] = _BEGIN_MARK
    for i in range(start, end):
        marked[1 + i - start] = values[i]
    marked[1 + end - start] = _END_MARK
    return end - start + 2


@compiled
def _add_word_ngrams(hashes: Any, n_hashes: int, shape: Any, ngram_rows: Any, total: Any) -> int:
    """Adds the word n-grams of 2 to `word_ngrams` words; how many."""
    added = 0
    bucket = np.uint64(shape.bucket)
    for i in range(n_hashes):
        h = np.uint64(np.int64(hashes[i]))
        for j in range(i + 1, min(n_hashes, i + shape.word_ngrams)):
            h = h * _NGRAM_PRIME + np.uint64(np.int64(hashes[j]))
            row = _bucket_row(np.int64(h % bucket), shape)
            if row >= 0:
                _add(ngram_rows, row, total)
                added += 1
    return added


@compiled
def _add_bigrams(hashes: Any, n_hashes: int, shape: Any, ngram_rows: Any) -> tuple[np.float32, int]:
    """The sum of `_add_word_ngrams` where n is 2, all buckets are there and a row is one number."""
    total = np.float32(0)
    bucket = np.uint64(shape.bucket)
    for i in range(n_hashes - 1):
        h = np.uint64(np.int64(hashes[i])) * _NGRAM_PRIME + np.uint64(np.int64(hashes[i + 1]))
        total += ngram_rows[np.int64(h % bucket), 0]
    return total, max(0, n_hashes - 1)


@compiled
def _is_label(values: Any, start: int, end: int) -> bool:
    size = len(_LABEL_PREFIX)
    return end - start >= size and _same(values, start, start + size, _LABEL_PREFIX, 0, size)


@compiled
def _add_words(
    values: Any, begin: int, end: int, vocabulary: Any, shape: Any, word_rows: Any, word_sizes: Any,
    ngram_rows: Any, hashes: Any, marked: Any, total: Any,
) -> tuple[int, int]:  # fmt: skip
    """Adds the words of one text, its end mark included; (rows added, hashes kept).

    `word_sizes` says how many rows a row of `word_rows` is the sum of; where it is empty they are single rows, and
    the character n-grams of known words are added one by one, in fastText's own order.
    """
    presummed = len(word_sizes) > 0
    eos_hash, eos_key = _hash(_EOS, 0, 4), _key(_EOS, 0, 4)
    added = kept = 0
    i = begin
    last = False
    while not last:
        while i < end and _is_space(values[i]):
            i += 1
        start = i
        h, key = _FNV_SEED, np.uint64(0)
        while i < end and not _is_space(values[i]):
            if i - start < _SHORT:
                key = key << np.uint64(8) | np.uint64(values[i])
            h = np.uint32((h ^ np.uint32(np.int8(values[i]))) * _FNV_PRIME)
            i += 1
        if start == end:
            last = True
            entry = _find(_EOS, 0, 4, eos_hash, eos_key, vocabulary)
            h = eos_hash
        else:
            last = i - start == 4 and key == eos_key
            entry = _find(values, start, i, h, key, vocabulary)
        if entry >= vocabulary.words or (entry < 0 and not last and _is_label(values, start, i)):
            continue
        if entry >= 0:
            _add(word_rows, entry, total)
            added += word_sizes[entry] if presummed else 1
        if shape.maxn > 0 and not last and not (entry >= 0 and presummed):
            added += _add_subwords(marked, _mark(values, start, i, marked), shape, ngram_rows, total)
        if shape.word_ngrams > 1:
            hashes[kept] = np.int32(h)
            kept += 1
    return added, kept


_VOCABULARY = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.uint64[::1], types.int32[::1], types.uint8[::1], types.int64[::1], types.int64], Vocabulary
)
_SHAPE = types.NamedTuple(  # type: ignore[no-untyped-call]
    [types.int64, types.int64, types.int64, types.int64, types.uint8[::1], types.int32[::1]], Shape
)


@compiled_for(
    types.void(
        _BYTES, _OFFSETS, _VOCABULARY, _SHAPE, _ROWS, types.int32[::1], _ROWS, types.float32[:, ::1], types.int64[::1]
    ),
)  # fmt: skip
def sum_rows(
    values: Any, offsets: Any, vocabulary: Any, shape: Any, word_rows: Any, word_sizes: Any, ngram_rows: Any,
    sums: Any, added: Any,
) -> None:  # fmt: skip
    """Fills `sums` (documents, width) with the sum of each text's model rows, and `added` with their number.

    Args:
        values, offsets: UTF-8 texts.
        word_rows: one row a word of the vocabulary; see `_add_words` for `word_sizes`.
        ngram_rows: the rows behind the words.
    """
    longest = 0
    for d in range(len(offsets) - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    hashes = np.empty(longest // 2 + 2 if shape.word_ngrams > 1 else 0, np.int32)
    marked = np.empty(longest + 2 if shape.maxn > 0 else 0, np.uint8)
    scalar = shape.word_ngrams == 2 and sums.shape[1] == 1 and len(shape.bucket_bits) == 0
    for d in range(len(offsets) - 1):
        total = sums[d]
        total[:] = 0
        added[d], kept = _add_words(
            values, offsets[d], offsets[d + 1], vocabulary, shape, word_rows, word_sizes, ngram_rows, hashes, marked,
            total,
        )  # fmt: skip
        if scalar:
            bigrams, count = _add_bigrams(hashes, kept, shape, ngram_rows)
            total[0] += bigrams
            added[d] += count
        elif shape.word_ngrams > 1:
            added[d] += _add_word_ngrams(hashes, kept, shape, ngram_rows, total)


@compiled_for(
    types.void(_BYTES, _OFFSETS, types.int64, _SHAPE, _ROWS, _ROWS, types.float32[:, ::1], types.int32[::1]),
)  # fmt: skip
def sum_subwords(
    entry_bytes: Any, entry_offsets: Any, words: int, shape: Any, word_rows: Any, ngram_rows: Any, sums: Any,
    sizes: Any,
) -> None:  # fmt: skip
    """Fills `sums` with each word's own row plus its character n-grams' rows, and `sizes` with their number."""
    longest = 0
    for w in range(words):
        longest = max(longest, entry_offsets[w + 1] - entry_offsets[w])
    marked = np.empty(longest + 2, np.uint8)
    for w in range(words):
        start, end = entry_offsets[w], entry_offsets[w + 1]
        sums[w] = word_rows[w]
        sizes[w] = 1
        if not _same(entry_bytes, start, end, _EOS, 0, 4):
            sizes[w] += _add_subwords(marked, _mark(entry_bytes, start, end, marked), shape, ngram_rows, sums[w])


@compiled_for(types.void(_ROWS, _ROWS, types.float32[:, ::1]))
def products(hidden: Any, columns: Any, logits: Any) -> None:
    """Fills `logits` with `hidden @ columns`, each row computed alone in a fixed order of float32 operations.

    A BLAS may sum a row in another order when there are more rows, and a document's last bit would depend on others.
    A BLAS may sum a row otherwise when there are more of them, so that a document's last bit would tell its neighbours.

    Args:
        hidden: shape (documents, dim).
        columns: shape (dim, labels).
        logits: shape (documents, labels).
    """
    for d in range(hidden.shape[0]):
        logits[d] = np.float32(0)
        for k in range(columns.shape[0]):
            factor = hidden[d, k]
            for label in range(columns.shape[1]):
                logits[d, label] += factor * columns[k, label]


@compiled_for(types.void(_ROWS, _ROWS, types.float32[:, ::1]))
def sigmoid_table_outputs(hidden: Any, output: Any, probabilities: Any) -> None:
    """Computes one-vs-all probabilities from a table of 512 sigmoids, in fastText's order of float32 operations.

    At a step's edge a rounding error in the dot product shows as 0.008, so the order of additions matters here.
    """
    for d in range(hidden.shape[0]):
        for label in range(output.shape[0]):
            x = np.float32(0)
            for k in range(output.shape[1]):
                x += output[label, k] * hidden[d, k]
            if x < -SIGMOID_BOUND:
                probabilities[d, label] = 0
            elif x > SIGMOID_BOUND:
                probabilities[d, label] = 1
            else:
                step = np.int64(np.float32(x + np.float32(SIGMOID_BOUND)) * SIGMOID_STEPS / SIGMOID_BOUND / 2)
                at = np.float32(step * 2 * SIGMOID_BOUND) / np.float32(SIGMOID_STEPS) - np.float32(SIGMOID_BOUND)
                probabilities[d, label] = np.float32(1.0 / (1.0 + np.exp(-np.float64(at))))


@compiled_for(types.void(_ROWS, types.int32[:, ::1], types.float32[:, ::1]))
def tree_outputs(logits: Any, children: Any, probabilities: Any) -> None:
    """Computes hierarchical softmax as fastText does: the sum of log(p + 1e-5) along each label's path.

    Args:
        logits: one an inner node, shape (documents, labels - 1).
        children: left and right of inner node labels + i, shape (labels - 1, 2); always smaller than their parent.
    """
    inner = children.shape[0]
    labels = inner + 1
    scores = np.empty(labels + inner, np.float64)
    for d in range(logits.shape[0]):
        scores[labels + inner - 1] = 0.0
        for node in range(inner - 1, -1, -1):
            right = 1.0 / (1.0 + np.exp(-np.float64(logits[d, node])))
            scores[children[node, 0]] = scores[labels + node] + np.log(1.0 - right + LOG_OFFSET)
            scores[children[node, 1]] = scores[labels + node] + np.log(right + LOG_OFFSET)
        for label in range(labels):
            probabilities[d, label] = np.exp(scores[label])
