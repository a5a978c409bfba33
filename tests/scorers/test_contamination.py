"""Overlap with benchmarks, against sets of word tuples in plain Python."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm.errors import UserError
from siftlm.scorers.contamination import ContaminationScorer, ContaminationSettings

WORDS = st.lists(st.sampled_from(["a", "b", "c", "dé", "日"]), max_size=12)


def write(path: Path, items: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return str(path)


def scored(path: str, texts: Sequence[str], **more: Any) -> list[tuple[float | None, str | None]]:
    """(overlap, item) of every text."""
    scorer = ContaminationScorer(ContaminationSettings(name="quiz", path=path, **more))
    batch = scorer.score(pa.record_batch({"text": pa.array(texts, pa.large_string())}))
    assert batch.schema == pa.schema(scorer.fields())
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All of n words, or one of all words where there are fewer."""
    return [tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))] if words else []


def expected(
    items: Sequence[Sequence[str]], words: Sequence[str], n: int, fewest: int
) -> tuple[float | None, str | None]:
    """Every n-gram of the text with every n-gram of every item, and every place with every item that is short."""
    owner: dict[tuple[str, ...], int] = {}
    for number, item in enumerate(items):
        for ngram in ngrams(item, len(item) if min(fewest, n) <= len(item) < n else n):
            owner.setdefault(ngram, number)
    mine = ngrams(words, n)
    found = [(place, owner[ngram]) for place, ngram in enumerate(mine) if ngram in owner]
    for length in range(min(fewest, n), n):
        places = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)] if length < len(words) else []
        whole = [(min(i, len(mine) - 1), owner[gram]) for i, gram in enumerate(places) if gram in owner]
        found += [(place, number) for place, number in whole if len(items[number]) == length]
    if not mine:
        return None, None
    hits = Counter(number for _, number in found)
    best = str(min(hits, key=lambda k: (-hits[k], k))) if hits else None
    return len({place for place, _ in found}) / len(mine), best


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(WORDS, min_size=1, max_size=6),
    texts=st.lists(WORDS, max_size=6),
    n=st.integers(1, 6),
    fewest=st.integers(1, 7),
)
def test_overlap_and_item_are_those_of_sets_of_ngrams(
    tmp_path_factory: pytest.TempPathFactory, items: list[list[str]], texts: list[list[str]], n: int, fewest: int
) -> None:
    """Short, empty and repeated texts and items among them, whatever the least length of an item."""
    items = [*items, ["a", "b"]]
    path = write(tmp_path_factory.mktemp("quiz") / "items.jsonl", [{"text": " ".join(item)} for item in items])
    found = scored(path, [" ".join(text) for text in texts], ngram=n, min_words=fewest)
    assert found == [pytest.approx(expected(items, text, n, fewest)) for text in texts]


@pytest.mark.parametrize("length", range(1, 15))
@pytest.mark.parametrize("at", [0, 700, 2000])
def test_an_item_of_any_length_is_found_from_the_least_one_on(tmp_path: Path, length: int, at: int) -> None:
    """At the beginning, within and at the end of a page, in upper case and with punctuation; else it is counted."""
    draw = random.Random(0)
    page = [f"w{draw.randrange(9999)}" for _ in range(2000)]
    item = [f"q{n}" for n in range(length)]
    path = write(tmp_path / "items.jsonl", [{"text": " ".join(item)}, {"text": "?!"}])
    planted = " ".join([*page[:at], '"' + "; ".join(item).upper() + '!"', *page[at:]])
    torn = " ".join([*page[:at], *item[:-1], "and", *item[-1:], *page[at:]])
    found, apart, alone = scored(path, [planted, torn, " ".join(item)])
    hits = max(1, length - 12)
    assert found == ((hits / (2000 + length - 12), "0") if length >= 8 else (0.0, None))
    assert apart == ((pytest.approx(1 / 2003), "0") if length == 14 else (0.0, None))
    assert alone == (1.0, "0")
    facts = ContaminationScorer(ContaminationSettings(name="quiz", path=path)).facts()
    told = {"items": 2, "found_whole": int(8 <= length < 13), "too_short": int(length < 8), "without_words": 1}
    assert facts == told


def test_a_planted_item_is_found_in_a_long_document(tmp_path: Path) -> None:
    """13 words in a row, whatever their case and the punctuation between them; 12 are not enough."""
    words = random.Random(0)
    page = [f"w{words.randrange(9999)}" for _ in range(2000)]
    question = [f"q{n}" for n in range(13)]
    path = write(tmp_path / "items.jsonl", [{"text": "nothing of the kind " * 5}, {"text": " ".join(question)}])
    planted = " ".join([*page[:700], ", ".join(question).upper() + "?", *page[700:]])
    nearly = " ".join([*page[:700], *question[:12], *page[700:]])
    assert scored(path, [planted, nearly, "", "?!"]) == [(1 / 2001, "1"), (0.0, None), (None, None), (None, None)]


def test_fields_are_joined_and_lists_count(tmp_path: Path) -> None:
    """Question and choices, as MMLU has them; the same from every format."""
    items = [{"question": "which of these is red", "choices": ["the sea", "a ripe tomato"], "answer": 1}] * 2
    plain = write(tmp_path / "items.jsonl", items)
    content = Path(plain).read_bytes()
    (tmp_path / "items.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "items.jsonl.zst").write_bytes(zstandard.compress(content))
    pq.write_table(pa.Table.from_pylist(items), tmp_path / "items.parquet")
    for name in ("items.jsonl", "items.jsonl.gz", "items.jsonl.zst", "items.parquet"):
        found = scored(
            str(tmp_path / name), ["is red the sea a ripe tomato"], text_fields=["question", "choices"], ngram=7
        )
        assert found == [(1.0, "0")]


@pytest.mark.parametrize(
    ("name", "content", "must"),
    [
        ("items.jsonl", b'{"text": "a b"}\n{"text": 3}\n', "got 'text', which is int in item 1"),
        ("items.jsonl", b'{"question": "a b"}\n', "got 'text', which is NoneType in item 0"),
        ("items.jsonl", b'{"text": "a b"\n', "must be a benchmark's items"),
        ("items.jsonl", b'{"text": "?!"}\n', "must hold items with words"),
        ("items.jsonl", b"", "must hold items with words"),
        ("items.jsonl.gz", b"\x1f\x8bcut", "must be a benchmark's items"),
        ("items.parquet", b"PAR1", "must be a benchmark's items"),
        ("items.csv", b"text\n", "not a .jsonl"),
    ],
)
def test_what_is_no_benchmark_is_one_line(tmp_path: Path, name: str, content: bytes, must: str) -> None:
    """The key, the file and the item."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        ContaminationScorer(ContaminationSettings(name="quiz", path=str(tmp_path / name))).check()
    assert must in str(raised.value)
    assert str(raised.value).startswith("annotate.contamination.quiz.")
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"annotate\.contamination\.quiz\.path: .*No such file"):
        ContaminationScorer(ContaminationSettings(name="quiz", path=str(tmp_path / "none.jsonl"))).digest()


def test_the_content_of_the_benchmark_is_in_the_digest(tmp_path: Path) -> None:
    """Other items, other columns; another place, the same."""
    one, same = write(tmp_path / "a.jsonl", [{"text": "a"}]), write(tmp_path / "b.jsonl", [{"text": "a"}])
    other = write(tmp_path / "c.jsonl", [{"text": "b"}])
    digests = [ContaminationScorer(ContaminationSettings(name="q", path=path)).digest() for path in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
