"""What a file is, by content and by name."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pytest
from tests.readers.conftest import KINDS, PACKS, parquet_bytes

from siftlm.readers import detect

TEXTS = ["one", "two"]


@pytest.mark.parametrize("name", ["x", "x.gz", "part-0", "x.dat", "x.txt"])
@pytest.mark.parametrize(("kind", "pack"), [(k, p) for k in ("warc", "arc", "wet", "parquet") for p in KINDS[k].packs])
def test_telling_content_goes_before_the_name(kind: str, pack: str, name: str) -> None:
    """Archives and Parquet are known by their first bytes, under any name and compression."""
    found = detect(name, PACKS[pack](b"".join(KINDS[kind].write(TEXTS))))
    assert (found.format, found.compression) == (KINDS[kind].reader, pack)


@pytest.mark.parametrize(
    ("name", "content", "format", "compression"),
    [
        ("x.jsonl", b'{"text": "a"}', "jsonl", "none"),
        ("x.json", b'{"text": "a"}', "jsonl", "none"),
        ("X.NDJSON.GZ", gzip.compress(b'{"text": "a"}', mtime=0), "jsonl", "gzip"),
        ("x", b' \n{"text": "a"}', "jsonl", "none"),
        ("x", b'\xef\xbb\xbf{"text": "a"}', "jsonl", "none"),
        ("x", b'["a", "b"]', "jsonl", "none"),
        ("x.txt", b'{"text": "a"}', "text", "none"),
        ("x", b"Some text.", "text", "none"),
        ("x", b"{not json}", "text", "none"),
        ("README.md", b"# Title", "text", "none"),
        ("x.jsonl.gz", b'{"text": "a"}', "jsonl", "none"),
        ("x.warc.gz", b"WARC/1.0\r\nWARC-Type: warcinfo\r\n", "warc", "none"),
        ("x.warc.wet.gz", gzip.compress(b"WARC/1.0\r\nWARC-Type: warcinfo\r\n", mtime=0), "wet", "gzip"),
        ("x.warc.wat.gz", gzip.compress(b"WARC/1.0\r\nWARC-Type: warcinfo\r\n", mtime=0), "wat", "gzip"),
        ("x.jsonl.gz", b"\0\x8b\x08\0\0\0\0\0\0\xff", "jsonl", "gzip"),
        ("x.parquet", b"", "parquet", "none"),
        ("x.jsonl", b"", "jsonl", "none"),
        ("x", b"", "text", "none"),
    ],
)
def test_names_decide_where_content_does_not(name: str, content: bytes, format: str, compression: str) -> None:
    """Damaged, empty and undecided beginnings fall back on the name, and then on text."""
    found = detect(name, content)
    assert (found.format, found.compression) == (format, compression)


def test_parquet_goes_before_a_name_that_says_otherwise() -> None:
    """A Parquet file called .json is Parquet."""
    assert detect("x.json", parquet_bytes(pa.table({"text": TEXTS}))).format == "parquet"
