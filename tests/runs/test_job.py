"""The whole pipeline against twenty lines of plain Python, and what a run does again when something changes."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("apache_beam")
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"]
RULES = [
    {"kind": "threshold", "column": "byte_count", "min": 60},
    {"kind": "band", "column": "byte_count", "criterion": "medium", "rate": 0.5},
]
EXACT = {"near": False}


def corpus() -> list[list[dict[str, str]]]:
    """Three shards of documents of pairwise different sizes, some of them copied once or twice."""
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=4 + number)) for number in range(60)]
    texts = list({len(text): text for text in texts}.values())
    rows = [{"id": f"d{number:03d}", "text": text} for number, text in enumerate([*texts, *texts[:20], *texts[:5]])]
    rng.shuffle(rows)
    return [rows[:30], rows[30:60], rows[60:]]


def oracle(documents: list[dict[str, str]], share: float) -> tuple[dict[str, str], list[str]]:
    """(reason by dropped id, kept ids in order): exact dedup, a threshold, the middle of the ranks."""
    reasons = {}
    best: dict[str, str] = {}
    for row in sorted(documents, key=lambda row: row["id"]):
        if best.setdefault(row["text"], row["id"]) != row["id"]:
            reasons[row["id"]] = "exact_duplicate"
    for row in documents:
        if row["id"] not in reasons and len(row["text"]) < 60:
            reasons[row["id"]] = "byte_count_below_min"
    ranked = sorted((row for row in documents if row["id"] not in reasons), key=lambda row: len(row["text"]))
    for rank, row in enumerate(ranked):
        percentile = (rank + 0.5) / len(ranked)
        if not 0.5 - share / 2 <= percentile < 0.5 + share / 2:
            reasons[row["id"]] = "byte_count_outside_medium_band"
    return reasons, [row["id"] for row in documents if row["id"] not in reasons]


@pytest.fixture(scope="module")
def finished(shared_bench: Any) -> Any:
    """A run over the corpus with two bad records in it, rejects on."""
    shards = corpus()
    for number, rows in enumerate(shards):
        shared_bench.shard(f"{number}.jsonl", rows)
    first = shared_bench.root / "in" / "0.jsonl"
    first.write_text(first.read_text() + '{"text": \n{"id": "x", "text": null}\n')
    result = shared_bench.run(
        dedup=EXACT, select={"rules": RULES}, output={"rejects": True}, store=str(shared_bench.root / "store")
    )
    return shared_bench, result.manifest, [row for rows in shards for row in rows]


def test_the_output_is_what_plain_python_selects(finished: Any) -> None:
    """Kept ids in the order of the run, and every dropped one with its reason."""
    bench, _, documents = finished
    reasons, kept = oracle(documents, 0.5)
    assert [row["doc_id"] for row in bench.rows()] == kept
    assert {row["doc_id"]: row["reason"] for row in bench.rows(part="rejects")} == reasons
    texts = {row["id"]: row["text"] for row in documents}
    assert all(row["text"] == texts[row["doc_id"]] for row in (*bench.rows(), *bench.rows(part="rejects")))


def test_every_record_is_counted_once(finished: Any) -> None:
    """The manifest's counts are those of the input counted by hand: lines, errors, reasons, rows, bytes."""
    bench, manifest, documents = finished
    reasons, kept = oracle(documents, 0.5)
    lines = sum(len(path.read_text().splitlines()) for path in (bench.root / "in").iterdir())
    counts = manifest["counts"]
    assert counts["documents"]["rows_in"] == lines == len(documents) + 2
    assert counts["documents"]["errors"] == {"broken_json": 1, "null_text": 1}
    assert counts["decisions"]["rows_in"] == len(documents)
    assert counts["decisions"]["dropped"] == Counter(reasons.values())
    assert counts["data"]["rows_out"] == len(kept) == sum(part["rows"] for part in manifest["data"])
    assert counts["rejects"]["rows_out"] == len(reasons)
    texts = {row["id"]: row["text"] for row in documents}
    assert manifest["statistics"]["kept"]["byte_count"] == sum(len(texts[name].encode()) for name in kept)


def test_a_bad_record_is_in_the_errors_table_with_its_place(finished: Any) -> None:
    """Shard, position and offset lead to the very bytes."""
    bench, _, _ = finished
    for row, line in zip(bench.errors(), (b'{"text": ', b'{"id": "x", "text": null}'), strict=True):
        content = Path(row["shard"]).read_bytes()
        assert content[row["offset"] :].split(b"\n")[0] == line
        assert content.splitlines()[row["position"]] == line


def test_other_tools_open_the_output_with_its_declared_schema(finished: Any) -> None:
    """duckdb, polars and pyarrow read the same rows under the same columns."""
    import duckdb
    import polars
    import pyarrow.dataset as ds

    bench, _, _ = finished
    folder = bench.root / "out" / "data"
    table = ds.dataset(folder).to_table()
    columns = ["doc_id", "text", "url", "domain", "source", "metadata", "byte_count"]
    assert table.schema.names == [*columns, "cluster_id", "cluster_size", "duplicate", "weight", "copy"]
    assert not table.schema.field("text").nullable
    found = duckdb.sql(f"select doc_id, byte_count from '{folder}/*.parquet'").fetchall()
    assert found == [(row["doc_id"], row["byte_count"]) for row in table.to_pylist()]
    assert polars.read_parquet(folder / "*.parquet")["text"].to_list() == table["text"].to_pylist()


def test_datasets_loads_the_output(finished: Any, tmp_path: Path) -> None:
    """`datasets.load_dataset("parquet", ...)` gives the rows."""
    datasets = pytest.importorskip("datasets")
    bench, _, _ = finished
    loaded = datasets.load_dataset(
        "parquet", data_files=str(bench.root / "out/data/*.parquet"), split="train", cache_dir=str(tmp_path)
    )
    assert loaded["doc_id"] == [row["doc_id"] for row in bench.rows()]


def test_the_checksums_of_the_manifest_are_those_of_the_files(finished: Any) -> None:
    """Each part has the size and the xxh3_128 that the manifest says."""
    import xxhash

    bench, manifest, _ = finished
    for part in (*manifest["data"], *manifest["rejects"]):
        content = (bench.root / "out" / part["path"]).read_bytes()
        assert (part["bytes"], part["checksum"]) == (len(content), f"xxh3_128:{xxhash.xxh3_128_hexdigest(content)}")


def test_another_folder_and_a_fresh_store_give_the_same_bytes(finished: Any) -> None:
    """Nothing of the machine, the folder or the time is in the output."""
    bench, _, _ = finished
    bench.run("again", dedup=EXACT, select={"rules": RULES}, output={"rejects": True}, runner={"threads": 1})
    assert bench.content("again") == bench.content()
    assert set(bench.content()) == {f"{part}/part-00000-of-00001.parquet" for part in ("data", "rejects")}


def test_a_second_run_does_nothing(finished: Any) -> None:
    """No marker, no part and no manifest is written again."""
    bench, _, _ = finished
    before = (bench.markers("store"), (bench.root / "out/manifest.json").stat().st_mtime_ns)
    result = bench.run(dedup=EXACT, select={"rules": RULES}, output={"rejects": True}, store=str(bench.root / "store"))
    assert result.unchanged
    assert before == (bench.markers("store"), (bench.root / "out/manifest.json").stat().st_mtime_ns)


def test_a_changed_threshold_redoes_decisions_and_output_only(finished: Any) -> None:
    """The stages before have their markers, and keep them."""
    bench, _, documents = finished
    before = bench.markers("store")
    rules = [{**RULES[0], "min": 100}]
    bench.run("other", dedup=EXACT, select={"rules": rules}, store=str(bench.root / "store"))
    after = bench.markers("store")
    assert {name: after[name] for name in before} == before
    assert {name.partition("/")[0] for name in after.keys() - before.keys()} == {"decisions", "parts"}
    kept = [row["doc_id"] for row in bench.rows("other")]
    assert kept == [i for i in oracle(documents, 1.0)[1] if i in kept]


def test_a_global_shuffle_and_small_shards_hold_the_same_rows(finished: Any) -> None:
    """On or off, in one part or many: one multiset; parts are bounded in bytes; the order is no longer the run's."""
    bench, _, documents = finished
    rules = {"rules": [{"kind": "threshold", "column": "byte_count", "min": 1}]}
    store = str(bench.root / "store")
    big = [{"id": f"b{n}", "text": f"{n} " + "word " * 2000} for n in range(60)]
    bench.shard("0.jsonl", big, folder="big")
    paths = [{"source": "web", "paths": [str(bench.root / "in"), str(bench.root / "big")], "id_field": "id"}]
    found = {}
    for name, shuffle in (("ordered", False), ("shuffled", True)):
        output = {"shuffle": shuffle, "shard_bytes": 1 << 16}
        bench.run(name, input=paths, select=rules, store=store, output=output)
        found[name] = bench.rows(name)
        parts = sorted((bench.root / name / "data").iterdir())
        assert len(parts) >= 10
        if not shuffle:
            for path in parts:
                sizes = [row["byte_count"] for row in _read(path)]
                assert sum(sizes) - max(sizes) < 1 << 16
    names = {name: [row["doc_id"] for row in rows] for name, rows in found.items()}
    assert Counter(names["ordered"]) == Counter(names["shuffled"]) == Counter(r["id"] for r in (*documents, *big))
    assert names["ordered"] != names["shuffled"]


def _read(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return list(pq.read_table(path).to_pylist())


def test_renamed_inputs_give_the_same_rows(finished: Any) -> None:
    """Shuffled output is the same rows in the same order, whatever the shards are called and how they sort."""
    bench, _, _ = finished
    store = str(bench.root / "store")
    for number, other in enumerate("cab"):
        bench.shard(f"{other}.jsonl", (bench.root / f"in/{number}.jsonl").read_text().splitlines(), folder="renamed")
    inputs = [{"source": "web", "paths": [str(bench.root / "renamed")], "id_field": "id"}]
    settings: dict[str, Any] = {"dedup": EXACT, "select": {"rules": RULES}, "store": store}
    bench.run("named", **settings, output={"shuffle": True})
    bench.run("renamed_out", **settings, output={"shuffle": True}, input=inputs)
    assert bench.rows("named") == bench.rows("renamed_out")


def test_copies_fill_a_token_budget_within_one_document(finished: Any) -> None:
    """Every copy is a row; no document has more than the cap; the budget is met to within one document."""
    bench, _, documents = finished
    most = max(len(row["text"]) for row in documents)
    budget = 2 * sum(len(row["text"]) for row in documents)
    weights = {"factors": [], "budget_tokens": budget, "cap": 3.0, "materialise": True}
    select = {"tokens": "byte_count", "weights": weights, "rules": []}
    result = bench.run("copies", select=select, store=str(bench.root / "store"))
    rows = bench.rows("copies")
    assert abs(sum(row["byte_count"] for row in rows) - budget) <= most
    copies = Counter(row["doc_id"] for row in rows)
    assert max(copies.values()) <= 3
    numbered = {(row["doc_id"], row["copy"]) for row in rows}
    assert numbered == {(name, copy) for name, count in copies.items() for copy in range(count)}
    assert result.manifest["statistics"]["written"]["rows"] == len(rows)


def test_scores_are_taken_over_where_only_the_survivors_change(bench: Any, tiny_model: Any) -> None:
    """Another preselection scores what is new alone, to the same bits as a fresh run; another model scores again."""
    for number, rows in enumerate(corpus()):
        bench.shard(f"{number}.jsonl", rows[:12])
    store = str(bench.root / "store")

    def settings(model: Path, least: int) -> dict[str, Any]:
        preselect = [{"kind": "threshold", "column": "byte_count", "min": least, "reason": "short"}]
        score = [{"name": "tiny", "model": str(model), "device": "cpu", "threads": 1}]
        return {"preselect": preselect, "score": score}

    model = tiny_model(bench.root / "model", seed=1)
    bench.run("first", **settings(model, 150), store=store)
    before = bench.markers("store")
    bench.run("second", **settings(model, 60), store=store, dedup=EXACT)
    after = bench.markers("store")
    made = {name.partition("/")[0] for name in after.keys() - before.keys()}
    assert made == {"clusters", "eligible", "scores", "decisions", "parts"}
    bench.run("fresh", **settings(model, 60), dedup=EXACT)
    assert bench.content("second") == bench.content("fresh")
    bench.run("changed", **settings(tiny_model(bench.root / "other", seed=2), 60), store=store, dedup=EXACT)
    again = {name.partition("/")[0] for name in bench.markers("store").keys() - after.keys()}
    assert again == {"scores", "decisions", "parts"}
    nats = [[row["tiny_nll_sum"] for row in bench.rows(name)] for name in ("second", "changed")]
    assert len(nats[0]) == len(nats[1]) > 0
    assert not set(nats[0]) & set(nats[1])


def test_preselection_by_cluster_size_sees_clusters_that_grow_elsewhere(bench: Any, tiny_model: Any) -> None:
    """A copy in a new shard makes a representative in an old one alive, and it is scored."""
    bench.shard("a.jsonl", [{"id": "a1", "text": "one text of many"}, {"id": "a2", "text": "another text"}])
    score = [{"name": "tiny", "model": str(tiny_model(bench.root / "model")), "device": "cpu", "threads": 1}]
    preselect = [{"kind": "threshold", "column": "cluster_size", "min": 2, "reason": "alone"}]
    settings: dict[str, Any] = {"dedup": EXACT, "score": score, "preselect": preselect}
    bench.run(**settings, output={"allow_empty": True})
    assert bench.rows() == []
    bench.shard("b.jsonl", [{"id": "b1", "text": "one text of many"}])
    bench.run(**settings)
    (row,) = bench.rows()
    assert row["doc_id"] == "a1"
    assert row["tiny_nll_sum"] > 0


def test_an_output_that_was_replaced_comes_back_whole(bench: Any) -> None:
    """A, then B, then A again in one folder: the bytes are A's, not B's under A's manifest."""
    bench.shard("a.jsonl", [row for rows in corpus() for row in rows])
    kinds = {"A": {"rules": RULES}, "B": {"rules": RULES[:1]}}
    bench.run(select=kinds["A"])
    first = bench.content()
    bench.run(select=kinds["B"])
    assert bench.content() != first
    assert not bench.run(select=kinds["A"]).unchanged
    assert bench.content() == first


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_part_that_is_gone_is_written_again(bench: Any, damage: str) -> None:
    """A user who removes a part of the output gets it back; one that was changed comes back when it is written."""
    bench.shard("a.jsonl", corpus()[0])
    bench.run()
    first = bench.content()
    (part,) = (bench.root / "out/data").iterdir()
    part.unlink()
    if damage == "changed":
        part.write_bytes(b"not what was written")
        (bench.root / "out/README.md").unlink()
    assert not bench.run().unchanged
    assert bench.content() == first


def test_the_same_bytes_under_two_names_are_two_shards(bench: Any) -> None:
    """A shard that is there twice is read twice, and its documents are duplicates of each other."""
    rows = corpus()[2]
    unique = len({hashlib.sha256(row["text"].encode()).digest() for row in rows})
    bench.shard("a.jsonl", rows)
    bench.shard("b.jsonl", rows)
    counts = bench.run(dedup=EXACT).manifest["counts"]
    assert counts["documents"]["rows_out"] == 2 * len(rows)
    assert counts["data"]["rows_out"] == unique


def test_a_name_that_changes_the_format_changes_the_documents(bench: Any) -> None:
    """The bytes of a.jsonl and a.txt may be the same, their documents are not."""
    bench.shard("a.jsonl", [{"text": "one"}, {"text": "two"}])
    assert bench.run().manifest["counts"]["documents"]["rows_out"] == 2
    (bench.root / "in/a.jsonl").rename(bench.root / "in/a.txt")
    assert bench.run().manifest["counts"]["documents"]["rows_out"] == 1


def test_models_with_one_tokenizer_share_its_work(bench: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard is tokenised once for both, to the same bits as in passes of their own; a rerun finds both done."""
    from siftlm.scorers.lm_documents import DocumentScorer

    tokenise, texts = DocumentScorer.tokenise, []

    def counted(self: Any, batch: Any) -> Any:
        texts.extend(batch.to_pylist())
        return tokenise(self, batch)

    monkeypatch.setattr(DocumentScorer, "tokenise", counted)
    for shard in "ab":
        bench.shard(f"{shard}.jsonl", [{"id": f"{shard}{n}", "text": f"{shard} sea {n} " * 9} for n in range(5)])
    models = [tiny_model(bench.root / f"model{seed}", seed) for seed in range(2)]

    def score(**more: Any) -> list[dict[str, Any]]:
        shared = {"device": "cpu", "threads": 1, **more}
        return [{"name": f"tiny{n}", "model": str(path), **shared} for n, path in enumerate(models)]

    bench.run("out", score=score())
    together, texts[:] = len(texts), []
    assert together == 10
    markers = bench.markers()
    bench.run("out", score=score())
    assert bench.markers() == markers
    bench.run("alone", score=score(alone=True))
    assert len(texts) == 20
    assert bench.content("out") == bench.content("alone")
    longer = score()
    longer[1]["max_tokens"] = 7
    texts[:] = []
    manifest = bench.run("other", score=longer).manifest
    assert len(texts) == 20
    assert manifest["counts"]["scores/tiny1"]["rows_in"] == 10


def test_runs_in_one_process_leave_no_file_open(bench: Any) -> None:
    """The second and the fifth run of a process have the same files open; fonts of the report are loaded once."""
    bench.shard("a.jsonl", [{"id": str(n), "text": f"document number {n} " * 5} for n in range(30)])
    count = []
    for number in range(5):
        bench.run(f"out{number}", name=f"run{number}")
        count.append(len(list(Path("/dev/fd").iterdir())))
    assert count[4] == count[1]
