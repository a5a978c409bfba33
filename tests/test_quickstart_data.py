"""conf/quickstart is what its README, planted.tsv and bad.tsv say it is."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType
from tests import build_quickstart_noise

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "conf" / "quickstart"
SOURCES = ROOT.parent / "shared" / "data"

NOT_BUILT = {Path("README.md"), build_quickstart_noise.TARGET.relative_to(CORPUS)}

Row = dict[str, str | None]


def content(file: Path) -> bytes:
    """The bytes of a file without their compression."""
    if file.suffix == ".gz":
        return gzip.decompress(file.read_bytes())
    if file.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(file.read_bytes())
    return file.read_bytes()


def rows_of(file: Path) -> Iterator[tuple[int, Row | None]]:
    """(position, record) of a JSON lines or Parquet shard; None where the bytes are no record."""
    if file.suffix == ".parquet":
        yield from enumerate(pq.read_table(file).to_pylist())
        return
    for position, line in enumerate(content(file).splitlines()):
        try:
            yield position, json.loads(line)
        except ValueError:
            yield position, None


def table(name: str) -> list[dict[str, str]]:
    with (CORPUS / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


@cache
def records() -> dict[str, list[str]]:
    """The texts of the JSON lines and Parquet shards by id; an id that comes twice has two."""
    texts = defaultdict(list)
    for file in [*CORPUS.glob("c4/*"), *CORPUS.glob("wikipedia/*")]:
        for _, row in rows_of(file):
            if row and row["id"] and row.get("text") is not None:
                texts[row["id"]].append(str(row["text"]))
    return dict(texts)


@cache
def shingles(identifier: str) -> frozenset[tuple[str, ...]]:
    words = records()[identifier][0].split()
    return frozenset(tuple(words[start : start + 5]) for start in range(len(words) - 4))


def jaccard(one: str, other: str) -> float:
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def test_the_corpus_is_small_and_its_shards_are_of_four_formats() -> None:
    """A clone stays quick: 1.7 MB at most, in JSON lines, Parquet, WARC and WET."""
    files = [file for folder in ("c4", "wikipedia", "peps") for file in (CORPUS / folder).iterdir()]
    suffixes = Counter("".join(file.suffixes) for file in files)
    assert sum(file.stat().st_size for file in files) < 1_700_000
    assert suffixes == {
        ".jsonl.gz": 2, ".jsonl.zst": 1, ".jsonl": 1, ".parquet": 3, ".warc.gz": 1, ".warc.wet.gz": 1
    }  # fmt: skip


def test_planted_pairs_have_the_jaccard_that_the_table_states() -> None:
    """Brute force over word 5-grams gives the listed similarity of each pair, which fits its kind."""
    bounds = {
        "exact": (1, 1), "repeat": (1, 1), "recrawled": (1, 1), "words": (0.88, 0.93), "header": (0.93, 1),
        "truncated": (0.89, 0.91), "edited": (0.8, 1), "distant": (0.28, 0.31),
    }  # fmt: skip
    for row in table("planted.tsv"):
        low, high = bounds[row["kind"]]
        assert jaccard(row["id"], row["copy_of"]) == pytest.approx(float(row["jaccard"]), abs=5e-5)
        assert low <= float(row["jaccard"]) <= high


def test_the_readme_counts_the_planted_pairs_right() -> None:
    """Each kind stands in README's table with its number of records."""
    counts = Counter(row["kind"] for row in table("planted.tsv"))
    lines = (CORPUS / "README.md").read_text(encoding="utf-8").splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    assert {row[0]: int(row[1]) for row in cells if row[0] in counts} == counts


def test_copies_of_every_kind_are_where_the_table_says() -> None:
    """Exact copies and repeats have equal texts; a repeat has one id twice, and no other id comes twice."""
    for row in table("planted.tsv"):
        if row["kind"] in {"exact", "repeat", "recrawled"}:
            assert records()[row["id"]][-1] == records()[row["copy_of"]][0]
    repeats = {row["id"] for row in table("planted.tsv") if row["kind"] == "repeat"}
    assert {identifier for identifier, texts in records().items() if len(texts) > 1} == repeats


def test_no_near_duplicate_is_missing_from_the_table() -> None:
    """Among all pairs that share a 5-gram, only the listed ones and one natural pair are above 0.26."""
    holders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for identifier in sorted(records()):
        for shingle in shingles(identifier):
            holders[shingle].append(identifier)
    shared = Counter(pair for names in holders.values() for pair in combinations(names, 2))
    listed = {frozenset((row["id"], row["copy_of"])) for row in table("planted.tsv")}
    close = {pair for pair, common in shared.items() if common / (len(shingles(pair[0]) | shingles(pair[1]))) > 0.26}
    assert {pair for pair in close if frozenset(pair) not in listed} == {("c4-0918", "c4-0990")}


def test_bad_records_stand_where_the_table_says_and_nowhere_else() -> None:
    """Lines that do not parse, and null or missing texts, are at the listed positions."""
    listed = {(row["file"], int(row["position"])) for row in table("bad.tsv") if row["file"][:4] != "peps"}
    found = {
        (file.relative_to(CORPUS).as_posix(), position)
        for file in [*CORPUS.glob("c4/*"), *CORPUS.glob("wikipedia/*")]
        for position, row in rows_of(file)
        if row is None or row.get("text") is None
    }
    assert found == listed


def test_the_warc_records_are_sound_and_hold_public_domain_pages() -> None:
    """fastwarc verifies each block's digest; responses are pages of the urls that they claim."""
    kinds: Counter[str] = Counter()
    archive = ArchiveIterator((CORPUS / "peps/peps-00000.warc.gz").open("rb"), parse_http=False)
    for position, record in enumerate(archive):
        assert record.verify_block_digest()
        kinds[record.headers["WARC-Type"]] += 1
        if record.record_type == WarcRecordType.response and position not in not_text_positions():
            record.parse_http()
            body = record.reader.read().decode(record.http_charset or "utf-8")
            number = str(record.headers["WARC-Target-URI"]).rstrip("/")[-4:]
            assert f"PEP {int(number)}" in body or f"PEP: {int(number)}" in body
            assert "public domain" in " ".join(body.lower().split())
    assert kinds == {"warcinfo": 1, "request": 19, "response": 20, "revisit": 1}


def not_text_positions() -> set[int]:
    return {int(row["position"]) for row in table("bad.tsv") if row["kind"] == "not_text"}


def test_the_wet_records_are_sound() -> None:
    """A WET file has a warcinfo record and conversions with a url each."""
    archive = ArchiveIterator((CORPUS / "peps/peps-00001.warc.wet.gz").open("rb"), parse_http=False)
    kinds = [(record.record_type, record.verify_block_digest()) for record in archive]
    assert kinds == [(WarcRecordType.warcinfo, True)] + 9 * [(WarcRecordType.conversion, True)]


def test_the_builder_makes_the_same_noise_again() -> None:
    """From the corpus in the repository."""
    with gzip.open(build_quickstart_noise.TARGET) as file:
        assert file.read() == b"".join(build_quickstart_noise.lines())


@pytest.mark.skipif(not SOURCES.is_dir(), reason="needs the corpora of ../shared/data")
def test_the_builder_makes_the_same_corpus_again(tmp_path: Path) -> None:
    """The script is deterministic, and what is in the repository came out of it."""
    script = ROOT / "tests" / "build_quickstart_data.py"
    subprocess.run([sys.executable, str(script), str(SOURCES), str(tmp_path)], check=True)
    built = {file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()}
    assert built == {file.relative_to(CORPUS) for file in CORPUS.rglob("*") if file.is_file()} - NOT_BUILT
    for name in built:
        if name.suffix == ".parquet":
            assert pq.read_table(tmp_path / name).equals(pq.read_table(CORPUS / name))
        else:
            assert content(tmp_path / name) == content(CORPUS / name)
