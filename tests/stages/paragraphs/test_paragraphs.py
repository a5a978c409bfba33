"""Cuts against brute force: which lines and paragraphs go, whatever the shards, blocks and partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stages.conftest import Document, shards_of, write_clustered

from siftlm.engine.drive import Context
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task
from siftlm.engine.spill import Links
from siftlm.stages.paragraphs import work as paragraphs
from siftlm.stages.paragraphs.settings import ParagraphSettings
from siftlm.stages.paragraphs.step import Paragraphs
from siftlm.stages.paragraphs.work import CommonParagraphs, ParagraphRanks
from siftlm.stages.texts import document_batches
from siftlm.statistics.hashing import hash_strings, keyed
from siftlm.store import Store

SEED = 3
LINES = [f"line {n}{' of some words' * (n % 3)}" for n in range(12)]
RANKED = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=60)


def corpus(seed: int, shards: int = 3) -> list[list[Document]]:
    """Shards of few different lines in paragraphs, CRLF among them, with empty, repeated and duplicate documents."""
    rng = np.random.default_rng(seed)
    made: list[list[Document]] = [[] for _ in range(shards)]
    for n in range(40):
        breaks = rng.choice(["\n", "\n", "\n\n", "\r\n", "\n \n"], 9)
        text = "".join(f"{LINES[line]}{end}" for line, end in zip(rng.integers(0, 12, 9), breaks, strict=False))
        text = text[: rng.choice([0, 30, len(text) - 1, len(text)])] if n % 5 else f"Ünique {n} 日本\n{text}"
        made[int(rng.integers(shards))].append((f"d{n}", text, f"d{n - 1}" if n % 7 == 6 else None))
    return made


def cut(settings: ParagraphSettings, shards: Sequence[Sequence[Document]], folder: Path, **rest: Any) -> dict[str, Any]:
    """Every document's cuts by its id, and under "text" what is left: the stage's functions without Beam."""
    store = Store(str(folder))
    tasks = Paragraphs(settings, SEED, True).tasks(shards_of(write_clustered(store, shards)), store)
    options = {"drops": True, "partitions": 3, **rest}
    stage = CommonParagraphs(settings, SEED, store=store, links=Links(store, "links"), **options)
    by_part, by_shard = defaultdict(list), defaultdict(list)
    for task in reversed(tasks):
        for part, span in stage.spans(task):
            by_part[part].append(span)
    for part, spans in by_part.items():
        for shard, span in stage.common(part, spans):
            by_shard[shard].append(span)
    for task in tasks:
        stage.cut(task, by_shard[task.shard])
    return read(store, tasks, shards)


def read(store: Store, tasks: Sequence[Task], shards: Sequence[Sequence[Document]]) -> dict[str, Any]:
    found = {}
    for task, shard in zip(tasks, shards, strict=True):
        seen = Task(task.shard, "", "", {**task.inputs, "paragraphs": task.key})
        texts = [text for batch in document_batches(seen, store, rows=7) for text in batch.to_pylist()]
        for row, text, (name, _, _) in zip(store.table("paragraphs", task.key).to_pylist(), texts, shard, strict=True):
            assert row["byte_count"] == text["byte_count"]
            found[name] = {**row, "text": text["text"]}
    return found


def units(text: str, unit: str) -> list[tuple[str, list[int]]]:
    """(content, the lines that go with it) of lines that are not blank, or of runs of them and the blanks after."""
    found: list[tuple[list[str], list[int]]] = []
    blank = True
    for n, line in enumerate(text.split("\n")):
        if line.strip() and (unit == "line" or blank):
            found.append(([line], [n]))
        elif line.strip():
            found[-1][0].append(line)
            found[-1][1].append(n)
        elif found and unit == "paragraph":
            found[-1][1].append(n)
        blank = not line.strip()
    return [("\n".join(lines).strip(), numbers) for lines, numbers in found]


def brute_force(
    settings: ParagraphSettings, shards: Sequence[Sequence[Document]], drops: bool = True
) -> dict[str, str]:
    """What is left of every document, by a dictionary of sets."""
    documents = [row for shard in shards for row in shard]
    counted = [(owner or name, text) for name, text, owner in documents if not (drops and owner)]
    have = defaultdict(set)
    for cluster, text in counted:
        for content, _ in units(text, settings.unit):
            if len(content.encode()) >= settings.min_bytes:
                have[content].add(cluster)
    left = {}
    for name, text, owner in documents:
        left[name] = text
        if drops and owner:
            continue
        gone = set[int]()
        for content, lines in units(text, settings.unit):
            owners = have[content]
            first = max(owners, key=draw, default=None) if settings.keep == "first" else None
            if len(owners) >= settings.min_documents and (owner or name) != first:
                gone.update(lines)
        stay = [line for n, line in enumerate(text.split("\n")) if n not in gone]
        left[name] = "\n".join(stay) if not gone or "".join(stay).strip() else ""
    return left


def draw(name: str) -> int:
    """The draw of the held-out split, whose smallest are held out: who has the largest keeps a paragraph."""
    return int(keyed(hash_strings(pa.array([name])), SEED, "reference")[0])


@pytest.mark.parametrize("unit", ["line", "paragraph"])
@pytest.mark.parametrize("keep", ["first", "none"])
@pytest.mark.parametrize(("min_documents", "min_bytes", "drops"), [(2, 1, True), (3, 10, True), (2, 1, False)])
def test_what_is_left_is_what_brute_force_leaves(
    unit: Any, keep: Any, min_documents: int, min_bytes: int, drops: bool, tmp_path: Path
) -> None:
    """Documents that are out already keep their text; with duplicates in, a cluster counts as one."""
    chosen = ParagraphSettings(unit=unit, keep=keep, min_documents=min_documents, min_bytes=min_bytes)
    for seed in range(4):
        shards = corpus(seed)
        found = cut(chosen, shards, tmp_path / str(seed), drops=drops)
        assert {name: row["text"] for name, row in found.items()} == brute_force(chosen, shards, drops)
        assert any(row["cut_count"] for row in found.values())


def test_what_was_cut_goes_back_to_its_place(tmp_path: Path) -> None:
    """The spans, the store's text and the numbers of the columns agree for every document."""
    shards = corpus(1)
    found = cut(ParagraphSettings(min_bytes=1), shards, tmp_path)
    for name, text, _ in (row for shard in shards for row in shard):
        whole, row = text.encode(), found[name]
        back = row["text"].encode()
        for span in row["cut_spans"]:
            back = back[: span["start"]] + whole[span["start"] : span["end"]] + back[span["start"] :]
        assert back == whole
        assert row["cut_bytes"] == sum(span["end"] - span["start"] for span in row["cut_spans"])
        assert row["byte_count"] + row["cut_bytes"] == len(whole)
        assert row["cut_share"] == (row["cut_bytes"] / len(whole) if whole else 0.0)
        assert bool(row["cut_count"]) == bool(row["cut_spans"])


@pytest.mark.parametrize("partitions", [1, 5])
def test_shards_blocks_and_partitions_change_nothing(
    partitions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reversed shards and rows, small blocks and batches, and the pipeline itself leave the same of every document."""
    chosen, shards = ParagraphSettings(min_bytes=1), corpus(2, shards=4)
    expected = cut(chosen, shards, tmp_path / "first")
    monkeypatch.setattr(paragraphs, "BLOCK", 10)
    monkeypatch.setattr(paragraphs, "BATCH_DOCUMENTS", 3)
    turned = [list(reversed(shard)) for shard in reversed(shards)]
    assert cut(chosen, turned, tmp_path / "turned", partitions=partitions) == expected
    store = Store(str(tmp_path / "beam"))
    step = Paragraphs(chosen, SEED, True)
    tasks = step.tasks(shards_of(write_clustered(store, turned)), store)
    monkeypatch.setattr(paragraphs, "ENTRIES", 1 + 10_000 // 128 // partitions)
    markers = step.work(tasks, Context(store, RunnerSettings(threads=2), text_bytes=10_000))
    assert read(store, tasks, turned) == expected
    assert sum(m.facts["cut_paragraphs"] for m in markers) == sum(row["cut_count"] for row in expected.values())
    assert sum(m.facts["cut_bytes"] for m in markers) == sum(row["cut_bytes"] for row in expected.values())
    assert not Path(store.root, "links").exists() or not list(Path(store.root, "links").iterdir())


def test_the_marker_counts_what_is_out(tmp_path: Path) -> None:
    """Documents that were out already, and those of which nothing is left."""
    shards: list[list[Document]] = [[("a", "x", None), ("b", "x\n", None), ("c", "x", "a"), ("d", "", None)], []]
    store, chosen = Store(str(tmp_path)), ParagraphSettings(min_bytes=1, keep="none")
    step = Paragraphs(chosen, SEED, True)
    tasks = step.tasks(shards_of(write_clustered(store, shards)), store)
    first, second = step.work(tasks, Context(store, RunnerSettings(threads=1), text_bytes=4))
    assert (first.rows_in, first.rows_out, first.dropped) == (4, 1, {"all_cut": 2, "not_alive": 1})
    assert (second.rows_in, second.rows_out, second.dropped) == (0, 0, {})
    assert [row["text"] for row in read(store, tasks, shards).values()] == ["", "", "x", ""]


def test_a_line_that_a_million_documents_have_is_passed_on_twice_a_block(tmp_path: Path) -> None:
    """The two smallest document hashes decide; and 3,000 documents with one line keep one."""
    ranks = np.random.default_rng(0).permutation(1_000_000).astype(np.uint64)
    hot = ParagraphRanks(np.full(1_000_000, 7, np.uint64), ranks)
    assert hot.smallest(2).ranks.tolist() == [0, 1]
    shard: list[Document] = [(f"d{n}", "the line that they all have\nand" + str(n), None) for n in range(3000)]
    store, chosen = Store(str(tmp_path / "one")), ParagraphSettings(min_bytes=10)
    (task,) = write_clustered(store, [shard])
    stage = CommonParagraphs(chosen, SEED, True, store, Links(store, "links"))
    assert [span[2] for _, (_, span) in stage.spans(task)] == [2]
    found = cut(chosen, [shard], tmp_path / "two")
    assert sum("the line" in row["text"] for row in found.values()) == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(RANKED, max_size=4), st.integers(2, 5))
def test_common_keys_survive_being_reduced_block_by_block(blocks: list[list[tuple[int, int]]], documents: int) -> None:
    """As many smallest ranks of each block give the same common keys and firsts as all entries do."""
    have = defaultdict(set)
    for key, rank in (pair for block in blocks for pair in block):
        have[key].add(rank)
    expected = sorted((key, min(ranks)) for key, ranks in have.items() if len(ranks) >= documents)
    parts = [ParagraphRanks(*np.array(block, np.uint64).reshape(-1, 2).T) for block in blocks]
    common = ParagraphRanks.joined([part.smallest(documents) for part in parts]).common(documents)
    assert list(zip(common.keys.tolist(), common.ranks.tolist(), strict=True)) == expected
    there, firsts = common.find(np.arange(8, dtype=np.uint64))
    assert {key: int(firsts[key]) for key in np.flatnonzero(there).tolist()} == dict(expected)


def test_keys_depend_on_the_settings_the_seed_and_all_shards(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    shards = shards_of(write_clustered(store, corpus(0)))
    base = [task.key for task in Paragraphs(ParagraphSettings(), 0, True).tasks(shards, store)]
    others = [
        Paragraphs(ParagraphSettings(min_bytes=2), 0, True).tasks(shards, store),
        Paragraphs(ParagraphSettings(), 1, True).tasks(shards, store),
        Paragraphs(ParagraphSettings(), 0, True).tasks(shards[:2], store),
    ]
    assert len({*base, *(task.key for other in others for task in other)}) == len(base) + 3 + 3 + 2
