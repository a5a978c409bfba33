"""Builds conf/quickstart from public corpora: `python tests/build_quickstart_data.py SOURCE TARGET`.

SOURCE holds `web/c4-sample.jsonl.gz`, `wiki/*.json.gz` and `manuals/peps.tar.xz`. Every choice is made by a
keyed hash and every date is fixed, so the same sources give the same texts in the same order.
conf/quickstart/README.md describes what comes out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from build_quickstart_peps import Bad, rank, write_peps

Record = dict[str, str | None]

# The C4 shards: how many originals each holds, and how its bytes are wrapped.
C4_SHARDS = ((350, ".jsonl.gz"), (350, ".jsonl.zst"), (100, ".jsonl"), (200, ".jsonl.gz"))
STARTS = list(accumulate((size for size, _ in C4_SHARDS[:-1]), initial=0))
EARLY, LATE = "20240801to20240815", "20240801to20240831"  # two crawls of August 2024 that overlap
EDITIONS = {"de": "german", "es": "spanish", "fr": "french"}
HEADER = "Skip to content\nHome | News | About us | Contact | Last updated on 3 March 2019\n"
SUBSTITUTES = ("amber", "brisk", "copper", "dusty", "eager", "frozen", "gentle", "hollow", "ivory", "jolly")


class Planted(NamedTuple):
    """One row of planted.tsv: record `id` is a copy of record `copy_of`."""

    kind: str
    id: str
    copy_of: str
    jaccard: float


def shingles(text: str) -> set[tuple[str, ...]]:
    """The word 5-grams of a text, its words being what white space separates."""
    words = text.split()
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


def jaccard(one: str, other: str) -> float:
    """|A and B| / |A or B| over the word 5-grams of two texts."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b) if a | b else 1.0


def with_words_changed(text: str, share: float) -> str:
    """The text with `share` of its words replaced, at least 5 words apart.

    k replacements in n words leave a Jaccard of about (n - 5k) / (n + 5k): 0.9 for 1.05 %, 0.3 for 10.8 %.
    """
    spans = [found.span() for found in re.finditer(r"\S+", text)]
    count = max(1, round(share * len(spans)))
    chooser = random.Random(text)
    slots = chooser.sample(range(len(spans) // 6), count)
    for slot in sorted(slots, reverse=True):
        start, end = spans[6 * slot + chooser.randrange(2)]
        text = text[:start] + chooser.choice(SUBSTITUTES) + text[end:]
    return text


def truncated(text: str) -> str:
    """The first 90 % of the words."""
    spans = [found.span() for found in re.finditer(r"\S+", text)]
    return text[: spans[int(0.9 * len(spans)) - 1][1]]


COPIES: dict[str, tuple[int, Callable[[str], str]]] = {
    "exact": (16, lambda text: text),
    "words": (16, lambda text: with_words_changed(text, 0.0105)),
    "header": (12, lambda text: HEADER + text),
    "truncated": (12, truncated),
    "distant": (8, lambda text: with_words_changed(text, 0.108)),  # a control: too far apart to be merged
}


def planted_copies(originals: Sequence[Record]) -> list[tuple[Record, Planted]]:
    """Copies of long documents, each at a url of its own; and 3 records that simply come twice."""
    long = (record for record in originals if len(str(record["text"]).split()) >= 200)
    source = iter(sorted(long, key=lambda record: rank("copy", str(record["id"]))))
    copies = []
    for kind, (count, edit) in COPIES.items():
        for number in range(count):
            original = next(source)
            copies.append(copy_of(original, kind, f"{kind}-{number:02d}", edit(str(original["text"]))))
    for _ in range(3):
        original = next(source)
        copies.append((original, Planted("repeat", str(original["id"]), str(original["id"]), 1.0)))
    return copies


def copy_of(original: Record, kind: str, name: str, text: str) -> tuple[Record, Planted]:
    copy = {**original, "id": name, "text": text, "url": f"https://copies.example.org/{name}"}
    return copy, Planted(kind, name, str(original["id"]), jaccard(str(original["text"]), text))


def c4_records(source: Path) -> list[Record]:
    with gzip.open(source / "web" / "c4-sample.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [{"id": f"c4-{number:04d}", **json.loads(line)} for number, line in enumerate(lines)]


def json_line(record: Record) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def bad_lines(record: Record) -> dict[str, bytes]:
    """Lines that are not documents, made from a real record: what a reader has to survive."""
    line = json_line(record)
    latin = json_line({**record, "id": "bad-utf8", "text": "caf? au lait"}).replace(b"caf?", b"caf\xe9")
    return {
        "broken_json": line[: len(line) // 2] + b"\n",
        "null_text": json_line({**record, "id": "null-text", "text": None}),
        "missing_text": json_line({"id": "missing-text", "url": record["url"]}),
        "bad_utf8": latin,
    }


def wrapped(content: bytes, suffix: str) -> bytes:
    if suffix.endswith(".gz"):
        return gzip.compress(content, 9, mtime=0)
    if suffix.endswith(".zst"):
        return zstandard.ZstdCompressor(level=19).compress(content)
    return content


def with_copies(shards: list[list[bytes]], copies: Sequence[tuple[Record, Planted]]) -> None:
    """Inserts each copy at an arbitrary place of another shard than its original's."""
    for number, (copy, planted) in enumerate(copies):
        home = bisect_right(STARTS, int(planted.copy_of.removeprefix("c4-"))) - 1
        shard = shards[(home + 1 + number % 3) % len(shards)]
        shard.insert(random.Random(f"place {number}").randrange(len(shard)), json_line(copy))


def with_bad_lines(shards: list[list[bytes]], record: Record) -> list[Bad]:
    """Inserts the bad lines, and says where they are."""
    bad = []
    for number, (kind, line) in enumerate(bad_lines(record).items()):
        home, position = (0, 1, 2, 2)[number], 60 + 10 * number
        shards[home].insert(position, line)
        bad.append(Bad(c4_name(home), position, kind))
    return bad


def write_c4(source: Path, target: Path) -> tuple[list[Planted], list[Bad]]:
    """Writes the C4 shards with the copies, a document without text and the bad lines among them."""
    originals = c4_records(source)
    shards = [
        [json_line(record) for record in originals[start : start + size]]
        for start, (size, _) in zip(STARTS, C4_SHARDS, strict=True)
    ]
    copies = planted_copies(originals)
    with_copies(shards, copies)
    shards[2].insert(50, json_line({"id": "empty", "text": "", "url": "https://copies.example.org/empty"}))
    bad = with_bad_lines(shards, originals[7])
    for number, lines in enumerate(shards):
        name = c4_name(number)
        (target / name).write_bytes(wrapped(b"".join(lines), name))
    return [planted for _, planted in copies], bad


def c4_name(shard: int) -> str:
    return f"c4/c4-{shard:05d}-of-{len(C4_SHARDS):05d}{C4_SHARDS[shard][1]}"


def articles(source: Path, language: str, crawl: str) -> list[str]:
    """The articles of one crawl in keyed order, without stubs; the crawl cut them at 5,000 characters."""
    path = source / "wiki" / f"wikipedia_{language}_{crawl}.json.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        long = (text for text in json.load(stream) if len(text) >= 400)
        return sorted(long, key=lambda text: rank("wiki", text))


def article_title(text: str) -> str | None:
    """The subject of the first sentence where it is plain (`Benito Monción Duran (March 29, 1826 ...`).

    The corpus has no titles; the short lines before the first sentence are descriptions and notices.
    """
    sentence = next((line for line in text.split("\n") if len(line) >= 80), "")
    found = re.match(r"([A-ZÀ-Þ0-9][^.,;:()]{2,60}?),? (?:\(|is |was |ist |est |era |es |fue )", sentence)
    notice = re.match(r"This|These|Not |For |The following|In |Cet|Ne |Pour|Vous|Este|Esta", sentence)
    return found.group(1).strip() if found and not notice else None


def article(text: str, name: str, edition: str, crawl: str) -> Record:
    return {"id": name, "title": article_title(text), "text": text, "edition": edition, "crawl": crawl}


def versions(early: Sequence[str], late: Sequence[str]) -> list[tuple[float, str, str]]:
    """Pairs (Jaccard, early text, late text) of articles that both crawls hold, in the order of `late`."""
    holders: dict[tuple[str, ...], int] = {}
    for number, text in enumerate(early):
        holders.update(dict.fromkeys(shingles(text), number))
    pairs = []
    for text in late:
        votes = [holders[shingle] for shingle in shingles(text) if shingle in holders]
        if votes:
            best = early[max(set(votes), key=lambda number: (votes.count(number), number))]
            pairs.append((jaccard(best, text), best, text))
    return pairs


def english_crawls(source: Path) -> tuple[list[str], list[str], list[tuple[float, str, str]]]:
    """106 articles of each crawl: 16 unchanged, 40 edited between the two, 50 that only one of them holds."""
    early, late = (articles(source, "english", crawl) for crawl in (EARLY, LATE))
    pairs = versions(early, late)
    shared = [p for p in pairs if p[0] == 1.0][:16] + [p for p in pairs if 0.8 <= p[0] < 1.0][:40]
    related = {text for similarity, *texts in pairs if similarity > 0.1 for text in texts}
    crawls = []
    for number, texts in enumerate((early, late), start=1):
        chosen = [str(p[number]) for p in shared] + [text for text in texts if text not in related][:50]
        crawls.append(sorted(chosen, key=lambda text: rank("row", text)))
    return crawls[0], crawls[1], shared


def write_parquet(path: Path, rows: Sequence[Record]) -> None:
    schema = pa.schema([(name, pa.string()) for name in ("id", "title", "text", "edition", "crawl")])
    table = pa.Table.from_pylist(list(rows), schema)
    pq.write_table(table, path, compression="zstd", compression_level=19, row_group_size=40)


def write_wikipedia(source: Path, target: Path) -> tuple[list[Planted], list[Bad]]:
    """Writes a shard for each English crawl and one for the other editions, with a null text in it."""
    early, late, shared = english_crawls(source)
    names: list[dict[str, str]] = []
    for number, (texts, crawl) in enumerate(((early, EARLY), (late, LATE))):
        names.append({text: f"wiki-en-{number}-{row:03d}" for row, text in enumerate(texts)})
        rows = [article(text, name, "en", crawl) for text, name in names[number].items()]
        write_parquet(target / f"wikipedia/en-{number:05d}-of-00002.parquet", rows)
    others = [
        article(text, f"wiki-{edition}-{row:02d}", edition, LATE)
        for edition, language in EDITIONS.items()
        for row, text in enumerate(unalike(articles(source, language, LATE))[:20])
    ]
    others.insert(33, {"id": "wiki-null", "title": "Null", "text": None, "edition": "es", "crawl": LATE})
    write_parquet(target / "wikipedia/other-00000-of-00001.parquet", others)
    planted = [
        Planted("recrawled" if similarity == 1.0 else "edited", names[1][new], names[0][old], similarity)
        for similarity, old, new in shared
    ]
    return planted, [Bad("wikipedia/other-00000-of-00001.parquet", 33, "null_text")]


def unalike(texts: Iterable[str]) -> list[str]:
    """The texts that share no more than 20 % of their 5-grams with an earlier one (templates of stubs go)."""
    kept: list[str] = []
    for text in texts:
        if len(kept) < 20 and all(jaccard(text, other) <= 0.2 for other in kept):
            kept.append(text)
    return kept


def write_table(path: Path, rows: Sequence[Planted] | Sequence[Bad], header: Sequence[str]) -> None:
    cells = ([f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)
    path.write_text("".join("\t".join(line) + "\n" for line in [header, *cells]), encoding="utf-8")


def build(source: Path, target: Path) -> None:
    """Writes every shard, planted.tsv and bad.tsv below `target`."""
    for folder in ("c4", "wikipedia", "peps"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    c4_planted, c4_bad = write_c4(source, target)
    wiki_planted, wiki_bad = write_wikipedia(source, target)
    pep_bad = write_peps(source, target / "peps")
    write_table(target / "planted.tsv", c4_planted + wiki_planted, Planted._fields)
    write_table(target / "bad.tsv", c4_bad + wiki_bad + pep_bad, Bad._fields)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    build(arguments.source, arguments.target)
