"""What every reader promises, over the registry and every compression."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.readers.conftest import KINDS, PACKS, Kind, Outcome, read_all

from siftlm.documents import RECORD_SCHEMA
from siftlm.readers import FORMATS, InputSettings, read_shard

CASES = [(kind, pack) for kind, facts in KINDS.items() for pack in facts.packs]
STREAMS = [(kind, pack) for kind, pack in CASES if kind not in ("parquet", "text")]
TEXTS = ["First text.", "Zweiter Text: größer.", "第三の文章です。" * 40, "x" * 3000, "last one"]

# Characters that every format can hold as they are, lines and pages of plain text included.
SIMPLE = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40)
QUICK = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def shard(kind: str, pack: str, texts: list[str]) -> tuple[bytes, list[int]]:
    """A shard, and where in it records end: archives have a member for each record, other formats one for all."""
    parts = KINDS[kind].write(texts)
    if KINDS[kind].by_record or pack == "none":
        parts = [PACKS[pack](part) for part in parts]
        return b"".join(parts), [sum(map(len, parts[: i + 1])) for i in range(len(parts))]
    whole = PACKS[pack](b"".join(parts))
    return whole, [len(whole)]


def read(path: Path, kind: str, pack: str, content: bytes, **more: object) -> Outcome:
    path.write_bytes(content)
    facts: Kind = KINDS[kind]
    return read_all(path, format=facts.reader, compression=pack, **dict(facts.settings), **more)


def test_every_format_has_a_reader_and_every_reader_is_tested() -> None:
    """The registry and these tests know the same formats; `wat` is there to be refused."""
    assert set(FORMATS) == {facts.reader for facts in KINDS.values()} | {"wat"}
    assert all(callable(of.open_reader()) for of in FORMATS.values())


@pytest.mark.parametrize(("kind", "pack"), CASES)
@QUICK
@given(texts=st.lists(SIMPLE, min_size=1, max_size=6))
def test_documents_come_back_as_they_were_written(tmp_path: Path, kind: str, pack: str, texts: list[str]) -> None:
    """Any texts round-trip through every format and compression in their order, with their urls."""
    outcome = read(tmp_path / KINDS[kind].name, kind, pack, shard(kind, pack, texts)[0])
    expected = texts[:1] if kind == "text" else texts
    assert outcome.texts == expected
    assert outcome.errors == []
    if KINDS[kind].has_urls:
        assert [row["url"] for row in outcome.rows] == [f"http://{i}.org/" for i in range(len(texts))]


@pytest.mark.parametrize(("kind", "pack"), STREAMS)
def test_a_shard_that_is_cut_short_keeps_what_comes_before_the_cut(tmp_path: Path, kind: str, pack: str) -> None:
    """Any prefix gives a prefix of the documents, and one error at most; none where the cut is between records."""
    content, ends = shard(kind, pack, TEXTS)
    whole = read(tmp_path / "x", kind, pack, content)
    assert whole.texts == TEXTS
    generator = random.Random(kind + pack)
    cuts = {1, 2, 5, 11, len(content) - 1, *ends, *(generator.randrange(len(content)) for _ in range(60))}
    for cut in sorted(cuts):
        outcome = read(tmp_path / "x", kind, pack, content[:cut])
        before = sum(end <= cut for end in ends)
        texts = outcome.texts
        if kind in ("lines", "paragraphs") and pack == "none" and texts:
            # Nothing tells that plain text was cut: its last line is simply shorter.
            assert TEXTS[len(texts) - 1].startswith(texts[-1]) or outcome.errors == ["bad_utf8"]
            texts = texts[:-1]
        assert TEXTS[: len(texts)] == texts
        assert len(outcome.errors) <= 1
        assert len(outcome.rows) + len(outcome.rejects) >= before
        if cut in ends:
            assert outcome.errors == []


@pytest.mark.parametrize(("kind", "pack"), CASES)
def test_random_damage_is_counted_and_never_raised(tmp_path: Path, kind: str, pack: str) -> None:
    """Changed, removed and added bytes anywhere cost records, not the run."""
    content, _ = shard(kind, pack, TEXTS)
    generator = random.Random(kind + pack)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(generator.choice([1, 1, 2, 20])):
            at = generator.randrange(len(damaged) + 1)
            length = generator.choice([0, 1, 1, 8])
            damaged[at : at + length] = generator.randbytes(generator.choice([0, 1, 1, 8]))
        read(tmp_path / "x", kind, pack, bytes(damaged), max_document_bytes=1 << 20)


@pytest.mark.parametrize("reader", sorted(FORMATS))
@QUICK
@given(content=st.binary(max_size=300))
def test_bytes_that_are_no_shard_at_all_are_counted_and_never_raised(
    tmp_path: Path, reader: str, content: bytes
) -> None:
    """Any bytes under any format give documents or rejects."""
    path = tmp_path / "x"
    path.write_bytes(content)
    if reader != "wat":
        read_all(path, format=reader)


@pytest.mark.parametrize(("kind", "pack"), STREAMS)
def test_one_bad_byte_costs_one_record_where_records_are_members(tmp_path: Path, kind: str, pack: str) -> None:
    """In archives with a member a record, damage in one leaves all the others, in every compression."""
    if not KINDS[kind].by_record or pack == "none":
        return
    content, ends = shard(kind, pack, TEXTS)
    start, end = ends[-3], ends[-2]  # the last record but one
    expected = TEXTS[:-2] + TEXTS[-1:]
    for at in range(start + 12, end, 3):
        damaged = bytearray(content)
        damaged[at] ^= 0x5A
        outcome = read(tmp_path / "x", kind, pack, bytes(damaged))
        assert outcome.texts in (expected, TEXTS)  # some bits mean nothing: a time, an operating system
        # A bit of an ARC record's url leaves its text whole; the damage is counted beside it.
        assert len(outcome.errors) in ((1,) if outcome.texts == expected else (0, 1) if kind == "arc" else (0,))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_size_of_batches_changes_nothing_but_batches(tmp_path: Path, kind: str) -> None:
    """The same rows and rejects come out, one at a time or all at once."""
    content, _ = shard(kind, "none", TEXTS)
    one_by_one = read(tmp_path / "x", kind, "none", content, batch_documents=1)
    assert one_by_one == read(tmp_path / "x", kind, "none", content)
    assert one_by_one == read(tmp_path / "x", kind, "none", content, batch_bytes=1)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_empty_file_has_no_records(tmp_path: Path, kind: str) -> None:
    """No bytes, no documents; only Parquet needs more than that to be a shard."""
    outcome = read(tmp_path / "x", kind, "none", b"")
    assert outcome.texts == []
    assert outcome.errors == (["truncated_parquet"] if kind == "parquet" else [])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"lines", "paragraphs", "text"}))
def test_an_empty_text_is_a_document(tmp_path: Path, kind: str) -> None:
    """A document of no bytes is kept: selection has a name for what it does with it, a reader has none."""
    assert read(tmp_path / "x", kind, "none", shard(kind, "none", ["", "x", ""])[0]).texts == ["", "x", ""]


@pytest.mark.parametrize(("kind", "pack"), CASES)
def test_a_document_above_the_limit_is_counted_and_the_next_one_read(tmp_path: Path, kind: str, pack: str) -> None:
    """`document_too_large` says how large, at the limit and far above it."""
    texts = ["x" * 101, "y" * 100, "z" * 3_000_000, "last"]
    outcome = read(tmp_path / "x", kind, pack, shard(kind, pack, texts)[0], max_document_bytes=100)
    if kind == "text":
        assert (outcome.texts, outcome.errors) == ([], ["document_too_large"])
    else:
        assert outcome.texts == ["y" * 100, "last"]
        assert outcome.errors == ["document_too_large"] * 2


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_batches_have_the_declared_schema(tmp_path: Path, kind: str) -> None:
    """Every batch is RECORD_SCHEMA, and valid Arrow to the last byte."""
    path = tmp_path / "x"
    path.write_bytes(shard(kind, "none", TEXTS)[0])
    configured = InputSettings(source="test", paths=["x"], format=KINDS[kind].reader, **dict(KINDS[kind].settings))
    for batch in read_shard(str(path), configured):
        assert batch.documents.schema == RECORD_SCHEMA
        batch.documents.validate(full=True)
