"""One id a document, whatever ids the documents came with."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from tests.runs.conftest import Bench, stages_of

from siftlm.errors import UserError
from siftlm.stages.ids import step as ids
from siftlm.stages.ids.work import unique_id

SAMPLE = {"rules": [{"kind": "sample", "rate": 0.1}]}
TENTH = {"select": SAMPLE, "output": {"shuffle": True}}
ALIKE = [{"id": "x", "text": f"text number {number}"} for number in range(1000)]


def laid_out(bench: Bench, folder: str, shards: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The inputs of a run over shards in a folder of their own."""
    for name, rows in shards.items():
        bench.shard(name, rows, folder)
    return [{"source": "web", "paths": [str(bench.root / folder)], "id_field": "id"}]


def test_a_tenth_of_documents_with_one_id_is_a_tenth(bench: Bench) -> None:
    """Each is drawn by itself; names, order and cut of the shards change no row and no place."""
    rows = {}
    for folder, shards in {
        "two": {"a.jsonl": ALIKE[:500], "b.jsonl": ALIKE[500:]},
        "renamed": {"z.jsonl": ALIKE[:500], "b.jsonl": ALIKE[500:]},
        "three": {"c.jsonl": ALIKE[:10], "a.jsonl": ALIKE[10:700], "b.jsonl": ALIKE[700:]},
    }.items():
        bench.run(f"{folder}_out", input=laid_out(bench, folder, shards), **TENTH)
        rows[folder] = bench.rows(f"{folder}_out")
    assert 60 < len(rows["two"]) < 140  # four standard deviations
    assert rows["two"] == rows["renamed"] == rows["three"]


def made_unique(documents: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """(id, text) as the rule says it, in plain Python: by id and hash of the text, the first keeps its id."""
    import xxhash

    found: Counter[tuple[str, str]] = Counter()
    by_id: dict[str, list[tuple[bytes, str]]] = {}
    for doc_id, text in documents:
        by_id.setdefault(doc_id, []).append((xxhash.xxh3_128_digest(text.encode()), text))
    for doc_id, texts in by_id.items():
        seen: Counter[str] = Counter()
        for place, (content, text) in enumerate(sorted(texts)):
            seen[text] += 1
            number = f".{seen[text]}" if seen[text] > 1 else ""
            found[f"{doc_id}#{content[:8].hex()}{number}" if place else doc_id, text] += 1
    return found


@pytest.mark.parametrize("piped", [False, True])
def test_ids_are_those_of_plain_python(bench: Bench, monkeypatch: pytest.MonkeyPatch, piped: bool) -> None:
    """Copies and other texts under shared ids, over four shards; in this process, and in partitions of a pipeline."""
    if piped:
        monkeypatch.setattr(ids, "IN_DRIVER_DOCUMENTS", 0)
        monkeypatch.setattr(ids, "ENTRIES", 50)
    rng = random.Random(1)
    rows = [{"id": f"i{rng.randrange(90)}", "text": f"t{rng.randrange(3)}"} for _ in range(300)]
    rows += [{"id": f"alone{number}", "text": "t0"} for number in range(20)]
    shards = {"a.jsonl": rows[:7], "b.jsonl": rows[7:150], "c.jsonl": rows[150:], "d.jsonl": rows[150:]}
    manifest = bench.run(input=laid_out(bench, "in", shards)).manifest
    every = [(row["id"], row["text"]) for shard in shards.values() for row in shard]
    found = Counter((row["doc_id"], row["text"]) for row in bench.rows())
    assert found == made_unique(every)
    assert len({doc_id for doc_id, _ in found}) == len(every)
    times = Counter(doc_id for doc_id, _ in every)
    shared = {doc_id: number for doc_id, number in times.items() if number > 1}
    assert manifest["statistics"]["ids"] == {
        "ids": len(shared),
        "documents": sum(shared.values()),
        "renamed": len(every) - len(times),
        "example": manifest["statistics"]["ids"]["example"],
        "most": max(shared.values()),
    }
    assert shared[manifest["statistics"]["ids"]["example"]] == max(shared.values())


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("earlier_first", [False, True])
def test_made_ids_differ_from_those_that_documents_came_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, piped: bool, earlier_first: bool
) -> None:
    """What a run wrote is read beside what it was made of, so ids that are made here are there already."""
    rows = [{"id": "x", "text": f"text number {number % 7}"} for number in range(20)]
    mine = {"source": "web", "paths": [str(bench.shard("a.jsonl", rows))], "id_field": "id"}
    bench.run("first", input=[mine])
    if piped:
        monkeypatch.setattr(ids, "IN_DRIVER_DOCUMENTS", 0)
        monkeypatch.setattr(ids, "ENTRIES", 10)
    earlier = {"source": "first", "paths": [str(bench.root / "first/data")], "id_field": "doc_id"}
    manifest = bench.run(input=[earlier, mine] if earlier_first else [mine, earlier]).manifest
    found = bench.rows()
    assert len({row["doc_id"] for row in found}) == len(found) == 40
    came = {*(row["doc_id"] for row in bench.rows("first"))}
    assert came <= {row["doc_id"] for row in found}
    assert manifest["statistics"]["ids"]["renamed"] >= 20


def test_documents_without_an_id_of_their_own_are_copies_where_texts_repeat(bench: Bench) -> None:
    """The digest of url and text is the id of one of them: a copy more changes nothing of what deduplication keeps."""
    rows = [{"text": f"text number {number}"} for number in range(200)]
    settings = {**TENTH, "dedup": {"near": False}}
    bench.run("once", input=laid_out(bench, "in_once", {"a.jsonl": rows}), **settings)
    bench.run("twice", input=laid_out(bench, "in_twice", {"b.jsonl": rows[:150], "a.jsonl": rows[50:]}), **settings)
    kept = [{name: row[name] for name in ("doc_id", "text")} for row in bench.rows("twice")]
    assert kept == [{name: row[name] for name in ("doc_id", "text")} for row in bench.rows("once")]


def test_two_copies_of_a_shard_and_one_id_in_two_sources_are_told_apart(bench: Bench) -> None:
    """The earlier source of the configuration keeps the ids of texts that both have."""
    rows = [{"id": f"d{number}", "text": f"text number {number}"} for number in range(5)]
    for name, folder in (("a.jsonl", "one"), ("b.jsonl", "one"), ("a.jsonl", "two")):
        bench.shard(name, rows, folder)
    inputs = [
        {"source": source, "paths": [str(bench.root / folder)], "id_field": "id"}
        for source, folder in (("second", "two"), ("first", "one"))
    ]
    bench.run(input=inputs)
    found = bench.rows()
    assert len({row["doc_id"] for row in found}) == 15
    assert {row["doc_id"] for row in found if row["source"] == "second"} == {row["id"] for row in rows}


def test_a_new_shard_that_shares_ids_reads_no_other_shard_again(bench: Bench) -> None:
    """What was read and annotated stays; ids of the others change where theirs were shared, and nowhere else."""
    store = str(bench.root / "store")
    first = {"a.jsonl": ALIKE[:1], "b.jsonl": [{"id": f"b{number}", "text": "same"} for number in range(3)]}
    inputs = laid_out(bench, "in", first)
    bench.run(input=inputs, store=store)
    before = bench.markers("store")
    assert "ids" in stages_of(before)
    bench.shard("c.jsonl", ALIKE[1:4])
    bench.run(input=inputs, store=store)
    after = bench.markers("store")
    new = [name for name in after if name not in before]
    assert {name: after[name] for name in before} == before
    assert Counter(name.split("/")[0] for name in new if name.split("/")[0] in ("documents", "signals")) == Counter(
        documents=1, signals=1
    )
    assert len({row["doc_id"] for row in bench.rows()}) == 7


def test_ids_that_repeat_can_be_refused(bench: Bench) -> None:
    """Before anything is computed, with an example; ids that differ pass."""
    inputs = laid_out(bench, "in", {"a.jsonl": ALIKE[:3], "b.jsonl": [{"id": "y", "text": "other"}]})
    with pytest.raises(UserError, match=r'^duplicate_ids: .* got "refuse" and 3 documents .* 3 have \'x\''):
        bench.run(input=inputs, duplicate_ids="refuse")
    assert stages_of(bench.markers()) == {"documents", "ids"}
    bench.run("other", input=laid_out(bench, "ok", {"a.jsonl": [{"id": "x", "text": "a"}]}), duplicate_ids="refuse")
    assert [row["doc_id"] for row in bench.rows("other")] == ["x"]


def test_shared_ids_are_said_where_a_user_looks(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest, the page and the terminal name one, with its number of documents."""
    from siftlm.report.terminal import print_summary

    result = bench.run(input=laid_out(bench, "in", {"a.jsonl": ALIKE[:3]}))
    (warning,) = result.manifest["warnings"]
    said = "3 documents came with ids that others have too, 3 of them with 'x'; 2 were given ids of their own"
    assert warning.startswith(said)
    print_summary(result.manifest, "out", unchanged=False)
    assert f"warning: {warning}" in capsys.readouterr().out
    assert "3 documents came with ids that others have" in (bench.root / "out/report.html").read_text()


def test_errors_tell_the_new_id(bench: Bench, tiny_model: Any) -> None:
    """A document that a model cannot score is named as the output names it."""
    model = tiny_model(bench.root / "model", scale=1e38)
    score = [{"name": "tiny", "model": str(model), "device": "cpu", "threads": 1}]
    inputs = laid_out(bench, "in", {"a.jsonl": ALIKE[:3]})
    bench.run(input=inputs, score=score, output={"rejects": True, "allow_empty": True})
    named = {row["doc_id"] for row in bench.errors()}
    assert named == {row["doc_id"] for row in bench.rows(part="rejects")}
    assert len(named) == 3


def test_an_id_says_what_it_was_made_of() -> None:
    """The old id, the hash of the text, and which copy of the text it is, from the second on."""
    assert unique_id("a", 255, 1) == "a#00000000000000ff"
    assert unique_id("a", 255, 2) == "a#00000000000000ff.2"
