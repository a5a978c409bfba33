"""Damage in a store or in an output folder: named in one line, and made again; no byte of the output is another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from siftlm.errors import UserError

pytest.importorskip("apache_beam")
pytestmark = pytest.mark.usefixtures("without_pictures")


SETTINGS: dict[str, Any] = {
    "dedup": {"paragraphs": {"min_bytes": 10}, "commonness": {"bits": 10}},
    "select": {"rules": [{"kind": "band", "column": "byte_count", "criterion": "high", "rate": 0.5}]},
    "output": {"rejects": True, "shuffle": True},
}


def fill(bench: Any) -> None:
    for name in "ab":
        rows = [
            {"id": f"{name}{n}", "text": f"a line of its own {n}\nthe same in all of them, {name}"} for n in range(30)
        ]
        bench.shard(f"{name}.jsonl", [*rows, "{"])


def flipped(at: float) -> Callable[[Path], None]:
    """Flips a bit at a share of the file."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(at * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a bit of its middle": flipped(0.5),
    "a bit of its end": flipped(0.97),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "another file": lambda path: path.write_bytes(b"{}"),
    "gone": Path.unlink,
}
STORED = ("documents", "signals", "clusters", "paragraphs", "commonness", "decisions", "shuffled", "selections")


@pytest.mark.parametrize("how", DAMAGES)
def test_what_is_damaged_in_a_store_is_named_and_made_again(
    bench: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One of every kind of file, all at once: outputs, markers, a selection, and a table of n-grams after that."""
    fill(bench)
    bench.run(**SETTINGS)
    calm, store = bench.content(), bench.root / "out/store"
    for stages in (STORED, ("ngrams",)):
        files = [path for stage in stages for path in sorted((store / stage).rglob("*")) if path.is_file()]
        kinds = {(path.parts[len(store.parts)], path.name.partition(".")[2]): path for path in files}
        assert {suffix for _, suffix in kinds} == (
            {"parquet", "done", "rejects.parquet", "value"} if stages == STORED else {"zst"}
        )
        before = {path: path.read_bytes() for path in kinds.values()}
        for path in before:
            DAMAGES[how](path)
        for part in ("data", "errors.parquet", *(("store/commonness",) if stages != STORED else ())):
            path = bench.root / "out" / part
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        caplog.clear()
        bench.run(**SETTINGS)
        assert bench.content() == calm
        for (stage, suffix), path in kinds.items():
            if suffix != "done":  # seconds are in it
                assert path.read_bytes() == before[path], (stage, suffix)
        assert "is damaged" in caplog.text or how == "gone"


@pytest.mark.parametrize("stage", ["documents", "signals", "decisions", "shuffled"])
def test_the_file_that_is_damaged_is_named(bench: Any, stage: str, caplog: pytest.LogCaptureFixture) -> None:
    """Once, and with what is wrong with it."""
    fill(bench)
    bench.run(**SETTINGS)
    paths = (path for path in (bench.root / "out/store" / stage).glob("*.parquet") if "rejects" not in path.name)
    path = max(paths, key=lambda path: path.stat().st_size)  # what has no row of the output is not opened
    flipped(0.9)(path)
    for part in ("data", *(("store/shuffled",) if stage != "shuffled" else ())):
        shutil.rmtree(bench.root / "out" / part)
    bench.run(**SETTINGS)
    (line,) = [said for said in caplog.messages if said.startswith("store: ") and "is damaged" in said]
    assert line == f"store: {path} is damaged, its checksum is not that of what was written; it is made again"


def test_a_marker_in_the_place_of_another_is_damage(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Its own checksum is right, but it is of another output."""
    fill(bench)
    bench.run(**SETTINGS)
    calm = bench.content()
    one, other = sorted((bench.root / "out/store/signals").glob("*.done"))
    shutil.copy(one, other)
    shutil.rmtree(bench.root / "out/data")
    bench.run(**SETTINGS)
    assert bench.content() == calm
    assert f"{other} is damaged" in caplog.text


def test_damage_that_comes_back_ends_the_run_in_one_line(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is not written to for ever."""
    from siftlm.stages.ingest import Ingest

    fill(bench)
    work = Ingest.run

    def spoil(self: Ingest, task: Any, store: Any) -> Any:
        marker = work(self, task, store)
        flipped(0.5)(Path(store.path("documents", task.key)))
        return marker

    monkeypatch.setattr(Ingest, "run", spoil)
    with pytest.raises(UserError, match=r"store: must hold every file as it was written, got .+\.parquet: ") as caught:
        bench.run(**SETTINGS)
    assert "\n" not in str(caught.value)


def test_damage_that_a_worker_process_finds_is_mended_too(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Its error comes as a text; the marker is gone all the same, and the run goes on."""
    fill(bench)
    settings = {**SETTINGS, "runner": {"processes": 2}}
    bench.run(**settings)
    calm = bench.content()
    path = next(path for path in (bench.root / "out/store/documents").glob("*.parquet") if "rejects" not in path.name)
    flipped(0.5)(path)
    for part in ("out/data", "out/store/signals"):
        shutil.rmtree(bench.root / part)
    bench.run(**settings)
    assert bench.content() == calm
    assert f"{path} is damaged" in caplog.text


PUBLISHED = ("data", "rejects", "errors.parquet", "manifest.json", "report.html", "README.md")


@pytest.mark.parametrize("part", PUBLISHED)
def test_what_is_damaged_in_the_output_is_named_and_written_again(
    bench: Any, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the next run, which would have nothing to do otherwise."""
    fill(bench)
    bench.run(**SETTINGS)
    calm = bench.content()
    for how, damage in DAMAGES.items():
        path = bench.root / "out" / part
        path = sorted(path.iterdir())[0] if path.is_dir() else path
        whole = path.read_bytes()
        damage(path)
        caplog.clear()
        assert not bench.run(**SETTINGS).unchanged, how
        assert bench.content() == calm, how
        assert part == "manifest.json" or path.read_bytes() == whole, how  # seconds are in the manifest
        assert str(path) in caplog.text or (how, part) == ("gone", "manifest.json"), how
    assert bench.run(**SETTINGS).unchanged


def test_readers_of_a_run_name_damage_in_one_line(bench: Any) -> None:
    """A manifest cut short, a shard with a flipped bit; run again, and they read."""
    from siftlm.inspect.explain import explain
    from siftlm.inspect.run import inspect

    fill(bench)
    bench.run(**SETTINGS)
    manifest = bench.root / "out/manifest.json"
    whole = manifest.read_bytes()
    edited = json.dumps({**json.loads(whole), "name": "other"}).encode()
    for content in (whole[:100], b"[]", b"", edited):
        manifest.write_bytes(content)
        with pytest.raises(UserError, match=r"manifest\.json: must be as the run wrote it"):
            inspect(str(bench.root / "out"), None, [50.0], None, None)
    manifest.write_bytes(whole)
    path = next(path for path in (bench.root / "out/store/documents").glob("*.parquet") if "rejects" not in path.name)
    for damage in (flipped(0.5), flipped(0.99)):
        damage(path)
        with pytest.raises(UserError, match=path.name) as caught:
            [explain(str(bench.root / "out"), name) for name in ("a1", "b1")]
        assert "\n" not in str(caught.value)
        bench.run(**SETTINGS)
        assert explain(str(bench.root / "out"), "a1").text.startswith("a line of its own 1")


def test_a_damaged_reference_model_is_trained_again(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Weights with a flipped bit, without any, with a file more: the same weights and scores as before."""
    fill(bench)
    shape = {"layers": 1, "width": 16, "heads": 2, "context_tokens": 16, "vocabulary": 300, "epochs": 0.1}
    settings = {
        "reference": {**shape, "holdout": 0.4},
        "score": [{"name": "own", "model": "trained", "device": "cpu", "threads": 1}],
    }
    bench.run(**settings)
    calm = bench.content()
    (weights,) = (bench.root / "out/store/reference").glob("*/model.safetensors")
    whole = weights.read_bytes()

    def add(path: Path) -> None:
        (path.parent / "added_tokens.json").write_text("{}")

    for damage in (flipped(0.9), Path.unlink, add, lambda path: shutil.rmtree(path.parent)):
        damage(weights)
        shutil.rmtree(bench.root / "out/data")
        caplog.clear()
        bench.run(**settings)
        assert "is damaged" in caplog.text
        assert (weights.read_bytes(), bench.content()) == (whole, calm)


def test_drop_after_annotate_trains_and_scores_as_in_a_fresh_store(bench: Any) -> None:
    """What trains the reference model depends on the action on duplicates, and so do its key and the scores."""
    for name in "ab":
        rows = [
            {"id": f"{name}{n}", "text": f"a text that comes three times, number {n // 3} of {name}"} for n in range(30)
        ]
        bench.shard(f"{name}.jsonl", rows)
    shape = {"layers": 1, "width": 16, "heads": 2, "context_tokens": 16, "vocabulary": 300, "epochs": 0.1}
    settings = {
        "reference": {**shape, "holdout": 0.4},
        "score": [{"name": "own", "model": "trained", "device": "cpu", "threads": 1}],
    }
    bench.run("reused", **settings, dedup={"action": "drop"})
    bench.run("reused", **settings, dedup={"action": "annotate"})
    bench.run("fresh", **settings, dedup={"action": "annotate"})
    assert bench.content("reused") == bench.content("fresh")
