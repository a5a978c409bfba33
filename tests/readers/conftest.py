"""Shards of every format, written here, and what a reader makes of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from siftlm.readers import InputSettings, Reject, read_shard

Pack = Callable[[bytes], bytes]

PACKS: dict[str, Pack] = {
    "none": bytes,
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def warc_record(kind: str, block: bytes, url: str = "http://example.org/", **headers: str) -> bytes:
    """One WARC record, as the specification writes it."""
    fields = {
        "WARC-Type": kind,
        "WARC-Target-URI": url,
        "WARC-Record-ID": f"<urn:x:{url}>",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    fields.setdefault("Content-Length", str(len(block)))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"WARC/1.0\r\n" + head.encode() + b"\r\n" + block + b"\r\n\r\n"


def http(
    body: bytes, content_type: str | None = "text/plain; charset=utf-8", status: str = "200 OK", **more: str
) -> bytes:
    """An HTTP response."""
    fields = {} if content_type is None else {"Content-Type": content_type}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def _jsonl(texts: Sequence[str]) -> list[bytes]:
    return [orjson.dumps({"text": text, "url": f"http://{i}.org/"}) + b"\n" for i, text in enumerate(texts)]


def _warc(texts: Sequence[str]) -> list[bytes]:
    return [warc_record("response", http(text.encode()), f"http://{i}.org/") for i, text in enumerate(texts)]


def _wet(texts: Sequence[str]) -> list[bytes]:
    return [warc_record("conversion", text.encode(), f"http://{i}.org/") for i, text in enumerate(texts)]


def _arc(texts: Sequence[str]) -> list[bytes]:
    blocks = [http(text.encode()) for text in texts]
    first = b"1 1 Test\nURL IP-address Archive-date Content-type Archive-length\n"
    head = b"filedesc://x.arc 0.0.0.0 20080430204825 text/plain %d\n%s\n" % (len(first), first)
    heads = [b"http://%d.org/ 1.2.3.4 20080430204825 text/plain %d\n" % (i, len(b)) for i, b in enumerate(blocks)]
    return [head, *(h + block + b"\n" for h, block in zip(heads, blocks, strict=True))]


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    """A table as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def _parquet(texts: Sequence[str]) -> list[bytes]:
    urls = [f"http://{i}.org/" for i in range(len(texts))]
    table = pa.table({"text": pa.array(texts, pa.string()), "url": pa.array(urls, pa.string())})
    return [parquet_bytes(table, row_group_size=2)]


@dataclass(frozen=True)
class Kind:
    """A format for the tests: how its records are written, and under which name and settings they are read."""

    write: Callable[[Sequence[str]], list[bytes]]
    name: str
    reader: str
    packs: tuple[str, ...] = tuple(PACKS)
    has_urls: bool = True
    by_record: bool = False
    settings: tuple[tuple[str, Any], ...] = ()


KINDS: dict[str, Kind] = {
    "jsonl": Kind(_jsonl, "x.jsonl", "jsonl"),
    "warc": Kind(_warc, "x.warc", "warc", by_record=True),
    "arc": Kind(_arc, "x.arc", "warc", by_record=True),
    "wet": Kind(_wet, "x.warc.wet", "wet", by_record=True),
    "parquet": Kind(_parquet, "x.parquet", "parquet", packs=("none",)),
    "text": Kind(lambda texts: [text.encode() for text in texts[:1]], "x.txt", "text", has_urls=False),
    "lines": Kind(
        lambda texts: [text.encode() + b"\n" for text in texts],
        "x.txt",
        "text",
        has_urls=False,
        settings=(("text_unit", "line"),),
    ),
    "paragraphs": Kind(
        lambda texts: [text.encode() + b"\n\n" for text in texts],
        "x.txt",
        "text",
        has_urls=False,
        settings=(("text_unit", "paragraph"),),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """All that a shard gave."""

    rows: list[dict[str, Any]]
    rejects: list[Reject]
    unusable: dict[str, int] = field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]

    @property
    def errors(self) -> list[str]:
        return [reject.reason for reject in self.rejects if reject.kind == "error"]

    @property
    def skipped(self) -> list[str]:
        return [reject.reason for reject in self.rejects if reject.kind == "skipped"]


def end_of(taken: Sequence[tuple[int, int]]) -> int:
    """How many records positions with their numbers of records come to, counted from 0."""
    assert not taken or taken[0][0] == 0
    return sum(size for _, size in taken)


def read_all(path: Path | str, batch_documents: int = 512, batch_bytes: int = 32 << 20, **settings: Any) -> Outcome:
    """Everything in a shard, after checking that positions count its records without a gap."""
    configured = InputSettings(source="test", paths=[str(path)], **settings)
    batches = list(read_shard(str(path), configured, batch_documents=batch_documents, batch_bytes=batch_bytes))
    rows = [row for batch in batches for row in batch.documents.to_pylist()]
    rejects = [reject for batch in batches for reject in batch.rejects]
    positions = [row["position"] for row in rows], [reject.position for reject in rejects]
    assert all(found == sorted(found) for found in positions)
    taken = sorted([*((position, 1) for position in positions[0]), *((r.position, r.records) for r in rejects)])
    assert all(here + size == following for (here, size), (following, _) in pairwise([*taken, (end_of(taken), 0)]))
    unusable: Counter[str] = Counter()
    for batch in batches:
        unusable.update(batch.unusable)
    return Outcome(rows, rejects, dict(unusable))


@pytest.fixture
def read_content(tmp_path: Path) -> Callable[..., Outcome]:
    """Reads bytes as a shard of a given name."""

    def read(content: bytes, name: str, **settings: Any) -> Outcome:
        path = tmp_path / name
        path.write_bytes(content)
        return read_all(path, **settings)

    return read
