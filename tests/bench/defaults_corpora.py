"""Builds the corpora of `defaults.py` from a folder of real text, with noise that is planted and named.

Every choice is made by a seeded generator, so the same folder gives the same bytes. A record has `id`, `text` and
`kind`, which is `text` or the name of the noise.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

NEEDED = ("wiki", "news", "code", "books", "benchmarks/lambada", "web/webpages.warc.wet.gz")
PAGE_CHARACTERS = 8_000  # of a web page at most
PART_CHARACTERS = 3_000  # of a part of a novel, and of a held-out document at most
HELD_OUT = 60  # documents of a domain
ENGLISH = frozenset(["the", "of", "and", "to", "in", "is", "for", "you", "that", "with"])
MISREAD = {"m": "rn", "e": "c", "l": "1", "h": "li", "o": "0", "i": "!", "s": "5", "u": "n", "d": "cl", "w": "vv"}

Record = tuple[str, str]  # kind and text


@dataclass(frozen=True)
class Corpus:
    """Holds the texts of a corpus: the pool's by source, and those that measure models by domain."""

    pool: Mapping[str, list[Record]]
    held_out: Mapping[str, list[str]]

    def write(self, folder: Path) -> None:
        """Writes a file for every source and domain into `pool` and `held_out`."""
        held_out = {name: _plain(of) for name, of in self.held_out.items()}
        for part, texts in (("pool", self.pool), ("held_out", held_out)):
            for name, records in texts.items():
                path = folder / part / f"{name}.jsonl.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(gzip.compress(b"".join(_lines(name, records)), 6, mtime=0))


def _plain(texts: Iterable[str]) -> list[Record]:
    return [("text", text[:PART_CHARACTERS]) for text in texts]


def _lines(name: str, records: Iterable[Record]) -> Iterator[bytes]:
    for number, (kind, text) in enumerate(records):
        record = {"id": f"{name}-{number:05}", "text": text, "kind": kind}
        yield json.dumps(record, ensure_ascii=False).encode(errors="replace") + b"\n"


def missing(data: Path) -> list[str]:
    """Returns which parts of the data folder are not there."""
    return [name for name in NEEDED if not (data / name).exists()]


def strings(path: Path) -> list[str]:
    """Returns the texts of a gzipped JSON list of strings."""
    made: list[str] = json.loads(gzip.decompress(path.read_bytes()))
    return [text for text in made if text.strip()]


def encyclopedia(data: Path) -> list[str]:
    """Returns the articles that the other reference model is trained on."""
    return strings(data / "wiki" / "wikipedia_english_20240601to20240615.json.gz")[:200]


def pages(data: Path) -> Corpus:
    """Returns English web pages as WET files have them, menus and all, with a sixth of the pages in other languages."""
    texts = [text[:PAGE_CHARACTERS] for text in _converted(data / "web" / "webpages.warc.wet.gz") if len(text) > 300]
    others = [text for text in texts if not _english(text)]
    pool = [("text", text) for text in texts if _english(text)] + [("foreign", text) for text in others[::10]]
    random.Random("pages").shuffle(pool)
    return Corpus({"web": pool}, _general(data))


def library(data: Path) -> Corpus:
    """Returns parts of novels, half of them as a scanner misreads them, news and code; a tenth of all is shuffled."""
    chance = random.Random("library")
    novels = list(_novels(data / "books" / "ELTeC-eng.level1.tar.xz"))
    parts = [part for text in novels[:80] for part in _parts(text, chance, 6)]
    news = strings(data / "news" / "bbc_news_20240601to20240615.json.gz")[:400]
    code = strings(data / "code" / "github_python_20240601to20240615.json.gz")[:250]
    pool = {
        "books": [("ocr", misread(part, chance)) if chance.random() < 0.5 else ("text", part) for part in parts],
        "news": [("text", text) for text in news],
        "code": [("text", text) for text in code],
    }
    pool = {name: [_sometimes_shuffled(record, chance) for record in records] for name, records in pool.items()}
    books = [part for text in novels[80:] for part in _parts(text, chance, 4)][:HELD_OUT]
    known = {name: texts for name, texts in _general(data).items() if name != "wikipedia"}
    return Corpus(pool, {"books": books, **known})


def misread(text: str, chance: random.Random) -> str:
    """Returns a text as a bad scan has it: one letter in eleven misread, lines cut and hyphenated, spaces lost."""
    letters = [MISREAD.get(letter, letter) if chance.random() < 1 / 6 else letter for letter in text]
    joined = "".join(letter for letter in letters if letter != " " or chance.random() > 0.03)
    lines = [joined[start : start + 60] for start in range(0, len(joined), 60)]
    return "-\n".join(lines) + f"\n{chance.randint(1, 400)}\n"


def _sometimes_shuffled(record: Record, chance: random.Random) -> Record:
    if chance.random() >= 0.1:
        return record
    words = record[1].split()
    chance.shuffle(words)
    return "shuffled", " ".join(words)


def _general(data: Path) -> dict[str, list[str]]:
    """What a general model should know: articles, news, and passages of novels with a word to guess."""
    lines = (data / "benchmarks" / "lambada" / "lambada_test.jsonl").read_text().splitlines()
    return {
        "wikipedia": strings(data / "wiki" / "wikipedia_english_20240801to20240815.json.gz")[:HELD_OUT],
        "news": strings(data / "news" / "bbc_news_20240701to20240714.json.gz")[:HELD_OUT],
        "lambada": [json.loads(line)["text"] for line in lines[: 2 * HELD_OUT]],
    }


def _converted(path: Path) -> Iterator[str]:
    """The texts of a WET file's conversion records."""
    content = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    for record in content.split("WARC/1.0\r\n"):
        head, _, body = record.partition("\r\n\r\n")
        if "WARC-Type: conversion" in head:
            yield body.strip()


def _english(text: str) -> bool:
    words = re.findall(r"[a-z]+", text.lower())
    return sum(word in ENGLISH for word in words) > 0.12 * max(1, len(text.split()))


def _novels(path: Path) -> Iterator[str]:
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            if member.name.endswith(".xml") and (file := archive.extractfile(member)) is not None:
                paragraphs = ElementTree.parse(file).getroot().iter("{http://www.tei-c.org/ns/1.0}p")
                yield "\n".join(" ".join("".join(one.itertext()).split()) for one in paragraphs)


def _parts(text: str, chance: random.Random, count: int) -> list[str]:
    """Some parts of a novel, none of which overlap."""
    starts = range(0, len(text) - PART_CHARACTERS, PART_CHARACTERS)
    return [text[start : start + PART_CHARACTERS] for start in chance.sample(starts, min(count, len(starts)))]
