"""Scores text under n-gram models: ARPA files, and binary files of KenLM and of siftlm."""

from __future__ import annotations

import gzip
import mmap
import os
import zlib
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.ngram_arpa import parse_arpa
from siftlm_kernels.ngram_probing import (
    PROBING,
    PROBING_WITH_REST,
    SEAL,
    Header,
    ModelLayout,
    Table,
    is_binary,
    read_header,
    sealed,
)
from siftlm_kernels.ngram_trie import unpack_trie
from siftlm_kernels.ragged import Offsets, Values

Implementation = Literal["auto", "reference"]
SEPARATORS = np.isin(np.arange(256), list(b" \t\r\v\f"))
"""Bytes that part words, beside line feeds: those of Python's `bytes.split`, as in the package `kenlm`."""
BEGIN, END = b"<s>", b"</s>"
HASH_BYTES = 1 << 24  # of a file that are read at a time

_kernel = partial(import_module, "siftlm_kernels.ngram_score_kernel")  # numba is imported by the first call


@dataclass(frozen=True)
class NgramModel:
    """Holds an n-gram model with backing off in hash tables, which may stay mapped from a file."""

    table: Table
    layout: ModelLayout

    @staticmethod
    def load(path: str) -> NgramModel:
        """Returns the model in a local file; a probing file stays mapped, so that processes share its memory.

        Raises:
            ValueError: neither ARPA (packed by gzip or not) nor a binary file that this code reads, or damaged.
            OSError: the file can't be read.
        """
        return NgramModel.parse(file_content(path))

    @staticmethod
    def parse(content: bytes | mmap.mmap) -> NgramModel:
        """Returns the model in the content of a file; raises ValueError where there is none."""
        if is_binary(content[:64]):
            values = np.frombuffer(content, np.uint8)
            return NgramModel(*_binary(values, read_header(content)))
        table, layout, _ = parse_arpa(_unpacked(content))
        return NgramModel(table, layout)

    @property
    def order(self) -> int:
        """Returns how many words the longest n-grams have."""
        return self.layout.order

    def log10(
        self, values: Values, offsets: Offsets, *, impl: Implementation = "auto"
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Returns log10 P of every token of every text, and where the tokens of each text begin.

        Equal to 1e-5 to `kenlm.Model(path).full_scores(line)` of every line that has words. A text is parted into
        lines by line feeds and these into words by the other white space of ASCII; tokens are the words and the ends
        of lines with words. The probability of a token is that of the longest n-gram of the model that ends with it,
        times the backoff weights of all longer contexts that the model has. A word that the model does not know is
        `<unk>`.

        Args:
            values: UTF-8 of all texts. Shape (bytes,).
            offsets: where each text begins, and the end of the last. Shape (texts + 1,).
            impl: "auto" for the compiled functions, "reference" for the definition in plain Python.

        Returns:
            (log10 P, float64 [tokens]; where the tokens of each text begin, int64 [texts + 1]).
        """
        if impl == "reference":
            from siftlm_kernels.ngram_reference import log10

            return log10(self, values, offsets)
        kernel, counts = _kernel(), np.zeros(len(offsets), np.int64)
        longest = kernel.count_tokens(values, offsets, SEPARATORS, counts[1:])
        bounds = np.cumsum(counts)
        out = np.empty(int(bounds[-1]), np.float64)
        floats, numbers = self.table.view(np.float32), self.layout.numbers()
        kernel.logs(values, offsets, SEPARATORS, self.table, floats, numbers, self._marks(), longest, out)
        return out, bounds

    def word(self, word: bytes) -> int:
        """Returns the id of a word, 0 for one that the model does not know."""
        numbers = self.layout.numbers()
        return int(_kernel().word_id(np.frombuffer(word, np.uint8), 0, len(word), self.table, numbers))

    def _marks(self) -> NDArray[np.uint32]:
        return np.array([self.word(BEGIN), self.word(END)], np.uint32)


def _binary(values: NDArray[np.uint8], header: Header) -> tuple[Table, ModelLayout]:
    if header.kind == PROBING_WITH_REST:
        raise ValueError("a probing model with rest costs; build it again with `build_binary probing`")
    _check_seal(values)
    if header.kind != PROBING:
        table, layout, _ = unpack_trie(values, header)
        return table, layout
    if header.version:
        raise ValueError(f"a probing model of version {header.version}, this code reads version 0")
    layout = ModelLayout.of(header)
    if len(values) < 4 * layout.end:
        raise ValueError(f"a file of {len(values)} bytes whose head tells of at least {4 * layout.end}: cut short")
    _check_words(values[4 * layout.end :], int(values[header.size + 4 : header.size + 8].view(np.uint32)[0]), header)
    return values[: 4 * layout.end].view(np.uint32), layout


def _check_words(rest: NDArray[np.uint8], words: int, header: Header) -> None:
    """Looks whether all words stand behind the tables, and nothing but a seal behind these."""
    ends = np.flatnonzero(rest == 0)[:words]
    if header.has_words and (len(ends) < words or len(rest) - int(ends[-1]) - 1 not in (0, SEAL.size)):
        raise ValueError(
            f"{len(ends)} words at its end, where its head tells of {words}, or a piece of a seal: cut short"
        )


def _check_seal(values: NDArray[np.uint8]) -> None:
    """Compares a file that siftlm wrote with its digest."""
    seal = sealed(values)
    if seal is None:
        return
    import xxhash

    (size, digest), found = seal, xxhash.xxh3_128()
    for first in range(0, size, HASH_BYTES):
        found.update(values[first : min(size, first + HASH_BYTES)].data)
    if found.digest() != digest:
        raise ValueError("other bytes than were written: damaged")


def file_content(path: str) -> bytes | mmap.mmap:
    """Returns the bytes of a local file, mapped; an empty file cannot be."""
    with open(path, "rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return b""
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _unpacked(content: bytes | mmap.mmap) -> bytes | mmap.mmap:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content[:])
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"gzip that cannot be unpacked: {error}") from None


def ragged(texts: list[bytes]) -> tuple[Any, Any]:
    """Returns the values and offsets of texts."""
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return np.frombuffer(b"".join(texts), np.uint8), offsets
