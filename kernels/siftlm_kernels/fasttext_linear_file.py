"""Reads a fastText model file (.bin, .ftz) into arrays, and checks it before memory is allocated."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Loss = Literal["hs", "ns", "softmax", "ova"]
FloatArray = npt.NDArray[np.float32]

_MAGIC = 793712314
_NEWEST_VERSION = 12
_OLD_SUPERVISED_VERSION = 11  # its supervised models wrote a maxn that they did not use
_SUPERVISED = 3
_LOSSES: dict[int, Loss] = {1: "hs", 2: "ns", 3: "softmax", 4: "ova"}
_MAX_NGRAM = 1 << 16
_CENTROIDS = 256
_WORD, _LABEL = 0, 1


@dataclass(frozen=True)
class QuantisedMatrix:
    """Holds a matrix as product-quantiser codes; `centroids[m]` is the codebook of the m-th group of columns."""

    columns: int
    codes: npt.NDArray[np.uint8]
    centroids: tuple[FloatArray, ...]
    norms: FloatArray | None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.codes), self.columns

    def __getitem__(self, chosen: slice) -> FloatArray:
        groups = [book[self.codes[chosen, m]] for m, book in enumerate(self.centroids)]
        rows = np.concatenate(groups, axis=1)
        return rows if self.norms is None else rows * self.norms[chosen, None]


Matrix = FloatArray | QuantisedMatrix
"""Rows of float32, mapped from the file or quantised."""


@dataclass(frozen=True)
class FastTextFile:
    """Holds a supervised fastText model as read from its file.

    `entry_bytes[entry_offsets[i]:entry_offsets[i + 1]]` is word i; labels follow the words.
    `pruned` is None for a model with all its buckets, else (bucket, row behind the words) pairs, shape (kept, 2).
    """

    dim: int
    word_ngrams: int
    bucket: int
    minn: int
    maxn: int
    loss: Loss
    words: int
    labels: tuple[str, ...]
    label_counts: npt.NDArray[np.int64]
    entry_bytes: npt.NDArray[np.uint8]
    entry_offsets: npt.NDArray[np.int64]
    pruned: npt.NDArray[np.int32] | None
    input: Matrix
    output: Matrix

    @property
    def has_subwords(self) -> bool:
        return self.maxn > 0


class _Reader:
    """Reads the bytes of a file one after the other; past the end it raises a ValueError that says where."""

    def __init__(self, content: Any) -> None:
        self.content = content
        self.position = 0

    def unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack_from(form, self.content, self._passed(struct.calcsize(form)))

    def array(self, dtype: str, count: int) -> npt.NDArray[Any]:
        return np.frombuffer(self.content, dtype, count, self._passed(count * np.dtype(dtype).itemsize))

    def until_zero(self) -> bytes:
        end = self.content.find(b"\0", self.position)
        if end < 0:
            raise ValueError(f"a word that never ends, at byte {self.position}")
        word = self.content[self.position : end]
        self.position = end + 1
        return bytes(word)

    def _passed(self, size: int) -> int:
        """The position of so many bytes, behind which the next ones are read."""
        if size < 0 or self.position + size > len(self.content):
            raise ValueError(
                f"{size} bytes wanted at byte {self.position} of {len(self.content)}: cut short or corrupt"
            )
        self.position += size
        return self.position - size


def read_fasttext(path: str) -> FastTextFile:
    """Returns the model that a file holds, with its matrices mapped from the file.

    So opening is cheap and processes share the memory.

    Raises:
        ValueError: the file is not a fastText model, not a supervised one, cut short or inconsistent.
        OSError: the file can't be read.
    """
    with open(path, "rb") as stream:
        try:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise ValueError(f"{path}: must be a fastText model, got an empty file") from None
    try:
        return parse_fasttext(content)
    except ValueError as error:
        raise ValueError(f"{path}: must be a supervised fastText model, got {error}") from None


def parse_fasttext(content: Any) -> FastTextFile:
    """Returns the model that a buffer holds; a buffer is bytes with a method `find`."""
    reader = _Reader(content)
    magic, version = reader.unpack("<2i")
    if magic != _MAGIC or version > _NEWEST_VERSION:
        raise ValueError(f"other bytes: magic {magic}, version {version}")
    dim, _, _, _, _, word_ngrams, loss, model, bucket, minn, maxn, _, _ = reader.unpack("<12id")
    if model != _SUPERVISED:
        raise ValueError("word vectors, which have no labels (model = cbow or skipgram)")
    if dim <= 0 or loss not in _LOSSES or bucket < 0 or word_ngrams > _MAX_NGRAM or maxn > _MAX_NGRAM:
        raise ValueError(f"impossible settings: dim {dim}, loss {loss}, bucket {bucket}, maxn {maxn}")
    if version == _OLD_SUPERVISED_VERSION:
        maxn = 0
    words, labels, counts, entry_bytes, entry_offsets, pruned = _dictionary(reader)
    (quantised,) = reader.unpack("?")
    input_matrix = _quantised(reader) if quantised else _dense(reader)
    if pruned is not None and not quantised:
        raise ValueError("a pruned dictionary without a quantised matrix")
    output_matrix = _quantised(reader) if reader.unpack("?")[0] and quantised else _dense(reader)
    file = FastTextFile(
        dim, word_ngrams, bucket, minn, maxn, _LOSSES[loss], words, labels, counts, entry_bytes, entry_offsets,
        pruned, input_matrix, output_matrix,
    )  # fmt: skip
    _check(file)
    return file


def _dictionary(reader: _Reader) -> tuple[Any, ...]:
    size, words, label_count, _, pruned_size = reader.unpack("<3i2q")
    if min(size, words, label_count) < 0 or words + label_count != size or label_count == 0:
        raise ValueError(f"a dictionary of {size} entries, {words} words and {label_count} labels")
    entries: list[bytes] = []
    counts: list[int] = []
    for index in range(size):
        entries.append(reader.until_zero())
        count, kind = reader.unpack("<qb")
        if kind != (_WORD if index < words else _LABEL):
            raise ValueError(f"entry {index} of kind {kind}; words must come before labels")
        counts.append(count)
    pruned = reader.array("<i4", 2 * pruned_size).reshape(pruned_size, 2) if pruned_size >= 0 else None
    labels = tuple(entry.decode("utf-8", "replace") for entry in entries[words:])
    offsets = np.zeros(size + 1, np.int64)
    np.cumsum([len(entry) for entry in entries], out=offsets[1:])
    packed = np.frombuffer(b"".join(entries), np.uint8)
    return words, labels, np.array(counts[words:], np.int64), packed, offsets, pruned


def _dense(reader: _Reader) -> FloatArray:
    rows, columns = reader.unpack("<2q")
    if rows < 0 or columns <= 0:
        raise ValueError(f"a matrix of {rows} x {columns}")
    return reader.array("<f4", rows * columns).reshape(rows, columns)


def _quantised(reader: _Reader) -> QuantisedMatrix:
    has_norms, rows, columns, code_count = reader.unpack("<?2qi")
    if rows < 0 or columns <= 0 or code_count < 0:
        raise ValueError(f"a matrix of {rows} x {columns}")
    codes = reader.array("u1", code_count)
    books = _codebooks(reader, columns)
    if code_count != rows * len(books):
        raise ValueError(f"{code_count} codes for {rows} rows of {len(books)} groups")
    norm_codes = reader.array("u1", rows) if has_norms else None
    norms = None if norm_codes is None else _codebooks(reader, 1)[0][norm_codes, 0]
    return QuantisedMatrix(columns, codes.reshape(rows, len(books)), books, norms)


def _codebooks(reader: _Reader, columns: int) -> tuple[FloatArray, ...]:
    dim, groups, width, last = reader.unpack("<4i")
    if dim != columns or min(groups, width, last) <= 0 or (groups - 1) * width + last != dim:
        raise ValueError(f"a quantiser of {groups} groups of {width} for {columns} columns")
    flat = reader.array("<f4", dim * _CENTROIDS)
    ends = [min(dim, (m + 1) * width) for m in range(groups)]
    return tuple(flat[m * width * _CENTROIDS : end * _CENTROIDS].reshape(_CENTROIDS, -1) for m, end in enumerate(ends))


def _check(file: FastTextFile) -> None:
    """Every row that a text can ask for exists, so that the kernels need no bounds checks."""
    rows, columns = file.input.shape
    if columns != file.dim or file.output.shape != (len(file.labels), file.dim):
        raise ValueError(f"matrices {file.input.shape} and {file.output.shape} for dim {file.dim}")
    needed = file.words
    if file.word_ngrams > 1 or file.has_subwords:
        if file.bucket == 0:
            raise ValueError("n-grams but no buckets")
        needed += file.bucket if file.pruned is None else 0
    if file.pruned is not None and len(file.pruned):
        if file.pruned.min() < 0 or file.pruned[:, 0].max() >= file.bucket:
            raise ValueError("pruned buckets out of range")
        needed += int(file.pruned[:, 1].max()) + 1
    if rows < needed:
        raise ValueError(f"{rows} rows where {needed} are needed")
