"""Slices of a file give the records and flaws of the whole, with the same offsets, wherever it is cut."""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from siftlm.readers import read_shard, read_slices, slice_cuts
from siftlm.readers.settings import InputSettings

RANDOM = random.Random(7)
SIZES = (200, 1000, 7000)


def words(count: int) -> str:
    return " ".join(RANDOM.choice(["ünïcode", "word", "\\n", '"', "x" * 30, "text"]) for _ in range(count))


def json_lines(end: str) -> bytes:
    rows = [json.dumps({"text": words(RANDOM.randrange(40)), "id": n}, ensure_ascii=n % 2 == 0) for n in range(200)]
    rows[17], rows[60], rows[61], rows[62] = "no json {", "", "   ", "[1, 2]"
    rows[100] = json.dumps({"text": "long " * 2000})
    return (end.join(rows) + end * (end != "\r")).encode()


def bgzf(content: bytes) -> bytes:
    """Blocks as bgzip writes them, an empty one at the end; every block may end within a line."""
    made = b""
    for start in [*range(0, len(content), 700), len(content)]:
        piece = content[start : start + 700]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(piece) + packer.flush()
        size = struct.pack("<H", len(packed) + 25)
        made += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + size + packed
        made += struct.pack("<II", zlib.crc32(piece), len(piece))
    return made


def zstd_frames(content: bytes) -> bytes:
    pack = zstandard.ZstdCompressor().compress
    frames = [pack(content[start : start + 900]) for start in range(0, len(content), 900)]
    frames.insert(3, b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"other")
    return b"".join(frames)


def warc(pack: Callable[[bytes], bytes]) -> bytes:
    records = []
    for n in range(60):
        block = f"page {n} {words(RANDOM.randrange(5, 60))}".encode()
        length = len(block) + (3 if n == 31 else 0)  # one that is damaged
        header = (
            f"WARC/1.0\r\nWARC-Type: {'conversion' if n else 'warcinfo'}\r\nWARC-Record-ID: <urn:uuid:{n}>\r\n"
            f"WARC-Target-URI: http://a.org/{n}\r\nContent-Length: {length}\r\n\r\n"
        )
        records.append(pack(header.encode() + block + b"\r\n\r\n"))
    return b"".join(records)


def packed_with_a_dictionary() -> bytes:
    """A frame a record behind the dictionary of all, as the Internet Archive writes them."""
    dictionary = zstandard.ZstdCompressionDict(b"WARC/1.0 WARC-Type: conversion word text " * 20)
    opening = b"\x5d\x2a\x4d\x18" + struct.pack("<I", len(dictionary.as_bytes())) + dictionary.as_bytes()
    return opening + warc(zstandard.ZstdCompressor(dict_data=dictionary).compress)


def parquet(path: Path) -> None:
    texts = [None if n == 77 else words(RANDOM.randrange(30)) for n in range(300)]
    pq.write_table(pa.table({"text": texts, "id": [str(n) for n in range(300)]}), path, row_group_size=13)


CASES: dict[str, tuple[str, Callable[[Path], Any], dict[str, Any]]] = {
    "jsonl": ("a.jsonl", lambda path: path.write_bytes(json_lines("\n")), {"id_field": "id"}),
    "crlf": ("a.jsonl", lambda path: path.write_bytes(b"\xef\xbb\xbf" + json_lines("\r\n")), {"id_field": "id"}),
    "cr": ("a.jsonl", lambda path: path.write_bytes(json_lines("\r")), {"id_field": "id"}),
    "zstd": ("a.jsonl.zst", lambda path: path.write_bytes(zstd_frames(json_lines("\n"))), {"id_field": "id"}),
    "bgzf": ("a.jsonl.gz", lambda path: path.write_bytes(bgzf(json_lines("\n"))), {"id_field": "id"}),
    "lines": ("a.txt", lambda path: path.write_bytes(json_lines("\n")), {"text_unit": "line"}),
    "paragraphs": (
        "a.txt",
        lambda path: path.write_bytes(json_lines("\n").replace(b"x" * 30, b"\n \t\n\n")),
        {"text_unit": "paragraph"},
    ),
    "warc": ("a.warc.gz", lambda path: path.write_bytes(warc(gzip.compress)), {}),
    "warc.zst": ("a.warc.zst", lambda path: path.write_bytes(warc(zstandard.ZstdCompressor().compress)), {}),
    "dictionary": ("a.warc.zst", lambda path: path.write_bytes(packed_with_a_dictionary()), {}),
    "parquet": ("a.parquet", parquet, {"id_field": "id"}),
}


def entries(slices: list[Any], settings: InputSettings) -> tuple[list[Any], list[Any], list[int]]:
    """The documents, the rejects and how many records every slice has."""
    counts: list[int] = []
    read = list(read_slices(slices, settings, counts, batch_documents=16))
    documents = [row for batch in read for row in batch.documents.to_pylist()]
    return documents, [reject for batch in read for reject in batch.rejects], counts


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", SIZES)
def test_slices_are_the_whole(tmp_path: Path, name: str, size: int) -> None:
    file, write, settings = CASES[name]
    write(tmp_path / file)
    path, configured = str(tmp_path / file), InputSettings(source="s", paths=["x"], **settings)
    cuts = slice_cuts(path, configured, size)
    assert len(cuts) > (3 if size < 7000 else 0)
    bounds = list(zip([None, *cuts], [*cuts, None], strict=True))
    documents, rejects, counts = entries([(path, bound) for bound in bounds], configured)
    whole = list(read_shard(path, configured))
    assert documents == [row for batch in whole for row in batch.documents.to_pylist()]
    assert rejects == [reject for batch in whole for reject in batch.rejects]
    assert all(counts)
    assert sum(counts) == len(documents) + sum(reject.records for reject in rejects)
