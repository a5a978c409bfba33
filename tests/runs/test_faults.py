"""Faults of every kind, each with its expected outcome: nothing is lost, and what went wrong is said by name."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from siftlm.errors import UserError

pytest.importorskip("apache_beam")


def balanced(manifest: dict[str, Any]) -> None:
    """The audit's sums, added up here again from the manifest."""
    counts = manifest["counts"]
    for stage, sums in counts.items():
        left = sums["rows_in"] - sums["rows_out"] - sum(sums["dropped"].values()) - sum(sums["errors"].values())
        assert left == 0, stage
    documents = counts["documents"]["rows_out"]
    for stage in counts.keys() - {"documents", "data", "rejects"}:
        assert counts[stage]["rows_in"] == documents, stage


def good(count: int, prefix: str) -> list[dict[str, Any]]:
    return [{"id": f"{prefix}{n}", "text": f"document {n} of {prefix}, of no importance"} for n in range(count)]


def jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_damaged_shards_keep_what_can_be_read_and_say_what_was_lost(bench: Any) -> None:
    """Truncated and corrupt files, bad lines and odd fields in one corpus: every good document comes out."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard

    folder = bench.root / "in"
    lines = bench.shard(
        "lines.jsonl",
        [
            *good(3, "a"),
            '{"id": "broken", "text": ',
            {"id": "null", "text": None},
            {"id": "missing"},
            {"id": "typed", "text": 7},
            {"id": "list", "text": ["x"]},
            {"id": "new", "text": "a document with a field more", "field": {"deep": [1]}},
            *good(2, "b"),
        ],
    )
    lines.write_bytes(lines.read_bytes() + b'{"id": "utf", "text": "\xff\xfe"}\n' + jsonl(good(2, "c")))
    (folder / "empty.jsonl").write_bytes(b"")
    whole = gzip.compress(jsonl(good(400, "g")), mtime=0)
    (folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) * 2 // 3])
    members = [gzip.compress(jsonl(good(5, f"m{n}_")), mtime=0) for n in range(3)]
    members[1] = members[1][:20] + b"\0\0\0\0" + members[1][24:]
    (folder / "corrupt.jsonl.gz").write_bytes(b"".join(members))
    packed = zstandard.compress(jsonl(good(20_000, "z")))
    (folder / "cut.jsonl.zst").write_bytes(packed[: len(packed) - 100])
    pq.write_table(pa.Table.from_pylist(good(50, "p")), folder / "good.parquet")
    (folder / "cut.parquet").write_bytes((folder / "good.parquet").read_bytes()[:-200])
    paths = [f"{folder}/*.jsonl*", f"{folder}/*.parquet"]
    manifest = bench.run(input=[{"source": "web", "paths": paths, "id_field": "id"}], output={"rejects": True}).manifest
    balanced(manifest)
    ids = [row["doc_id"] for row in bench.rows()]
    wanted = {"a0", "a1", "a2", "new", "b0", "b1", "c0", "c1", *(f"p{n}" for n in range(50))}
    wanted |= {f"m{member}_{n}" for member in (0, 2) for n in range(5)}
    assert wanted <= set(ids)
    others = Counter(name[0] for name in set(ids) - wanted)
    assert others["g"] > 100, "the cut gzip file gave less than what was in its two thirds"
    assert others["z"] > 100
    errors = Counter((Path(row["shard"]).name, row["reason"]) for row in bench.errors())
    assert errors == {
        ("lines.jsonl", "broken_json"): 1,
        ("lines.jsonl", "null_text"): 1,
        ("lines.jsonl", "missing_field"): 1,
        ("lines.jsonl", "wrong_type"): 2,
        ("lines.jsonl", "bad_utf8"): 1,
        ("cut.jsonl.gz", "truncated_gzip"): 1,
        ("corrupt.jsonl.gz", "corrupt_gzip"): 1,
        ("cut.jsonl.zst", "truncated_zstd"): 1,
        ("cut.parquet", "truncated_parquet"): 1,
    }
    assert sum(manifest["counts"]["documents"]["errors"].values()) == len(bench.errors())


def test_a_corpus_of_empty_shards_gives_an_empty_output(bench: Any) -> None:
    """Zero documents pass through every stage; the output has its schema and no row."""
    import pyarrow.parquet as pq

    for name in ("a.jsonl", "b.jsonl"):
        bench.shard(name, [])
    rules = [{"kind": "band", "column": "byte_count", "criterion": "medium", "rate": 0.5}]
    for shuffle in (False, True):
        output = {"rejects": True, "shuffle": shuffle, "allow_empty": True}
        manifest = bench.run(dedup={}, select={"rules": rules}, output=output).manifest
        balanced(manifest)
        assert bench.rows() == []
        (part,) = (bench.root / "out/data").iterdir()
        assert {"doc_id", "text", "weight", "copy"} <= set(pq.read_schema(part).names)


def test_everything_dropped_is_all_in_the_rejects(bench: Any) -> None:
    """Where that is allowed: no row in data/, each in rejects/ with its reason, ids that occur twice included."""
    bench.shard("a.jsonl", [*good(10, "a"), *good(10, "a")])
    rules = [{"kind": "threshold", "column": "byte_count", "min": 1e9}]
    output = {"rejects": True, "shuffle": True, "allow_empty": True}
    manifest = bench.run(select={"rules": rules}, output=output).manifest
    balanced(manifest)
    assert bench.rows() == []
    assert Counter(row["reason"] for row in bench.rows(part="rejects")) == {"byte_count_below_min": 20}


def test_everything_duplicate_leaves_one_document(bench: Any) -> None:
    """A thousand copies in two shards, with one id for all: one row, and 999 rejects."""
    for name in ("a.jsonl", "b.jsonl"):
        bench.shard(name, [{"id": "same", "text": "the same text"}] * 500)
    manifest = bench.run(dedup={"near": False}, output={"rejects": True}).manifest
    balanced(manifest)
    (row,) = bench.rows()
    assert (row["doc_id"], row["cluster_size"]) == ("same", 1000)
    assert manifest["counts"]["clusters"]["dropped"] == {"exact_duplicate": 999}
    assert len(bench.rows(part="rejects")) == 999


LARGE = """
import re, sys
from siftlm import job
from siftlm.config import parse
from siftlm.engine.progress import Progress
tree = {"name": "large", "annotate": {"language": None, "signals": None}, "output": {"folder": sys.argv[2]}}
tree["input"] = [{"source": "web", "paths": [sys.argv[1]], "max_document_bytes": int(sys.argv[3])}]
manifest = job.run(parse(tree, []), Progress(quiet=True)).manifest
kept = manifest["statistics"]["kept"]["documents"]
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])  # ru_maxrss counts the parent's too
print(kept, manifest["counts"]["documents"]["errors"], peak >> 10)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(("limit", "kept"), [(16 << 20, 3), (128 << 20, 6)])
def test_documents_of_100_mb_are_read_or_refused_in_bounded_memory(bench: Any, limit: int, kept: int) -> None:
    """Below the limit they are rows, above it errors; three of them take no more memory than one at a time."""
    (bench.root / "in").mkdir()
    with (bench.root / "in/large.jsonl").open("wb") as stream:
        for number in range(3):
            stream.write(b'{"text": "before %d"}\n{"text": "' % number)
            for _ in range(100):
                stream.write(b"word " * ((1 << 20) // 5))
            stream.write(b'%d"}\n' % number)
    command = [sys.executable, "-c", LARGE, str(bench.root / "in"), str(bench.root / "out"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    documents, *_, peak_mib = done.stdout.split()
    assert int(documents) == kept
    if kept == 3:
        assert "'document_too_large': 3" in done.stdout
        assert int(peak_mib) < 700
    else:
        assert int(peak_mib) < 2600


def test_a_document_of_ten_million_lines_is_a_document(bench: Any) -> None:
    """Every stage takes it, with the text signals and shingles of all its lines."""
    bench.shard("a.jsonl", [*good(2, "a"), {"id": "long", "text": "a b\n" * 10_000_000}])
    (source,) = bench.tree()["input"]
    wide = {**source, "max_document_bytes": 1 << 26}
    manifest = bench.run(input=[wide], annotate={"language": None}, dedup={}).manifest
    balanced(manifest)
    (row,) = [row for row in bench.rows() if row["doc_id"] == "long"]
    assert (row["byte_count"], row["word_count"]) == (40_000_000, 20_000_000)


@contextmanager
def disk_full_at(monkeypatch: pytest.MonkeyPatch, part: str) -> Iterator[None]:
    """No file below a folder `part` can be written to its end."""
    from siftlm import filesystem

    write = filesystem.open_write

    @contextmanager
    def full(path: str, **rest: Any) -> Iterator[BinaryIO]:
        with write(path, **rest) as stream:
            yield stream
            if f"/{part}" in path:
                raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "open_write", full)
        yield


PLACES = (
    "siftlm.json",
    "fingerprints",
    "plans/documents",
    "documents/",
    "signals/",
    "links/",
    "clusters/",
    "paragraphs/",
    "ngrams/",
    "commonness/",
    "scores/tiny/",
    "selections/",
    "decisions/",
    "shuffled/",
    ".staging",
    "parts/",
    "rejects/",
    "summaries/",
    "errors.parquet",
    "report.html",
    "README.md",
    "manifest.json",
)


def test_a_full_disk_at_any_stage_loses_nothing(bench: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run fails by name of the file and goes on from there when there is room: the bytes are those of a calm run.

    No temporary file is left behind.
    """
    from siftlm.cli.mistakes import known

    for name in "ab":
        bench.shard(f"{name}.jsonl", good(20, name))
        os.utime(bench.root / f"in/{name}.jsonl", (1, 1))
    rules = [{"kind": "band", "column": "byte_count", "criterion": "high", "rate": 0.5}]
    output = {"rejects": True, "shuffle": True}
    model = str(tiny_model(bench.root / "model"))
    settings: dict[str, Any] = {
        "dedup": {"near": False, "paragraphs": {}, "commonness": {}},
        "score": [{"name": "tiny", "model": model, "device": "cpu", "threads": 1}],
        "select": {"rules": rules},
        "output": output,
    }
    monkeypatch.setattr("siftlm.stages.inputs.SETTLED_NS", 0)
    for place in PLACES:
        with disk_full_at(monkeypatch, place), pytest.raises((OSError, RuntimeError, UserError)) as caught:
            bench.run(**settings)
        told = known(caught.value)
        assert told is not None
        assert "o space left" in str(told), place
        assert str(bench.root) in str(told), "the file is named"
        assert not (bench.root / "out/manifest.json").exists()
    assert not list((bench.root / "out").rglob("*.tmp"))
    manifest = bench.run(**settings).manifest
    balanced(manifest)
    bench.run("calm", **settings)
    assert bench.content() == bench.content("calm")


def test_a_worker_that_fails_leaves_the_other_shards_done(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the worker's own; the next run does what is missing and nothing else."""
    from siftlm.stages.annotate import Annotate

    for name in "abcd":
        bench.shard(f"{name}.jsonl", good(3, name))
    work = Annotate.run

    def fail(self: Annotate, task: Any, store: Any) -> Any:
        if task.name.endswith("d.jsonl"):
            raise ZeroDivisionError("a defect")
        return work(self, task, store)

    with monkeypatch.context() as patch:
        patch.setattr(Annotate, "run", fail)
        with pytest.raises(ZeroDivisionError, match="a defect"):
            bench.run(runner={"threads": 1})
    before = bench.markers()
    assert sum(name.startswith("signals/") for name in before) == 3
    balanced(bench.run().manifest)
    after = bench.markers()
    assert {name: after[name] for name in before} == before
    assert sum(name.startswith("signals/") for name in after) == 4


@pytest.mark.parametrize("change", ["rewritten", "clock set back", "removed"])
def test_an_input_that_changes_under_a_run_stops_it(bench: Any, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Between fingerprint and read: no output has the old key and the new bytes; the next run takes the new ones."""
    from siftlm.stages.ingest import Ingest

    path = bench.shard("a.jsonl", good(5, "a"))
    bench.shard("b.jsonl", good(5, "b"))
    make, facts = Ingest.tasks, path.stat()

    def disturb(*arguments: Any) -> Any:
        tasks = make(*arguments)
        path.unlink(missing_ok=True) if change == "removed" else path.write_bytes(jsonl(good(5, "c")))
        if change == "clock set back":
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        return tasks

    with monkeypatch.context() as patch:
        patch.setattr(Ingest, "tasks", disturb)
        patch.setattr("siftlm.checks.inputs.check_fields", lambda *_: None)
        with pytest.raises(UserError, match=r"a\.jsonl (changed|removed); run again"):
            bench.run()
    bench.run()
    names = {row["doc_id"][0] for row in bench.rows()}
    assert names == ({"b"} if change == "removed" else {"b", "c"})


def test_an_input_that_changes_while_it_is_hashed_is_hashed_again(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old digest is not remembered with the new signature."""
    from siftlm import filesystem

    path = bench.shard("a.jsonl", good(5, "a"))
    take = filesystem.fingerprint

    def late(name: str) -> str:
        found = take(name)
        path.write_bytes(jsonl(good(5, "c")))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "fingerprint", late)
        patch.setattr("siftlm.stages.inputs.SETTLED_NS", -(10**18))
        with pytest.raises(UserError, match="changed; run again"):
            bench.run()
    bench.run()
    assert {row["doc_id"][0] for row in bench.rows()} == {"c"}


HOSTILE = (
    *("a\nb", "<script>alert(1)", "-rf", "a b;$(touch x)", "%2e%2e%2fetc", "\u202egnp"),
    *("a\x1b[31m\x1b]0;x\x07", "[ab]*", "q\"'"),
)


def test_names_of_every_kind_are_names(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Of shards, ids and urls: nothing is written elsewhere, no script is in the report, no terminal obeys them."""
    from siftlm.errors import visible
    from siftlm.report.terminal import print_documents

    for name in HOSTILE:
        row = {"id": f"../{name}", "url": f"http://../../{name}", "text": f"the text of {name}, of no importance"}
        bench.shard(f"{name}.jsonl", [row, "{"])
    manifest = bench.run(output={"rejects": True}).manifest
    balanced(manifest)
    assert {row["doc_id"] for row in bench.rows()} == {f"../{name}" for name in HOSTILE}
    assert {Path(row["shard"]).name for row in bench.errors()} == {f"{name}.jsonl" for name in HOSTILE}
    assert {path.name for path in bench.root.iterdir()} == {"in", "out"}
    assert "<script>alert" not in (bench.root / "out/report.html").read_text()
    facts = {"kept": True, "column": "byte_count", "value": "9", "percentile": 50.0}
    print_documents([{**facts, **row} for row in bench.rows()], 100)
    shown = capsys.readouterr().out
    assert visible("../a\x1b[31m\x1b]0;x") in shown
    assert not {"\x1b", "\x07"} & set(shown)


def test_a_clock_that_runs_backwards_changes_no_byte(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour every time it is looked at, from a time before the input was written; what is done stays done."""
    for name in "ab":
        bench.shard(f"{name}.jsonl", good(20, name))
    settings: dict[str, Any] = {"dedup": {"paragraphs": {}}, "output": {"rejects": True}}
    bench.run("calm", **settings)
    ticks = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1e9 - 3600 * next(ticks))
        patch.setattr(time, "time_ns", lambda: int(time.time()) * 10**9)
        balanced(bench.run(**settings).manifest)
        assert bench.content() == bench.content("calm")
        before = bench.markers()
        (bench.root / "out/README.md").unlink()
        bench.run(**settings)
    assert next(ticks) > 2
    assert bench.markers() == before


def test_two_runs_in_one_folder_exclude_each_other(bench: Any) -> None:
    """The second is told at once; the first goes on."""
    from siftlm.stages.publish import workspace

    bench.shard("a.jsonl", good(2, "a"))
    out = str(bench.root / "out")
    with workspace(out, "bench", f"{out}/store"), pytest.raises(UserError, match="another siftlm run holds it"):
        bench.run()
    assert len(bench.run().manifest["data"]) == 1


def test_documents_that_a_model_cannot_score_are_errors_not_losses(bench: Any, tiny_model: Any) -> None:
    """Finite weights that overflow: the documents are dropped by an error, counted, and in the errors table."""
    bench.shard("a.jsonl", good(4, "a"))
    model = tiny_model(bench.root / "model", scale=1e38)
    score = [{"name": "tiny", "model": str(model), "device": "cpu", "threads": 1}]
    manifest = bench.run(score=score, output={"rejects": True, "allow_empty": True}).manifest
    balanced(manifest)
    assert manifest["counts"]["scores/tiny"]["errors"] == {"non_finite_nll": 4}
    assert sum(manifest["counts"]["decisions"]["errors"].values()) == 4
    assert [(row["stage"], row["doc_id"], row["reason"]) for row in bench.errors()] == [
        ("scores/tiny", f"a{n}", "non_finite_nll") for n in range(4)
    ]
    assert len(bench.rows(part="rejects")) == 4


@pytest.mark.parametrize("damage", ["cut short", "NaN"])
def test_a_broken_model_is_one_line_before_any_work(bench: Any, tiny_model: Any, damage: str) -> None:
    """The weights file is cut or has NaN: the model is named, and nothing is done."""
    bench.shard("a.jsonl", good(4, "a"))
    folder = tiny_model(bench.root / "model", scale=float("nan") if damage == "NaN" else 1.0)
    weights = folder / "model.safetensors"
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:-1000])
    score = [{"name": "tiny", "model": str(folder), "device": "cpu"}]
    with pytest.raises(UserError, match=r"score\.tiny\.model: ") as caught:
        bench.run(score=score)
    assert "\n" not in str(caught.value)
    assert not bench.markers()


def test_memory_of_a_run_does_not_follow_the_rows_of_a_batch(bench: Any) -> None:
    """Rows of a megabyte are read a row group at a time, not 512 at a time."""
    import pyarrow as pa

    from siftlm.store import Marker, Store
    from siftlm.tables import open_parquet

    store = Store(str(bench.root))
    schema = pa.schema([pa.field("text", pa.large_string())])
    with open_parquet(store.path("documents", "k"), schema, row_group_bytes=4 << 20) as out:
        for number in range(40):
            out.write(pa.record_batch([[f"{number}" * (1 << 19)]], schema=schema))
    store.commit(Marker("documents", "k", "shard", out.rows, out.rows, files={".parquet": out.seal}))
    assert max(batch.nbytes for batch in store.batches("documents", "k", rows=1024)) < 8 << 20
