"""Files that give thousands of times what they hold: read so far, then one error."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pyarrow as pa
import pytest
from tests.readers.conftest import PACKS, Outcome, http, parquet_bytes, warc_record

from siftlm.readers import streams

Read = Callable[..., Outcome]
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _little_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FREE_BYTES", MIB)


def many_rows(text: str, rows: int) -> bytes:
    """A Parquet file of a few KB: one text in a dictionary, and its number again and again."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
    return parquet_bytes(pa.table({"text": texts}), compression="zstd")


def page(body: bytes) -> bytes:
    return warc_record("response", http(gzip.compress(body), Content_Encoding="gzip"))


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "blank lines": ("x.jsonl.gz", lambda: gzip.compress(b'{"text": "a"}\n' + b"\r\n" * 20 * MIB)),
    "empty objects": ("x.jsonl.zst", lambda: PACKS["zstd"](b'{"text": "a"}\n' + b"{}\n" * 5 * MIB)),
    "one line": ("x.jsonl.bz2", lambda: PACKS["bzip2"](b'{"text": "a"}\n') + PACKS["bzip2"](bytes(40 * MIB))),
    "one text, many rows": ("x.parquet", lambda: many_rows("a" * 100_000, 100_000)),
    "empty texts, many rows": ("x.parquet", lambda: many_rows("", 3_000_000)),
    "bodies in records": ("x.warc", lambda: page(b"a") + page(bytes(2 * MIB)) * 100),
    "line ends between records": ("x.warc.gz", lambda: gzip.compress(page(b"a")) + gzip.compress(b"\r\n" * 20 * MIB)),
    "records in one member": ("x.warc.gz", lambda: gzip.compress(page(b"a") + warc_record("response", b"") * 200_000)),
}


@pytest.mark.parametrize("bomb", sorted(BOMBS))
def test_a_bomb_is_read_so_far_and_then_an_error(bomb: str, read_content: Read) -> None:
    """The document in front of it is there; the last reject says which key allows more."""
    name, make = BOMBS[bomb]
    content = make()
    assert len(content) < MIB
    outcome = read_content(content, name)
    assert outcome.texts[0] in ("", "a", "a" * 100_000)
    assert sum(map(len, outcome.texts)) + 128 * len(outcome.rows) <= max(MIB, 200 * len(content))
    assert outcome.errors[-1] == "expands_too_far"
    assert "max_expansion" in outcome.rejects[-1].detail
    assert outcome.errors.count("expands_too_far") == 1


@pytest.mark.parametrize(("text", "rows"), [("a" * 100_000, 100_000), ("", 300_000)])
def test_rows_of_parquet_that_are_not_read_are_counted(text: str, rows: int, read_content: Read) -> None:
    """The file says how many there are."""
    outcome = read_content(many_rows(text, rows), "x.parquet")
    assert 0 < len(outcome.rows) < rows
    assert len(outcome.rows) + sum(reject.records for reject in outcome.rejects) == rows


@pytest.mark.parametrize("field", ["id", "url", "domain", "extra"])
def test_long_values_beside_the_text_cost_no_document(field: str, read_content: Read) -> None:
    """One value of 60 KB in 5,000 rows is 300 MB; those beyond the bound are left out and counted, short ones stay."""
    rows = 5_000
    short = {
        name: pa.array([f"{name}{row}" for row in range(rows)]) for name in ("text", "id", "url", "domain", "extra")
    }
    long = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["v" * 60_000]))
    content = parquet_bytes(pa.table(short | {field: long}), compression="zstd")
    fields = {"id_field": "id", "domain_field": "domain", "metadata_fields": ["extra"]}
    outcome = read_content(content, "x.parquet", max_expansion=20, **fields)
    assert outcome.texts == short["text"].to_pylist()
    assert not outcome.rejects
    column = {"id": "record_id", "extra": "metadata"}.get(field, field)
    whole = sum(row[column] is not None for row in outcome.rows)
    assert 0 < whole * 60_000 <= max(MIB, 20 * len(content))
    for name in {"id", "url", "domain"} - {field}:
        assert [row[{"id": "record_id"}.get(name, name)] for row in outcome.rows] == short[name].to_pylist()


@pytest.mark.parametrize("pack", sorted(set(PACKS) - {"none"}))
def test_a_configuration_may_allow_more(pack: str, read_content: Read) -> None:
    """Ten thousand equal lines are a strange corpus, and none of our business."""
    lines = b'{"text": "%s"}\n' % (b"a" * 1000) * 10_000
    refused = read_content(PACKS[pack](lines), "x.jsonl", max_expansion=20)
    assert refused.errors == ["expands_too_far"]
    allowed = read_content(PACKS[pack](lines), "x.jsonl", max_expansion=1_000_000)
    assert (len(allowed.rows), allowed.rejects) == (10_000, [])


def test_text_that_compresses_well_is_no_bomb(read_content: Read) -> None:
    """Logs and boilerplate come to a hundredth at best."""
    lines = b"".join(b'{"text": "%d %s"}\n' % (n * n, b"the same words " * 100) for n in range(10_000))
    content = gzip.compress(lines)
    assert len(lines) > 50 * len(content)
    assert (len((outcome := read_content(content, "x.jsonl.gz")).rows), outcome.rejects) == (10_000, [])
