"""Writes a trained model as text in ARPA format, the same bytes whatever the parts and the processes."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siftlm import filesystem
from siftlm.ngram.discounts import Smoothing
from siftlm.ngram.model_file import layout_of
from siftlm.ngram.parts import PartTask
from siftlm.ngram.pool import Workers
from siftlm.ngram.tables import unigram_logs
from siftlm_kernels.ngram_arpa_kernel import format_ngrams, format_words
from siftlm_kernels.ngram_probing import ModelLayout

MEMBER_BYTES = 4 << 20  # of text in each gzip member
ROWS = 1 << 18  # n-grams that are written at a time


@dataclass(frozen=True)
class ArpaTask:
    """Says which n-grams become text, in which file."""

    part: PartTask
    order: int
    binary: str
    layout: ModelLayout
    vocabulary: str
    path: str


def write_arpa(
    path: str,
    binary: str,
    words: Sequence[bytes],
    smooth: Smoothing,
    parts: Sequence[PartTask],
    folder: str,
    run: Workers,
) -> None:
    """Writes the model that the parts and the binary file `binary` hold; gzip for a name that ends with .gz."""
    _, layout = layout_of(smooth.counts)
    vocabulary = f"{folder}/vocabulary"
    offsets = np.concatenate([[0], np.cumsum([len(word) for word in words])])
    np.save(f"{vocabulary}.bytes.npy", np.frombuffer(b"".join(words), np.uint8))
    np.save(f"{vocabulary}.offsets.npy", offsets)
    pieces = _pieces(binary, smooth, parts, layout, vocabulary, folder, run)
    with filesystem.open_write(path) as stream:
        for chunk in _packed(pieces) if path.endswith(".gz") else pieces:
            stream.write(chunk)


def _pieces(
    binary: str,
    smooth: Smoothing,
    parts: Sequence[PartTask],
    layout: ModelLayout,
    vocabulary: str,
    folder: str,
    run: Workers,
) -> Iterator[bytes]:
    order = len(smooth.counts)
    yield b"\\data\\\n" + b"".join(b"ngram %d=%d\n" % (n, count) for n, count in enumerate(smooth.counts, 1)) + b"\n"
    yield b"\\1-grams:\n"
    yield _unigrams(binary, vocabulary, layout, smooth)
    for n in range(2, order + 1):
        yield b"\n\\%d-grams:\n" % n
        tasks = (ArpaTask(part, n, binary, layout, vocabulary, f"{folder}/{part.number}.text") for part in parts)
        for path in run.map(format_part, tasks):
            with open(path, "rb") as stream:
                while chunk := stream.read(1 << 20):
                    yield chunk
            os.remove(path)
    yield b"\n\\end\\\n"


def _unigrams(binary: str, vocabulary: str, layout: ModelLayout, smooth: Smoothing) -> bytes:
    table = np.memmap(binary, np.float32, "r", shape=(layout.end,))
    backoffs = table[layout.unigrams + 1 : layout.unigrams + 2 * smooth.counts[0] : 2]
    values, offsets = np.load(f"{vocabulary}.bytes.npy"), np.load(f"{vocabulary}.offsets.npy")
    logs = unigram_logs(smooth).view(np.float32)
    out = np.empty(len(values) + 40 * len(logs), np.uint8)
    return out[: format_words(logs, np.ascontiguousarray(backoffs), layout.order > 1, values, offsets, out)].tobytes()


def format_part(task: ArpaTask) -> str:
    """Writes the lines of one order of a part to a file, and returns its path."""
    read = {
        name: np.load(task.part.path(task.order, name)) for name in ("contexts", "starts", "padded", "words", "logs")
    }
    values, offsets = np.load(f"{task.vocabulary}.bytes.npy"), np.load(f"{task.vocabulary}.offsets.npy")
    table = np.memmap(task.binary, np.uint32, "r", shape=(task.layout.end,))
    base, buckets = task.layout.longer[task.order - 2]
    arrays = read["contexts"], read["starts"], read["padded"], read["words"], read["logs"].view(np.float32)
    with open(task.path, "wb") as stream:
        for first, end in _stretches(read["starts"]):
            size = _most_bytes(read, first, end, offsets)
            out = np.empty(size, np.uint8)
            floats = table.view(np.float32)
            backed = base if task.order < task.layout.order else -1
            written = format_ngrams(*arrays, first, end, table, floats, backed, buckets, values, offsets, out)
            stream.write(out[:written].data)
    return task.path


def _stretches(starts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of contexts with about `ROWS` n-grams each, or one context with more."""
    first = 0
    while first < len(starts) - 1:
        end = max(first + 1, int(np.searchsorted(starts, starts[first] + ROWS, "right")) - 1)
        yield first, end
        first = end


def _most_bytes(read: dict[str, NDArray], first: int, end: int, offsets: NDArray[np.int64]) -> int:  # type: ignore[type-arg]
    sizes = np.diff(offsets)
    starts = read["starts"][first : end + 1]
    of_contexts = sizes[read["contexts"][first:end]].sum(1) + read["contexts"].shape[1] + 50
    return int((of_contexts * np.diff(starts)).sum() + sizes[read["words"][starts[0] : starts[-1]]].sum())


def _packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Members of gzip, of the same text each whatever the pieces were; two threads compress."""
    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for member in _cut(pieces):
            waiting.append(pool.submit(_member, member))
            if len(waiting) > 3:
                yield waiting.pop(0).result()
        yield from (future.result() for future in waiting)


def _cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= MEMBER_BYTES:
            yield bytes(held[:MEMBER_BYTES])
            del held[:MEMBER_BYTES]
    if held:
        yield bytes(held)


def _member(content: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()
