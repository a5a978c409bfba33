"""Writes the hash tables of n-gram models to files that processes map, from ARPA text and from tries."""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import xxhash

from siftlm_kernels.mapped import mapped
from siftlm_kernels.ngram_arpa import parse_arpa
from siftlm_kernels.ngram_model import HASH_BYTES, file_content
from siftlm_kernels.ngram_probing import Header, ModelLayout, Table, is_binary, read_header, seal
from siftlm_kernels.ngram_trie import is_trie, unpack_trie

GZIP = b"\x1f\x8b"
TABLE, TEXT = ".table", ".text"  # endings of what is in the making


def is_mappable(head: bytes) -> bool:
    """Tells from the first bytes of a file, 200 are enough, whether `NgramModel.load` maps it as it is.

    Raises ValueError where these are the bytes of a binary file that this code does not read.
    """
    return is_binary(head) and not is_trie(read_header(head))


def convert(source: str, target: str) -> None:
    """Writes the hash tables of a model, from ARPA text (packed or not) or a trie, to a file.

    What is in the making lies in files beside the target, so that memory does not grow with a model in ARPA: its text
    and its tables are mapped. Of a trie, the keys of two orders are in memory, 8 bytes an n-gram.

    Args:
        source: The model, a local file.
        target: Where the tables go, with a seal behind them; `NgramModel.load` maps it.

    Raises:
        ValueError: the source is no model, or damaged.
        OSError: a file can't be read, or there is no room for what is made.
    """
    table, text = target + TABLE, target + TEXT
    try:
        with open(source, "rb") as stream:
            packed = stream.read(len(GZIP)) == GZIP
        if packed:
            _unpack(source, text)
        filled, layout, header = _filled(text if packed else source, partial(_new, table))
        filled[: header.size // 4] = np.frombuffer(header.pack(), np.uint32)
        filled.flush()  # type: ignore[attr-defined]
        _finish(table, 4 * layout.end)
        os.replace(table, target)
    finally:
        for path in (table, text):
            if os.path.exists(path):
                os.remove(path)


def _new(path: str, size: int) -> Table:
    return mapped(path, (size,))


def _filled(path: str, make: Callable[[int], Table]) -> tuple[Table, ModelLayout, Header]:
    content = file_content(path)
    if is_binary(bytes(content[:64])):
        table, layout, header = unpack_trie(np.frombuffer(content, np.uint8), read_header(content), make)
    else:
        table, layout, header = parse_arpa(content, make)
    return table, layout, Header(header.kind, header.counts, header.multiplier, has_words=False)


def _unpack(source: str, target: str) -> None:
    try:
        with gzip.open(source) as packed, open(target, "wb") as stream:
            shutil.copyfileobj(packed, stream, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"gzip that cannot be unpacked: {error}") from None


def _finish(path: str, size: int) -> None:
    """Writes the seal behind the tables."""
    digest = xxhash.xxh3_128()
    with open(path, "r+b") as stream:
        while chunk := stream.read(HASH_BYTES):
            digest.update(chunk)
        assert stream.tell() == size, (stream.tell(), size)
        stream.write(seal(size, digest.digest()))
        stream.flush()
        os.fsync(stream.fileno())
