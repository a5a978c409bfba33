"""Stores are listed and pruned: what kept runs need stays to a byte, and nothing that no run wrote is touched."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.runs.conftest import mistake, siftlm

from siftlm.errors import UserError

pytest.importorskip("apache_beam")

OLD = 8 * 86_400
NOTHING = {"kind": "threshold", "column": "edu_rank", "min": 2, "missing": "drop"}
DEDUP = {"shingles": {"ngram": 2}, "commonness": {"bits": 12}}


@pytest.fixture(autouse=True)
def _no_pictures(without_pictures: None) -> None: ...


@pytest.fixture(scope="module")
def made(shared_bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a folder with two runs that share a store: `a` and `b` drop other documents, and join other tables."""
    kept = tmp_path_factory.mktemp("kept") / "runs"
    shutil.copytree(with_runs(shared_bench).root, kept)
    return kept


@pytest.fixture
def pair(shared_bench: Any, made: Path) -> Any:
    """The two runs as they were made, in the folder where they were."""
    shutil.rmtree(shared_bench.root)
    shutil.copytree(made, shared_bench.root)
    return shared_bench


def with_runs(bench: Any, **rest: Any) -> Any:
    for shard in range(2):
        bench.shard(f"{shard}.jsonl", [{"id": f"{shard}-{n}", "text": f"text {n} of {shard} words"} for n in range(6)])
    for name in "ab":
        bench.shard(
            f"{name}.jsonl", [{"doc_id": f"0-{n}", f"edu_{name}": n / 10} for n in range(6)], folder=f"edu/{name}"
        )
    for name in "ab":
        run_of(bench, name, **rest)
    return bench


def settings(bench: Any, name: str, **rest: Any) -> dict[str, Any]:
    edu = f"edu_{name}"
    rule = {"kind": "threshold", "column": "edu_rank", "min": 0.3, "missing": "keep"}
    return {
        "name": name,
        "store": str(bench.root / "store"),
        "join": [{"path": str(bench.root / "edu" / name), "columns": [edu]}],
        "columns": [{"name": "edu_rank", "expr": f"rank({edu})"}],
        "select": {"rules": [rule]},
        **rest,
    }


def run_of(bench: Any, name: str, **rest: Any) -> Any:
    return bench.run(name, **settings(bench, name, **rest))


def todo(bench: Any, name: str, **rest: Any) -> int:
    from siftlm.config import parse
    from siftlm.plan import plan

    return sum(row.todo or 0 for row in plan(parse(bench.tree(name, **settings(bench, name, **rest)), [])))


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def age(root: Path, seconds: float = OLD) -> None:
    """Makes everything in a folder older."""
    for path in root.rglob("*"):
        os.utime(path, (time.time() - seconds, time.time() - seconds))


def prune(bench: Any, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    code, told, errors = siftlm(capsys, "store", "prune", str(bench.root / "store"), *options)
    assert code == 0, errors
    return told


def keys_of(store: Path, folder: str) -> set[str]:
    return {path.name.partition(".")[0] for path in (store / folder).iterdir()}


def test_a_kept_run_finds_everything_and_a_pruned_one_is_made_again(
    bench: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the tables, plans, answers and n-grams that only the pruned one needs gone as well, and the same bytes."""
    pair = with_runs(bench, dedup=DEDUP)
    store, before = pair.root / "store", {name: pair.content(name) for name in "ab"}
    sides = {"tables": 2, "answers": 2, "selections": 2, "ngrams": 1}
    assert {folder: len(keys_of(store, folder)) for folder in sides} == sides
    told = prune(pair, capsys, "--keep", str(pair.root / "a"), "--yes")
    assert re.search(r"removed [1-9]\d* outputs", told), told
    assert {folder: len(keys_of(store, folder)) for folder in sides} == dict.fromkeys(sides, 1)
    assert not list((store / "plans").glob("**/*.jsonl"))
    kept = files(store)
    assert todo(pair, "a", dedup=DEDUP) == 0
    shutil.rmtree(pair.root / "a/data")
    run_of(pair, "a", dedup=DEDUP)
    assert pair.content("a") == before["a"]
    changed = {path for path, content in kept.items() if files(store).get(path) != content}
    assert {path.partition("/")[0] for path in changed} <= {"runs", "fingerprints.json", "plans", "parts"}
    assert todo(pair, "b", dedup=DEDUP) > 0
    (pair.root / "b/manifest.json").unlink()
    run_of(pair, "b", dedup=DEDUP)
    assert pair.content("b") == before["b"]
    assert {folder: len(keys_of(store, folder)) for folder in sides} == sides


def test_without_yes_nothing_is_touched_and_all_that_goes_is_told(
    pair: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run is the default, and its numbers are those of the real one."""
    before = files(pair.root / "store")
    told = prune(pair, capsys, "--keep", str(pair.root / "a"))
    assert "nothing was removed" in told
    assert f"let go: {pair.root}/b" in told
    assert files(pair.root / "store") == before
    done = prune(pair, capsys, "--keep", str(pair.root / "a"), "--yes")
    assert done.splitlines()[:-1] == told.splitlines()[:-1]
    gone = before.keys() - files(pair.root / "store").keys() - {"plans"}
    assert sum(len(before[path]) for path in gone if not path.startswith("runs/")) > 0


def test_by_default_every_runs_last_output_is_kept(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What an earlier configuration of a run needed goes; what both runs of a store need stays."""
    pair = with_runs(bench, dedup=DEDUP)
    run_of(pair, "a", seed=5, dedup={**DEDUP, "commonness": {"bits": 13}})
    assert len(keys_of(pair.root / "store", "ngrams")) == 2
    assert len(list((pair.root / "store/runs").iterdir())) == 3
    prune(pair, capsys, "--yes")
    assert len(list((pair.root / "store/runs").iterdir())) == 2
    assert todo(pair, "b", dedup=DEDUP) == 0  # which needs the n-grams of before
    assert len(keys_of(pair.root / "store", "ngrams")) == 2
    run_of(pair, "b", dedup={**DEDUP, "commonness": {"bits": 13}})
    prune(pair, capsys, "--yes")
    assert len(keys_of(pair.root / "store", "ngrams")) == 1


def test_the_last_n_runs_are_kept(pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """By when they finished, whether they did any work or not."""
    assert f"let go: {pair.root}/a" in prune(pair, capsys, "--last", "1")
    run_of(pair, "a")
    told = prune(pair, capsys, "--last", "1", "--yes")
    assert f"let go: {pair.root}/b" in told
    assert todo(pair, "a") == 0
    assert "--last" in mistake(capsys, "store", "prune", str(pair.root / "store"), "--last", "0")


def test_what_an_unfinished_run_made_stays_until_it_is_old(pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """No run is known to need it: it may be one that goes on tomorrow."""
    store = pair.root / "store"
    before = set(files(store))
    with pytest.raises(UserError, match=r"select"):
        pair.run("c", **{**settings(pair, "a"), "name": "c", "select": {"rules": [NOTHING]}})
    made = {path for path in files(store) if path not in before and path.endswith(".done")}
    assert made
    assert "not old enough" in prune(pair, capsys, "--yes")
    assert made <= set(files(store))
    age(store)
    prune(pair, capsys, "--older-than", "9", "--yes")
    assert made <= set(files(store))
    prune(pair, capsys, "--yes")
    assert not made & set(files(store))
    assert todo(pair, "a") + todo(pair, "b") == 0


def test_what_a_folder_holds_is_kept_though_a_later_output_was_never_put_there(
    pair: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed just before it publishes."""
    from siftlm.publication import Publication

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Publication, "_put_in_place", killed)
        with pytest.raises(KeyboardInterrupt):
            run_of(pair, "a", select={"rules": [{**NOTHING, "min": 0.6}]})
    assert len(list((pair.root / "store/runs").iterdir())) == 3
    prune(pair, capsys, "--older-than", "0", "--yes")
    assert todo(pair, "a") == 0
    assert len(list((pair.root / "store/runs").iterdir())) == 3


@contextmanager
def beginning(pair: Any) -> Iterator[subprocess.Popen[str]]:
    """Another process that begins to work in the store, says so, and waits there."""
    code = (
        "import sys, json\nfrom siftlm.stages.publish import workspace\n"
        f"with workspace({str(pair.root / 'other')!r}, 'other', {str(pair.root / 'store')!r}):\n"
        "    print('there', flush=True)\n    sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def is_there(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "there\n"


def test_a_store_in_which_a_process_works_is_refused(pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A killed one leaves nothing that refuses."""
    store = str(pair.root / "store")
    with beginning(pair) as process:
        assert is_there(process)
        before = files(pair.root / "store")
        told = mistake(capsys, "store", "prune", store, "--keep", str(pair.root / "a"), "--yes")
        assert told == f"store: must not be in use, got {store}; a siftlm run works in it"
        assert files(pair.root / "store") == before
        assert siftlm(capsys, "store", "list", store)[0] == 0
        prune(pair, capsys)  # a look is free
    prune(pair, capsys, "--keep", str(pair.root / "a"), "--yes")


def test_a_run_that_begins_while_its_store_is_pruned_waits(pair: Any) -> None:
    """Not for long, and then it works."""
    from siftlm.stages.folders import sole_store

    with sole_store(str(pair.root / "store")):
        blocked = beginning(pair)
        process = blocked.__enter__()
        assert process.stdout is not None
        assert not select.select([process.stdout], [], [], 5.0)[0]
    assert is_there(process)
    blocked.__exit__(None, None, None)


@pytest.mark.parametrize(
    "stranger",
    [
        "thesis.tex",
        "documents/letter.doc",
        "photos/d41d8cd98f00b204e9800998ecf8427e.jpg",
        "photos/d41d8cd98f00b204e9800998ecf8427e.parquet",
        "documents/d41d8cd98f00b204e9800998ecf8427e.txt",
        "tables/d41d8cd98f00b204e9800998ecf8427e/notes.md",
        "tables/mine/d41d8cd98f00b204e9800998ecf8427e.parquet",
        "runs/notes.txt",
        ".git/config",
    ],
)
def test_what_no_run_wrote_is_left_and_told(pair: Any, capsys: pytest.CaptureFixture[str], stranger: str) -> None:
    """Under names like a run's in somebody's folder too."""
    path = pair.root / "store" / stranger
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    age(pair.root / "store")
    told = prune(pair, capsys, "--last", "1", "--yes")
    assert path.read_text() == "mine"
    if not stranger.startswith("runs/"):
        assert f"left alone: {stranger}" in told


def test_no_link_is_followed(pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither one to a folder, nor one with an output's name."""
    store, mine = pair.root / "store", pair.root / "mine"
    shutil.copytree(store / "signals", mine)
    (store / "linked").symlink_to(mine)
    (store / "signals" / f"{'0' * 32}.done").symlink_to(mine / sorted(os.listdir(mine))[0])
    before = files(mine)
    age(mine)
    told = prune(pair, capsys, "--last", "1", "--yes")
    assert "left alone: linked" in told
    assert files(mine) == before
    assert (store / "linked").is_symlink()


def test_a_run_whose_folder_is_gone_is_kept_until_the_user_says_so(
    pair: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may have moved, or be on a disk that is not mounted today."""
    shutil.move(pair.root / "b", pair.root / "elsewhere")
    told = prune(pair, capsys, "--yes")
    assert f"kept: what {pair.root}/b needs; its folder is gone" in told
    shutil.move(pair.root / "elsewhere", pair.root / "b")
    assert todo(pair, "b") == 0
    shutil.rmtree(pair.root / "b")
    assert f"let go: {pair.root}/b" in prune(pair, capsys, "--forget-gone", "--yes")
    assert len(keys_of(pair.root / "store", "tables")) == 1
    assert todo(pair, "a") == 0


def test_a_store_whose_runs_nobody_knows_is_refused(pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """As one of an earlier version: a run that is named is kept by its manifest, or registers when run once more."""
    store = pair.root / "store"
    shutil.rmtree(store / "runs")
    age(store)
    assert "whose records are gone" in mistake(capsys, "store", "prune", str(store), "--yes")
    told = prune(pair, capsys, "--keep", str(pair.root / "a"), "--yes")
    assert "it is not registered" in told
    assert todo(pair, "a") == 0
    assert {len(keys_of(store, folder)) for folder in ("tables", "answers", "selections")} == {2}
    (store / "siftlm-store.json").write_text("")  # as of an earlier version, in which only one has been run since
    run_of(pair, "a")
    for options in ([], ["--last", "1"], ["--forget-gone"]):
        assert "which an earlier version made" in mistake(capsys, "store", "prune", str(store), *options)
    prune(pair, capsys, "--keep", str(pair.root / "a"), "--older-than", "0", "--yes")
    assert {len(keys_of(store, folder)) for folder in ("tables", "answers", "selections")} == {1}
    assert todo(pair, "a") == 0


def test_a_damaged_record_is_not_guessed_at(pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows what its run needs."""
    record = sorted((pair.root / "store/runs").iterdir())[0]
    record.write_bytes(record.read_bytes().replace(b'"finished":1', b'"finished":2'))
    before = files(pair.root / "store")
    told = mistake(capsys, "store", "prune", str(pair.root / "store"), "--yes")
    assert f"got {record}, which is damaged" in told
    assert files(pair.root / "store") == before


@pytest.mark.parametrize("removals", [1, 2, 3, 5, 8])
def test_a_prune_that_is_killed_leaves_no_half_output(
    pair: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    """Whatever it was at: both runs give their bytes again, and the same command ends the work."""
    from siftlm import filesystem

    before, remove, left = {name: pair.content(name) for name in "ab"}, filesystem.remove, [removals]

    def killed(path: str, **options: Any) -> None:
        if "/plans/" not in path:
            left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        remove(path, **options)

    from siftlm.storage.prune import Choice
    from siftlm.storage.prune import prune as do

    choice = Choice(keep=(str(pair.root / "a"),))
    monkeypatch.setattr(filesystem, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        do(str(pair.root / "store"), choice, None, lambda _: None)
    monkeypatch.setattr(filesystem, "remove", remove)
    for marker in (pair.root / "store").rglob("*.done"):
        for suffix in json.loads(marker.read_bytes())["files"]:
            assert Path(f"{marker}".removesuffix(".done") + suffix).exists()
    prune(pair, capsys, "--keep", str(pair.root / "a"), "--yes")
    assert "goes outputs on disk all 0 0 B" in " ".join(prune(pair, capsys).split())
    for name in "ab":
        (pair.root / name / "manifest.json").unlink()
        run_of(pair, name)
    assert {name: pair.content(name) for name in "ab"} == before


def test_a_store_is_listed_by_itself_by_a_run_and_by_a_configuration(
    pair: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With bytes that add up to the files, and what of them runs need."""
    monkeypatch.setenv("COLUMNS", "300")
    store = pair.root / "store"
    conf = pair.root / "a.toml"
    conf.write_text(
        f"name = 'a'\nstore = '{store}'\n[[input]]\nsource = 'web'\npaths = ['{pair.root}/in']\n"
        f"[output]\nfolder = '{pair.root}/a'\n"
    )
    told = [siftlm(capsys, "store", "list", str(place), "--json")[1] for place in (store, pair.root / "a", conf)]
    assert told[0] == told[1] == told[2]
    listed = json.loads(told[0])
    sizes = {of["folder"]: of["bytes"] for of in listed["folders"]}
    own = ("runs", "fingerprints.json", "siftlm-store.json", ".store.lock")
    assert sum(sizes.values()) == sum(
        len(content) for path, content in files(store).items() if not path.startswith(own)
    )
    assert {run["folder"]: (run["missing"], run["latest"], run["gone"]) for run in listed["runs"]} == {
        str(pair.root / name): (0, True, False) for name in "ab"
    }
    steps = pair.run("a", **settings(pair, "a")).manifest["statistics"]["stored_bytes"]
    (of_a,) = (run for run in listed["runs"] if run["name"] == "a")
    assert sum(steps.values()) == of_a["bytes"]
    assert steps["tables"] < sizes["tables"]
    out = siftlm(capsys, "store", "list", str(store))[1]
    assert {line.split()[0] for line in out.splitlines() if line} >= {"documents", "tables", "all", f"{pair.root}/a"}


@pytest.mark.parametrize("place", ["nowhere", "in", "in/0.jsonl", ""])
def test_what_is_no_store_is_refused_in_one_line(pair: Any, capsys: pytest.CaptureFixture[str], place: str) -> None:
    """Neither a folder of somebody's, nor a file that is no configuration."""
    for command in ("list", "prune"):
        mistake(capsys, "store", command, str(pair.root / place) if place else "")
    told = mistake(capsys, "store", "prune", str(pair.root / "store"), "--keep", str(pair.root / "in"))
    assert told.startswith("--keep: must be folders of finished runs")


def test_a_run_of_another_store_cannot_be_kept(pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be let go of nothing, and all others of everything."""
    pair.run("c", name="c")
    told = mistake(capsys, "store", "prune", str(pair.root / "store"), "--keep", str(pair.root / "c"), "--yes")
    whose = f"got {pair.root}/c, whose store is {pair.root}/c/store"
    assert told == f"--keep: must be folders of runs of {pair.root}/store, {whose}"


def test_a_store_in_an_object_store_is_pruned_and_leased(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """There the system has no locks: whoever works there says so in a file."""
    import fsspec

    from siftlm.stages.publish import workspace

    root = f"memory://prune-{bench.root.name}"
    bench.shard("0.jsonl", [{"id": f"{n}", "text": f"text {n} of words"} for n in range(6)])
    for seed, name in enumerate("ab"):
        rule = {"kind": "threshold", "column": "byte_count", "min": seed}
        bench.run(name, name=name, store=f"{root}/store", select={"rules": [rule]})
    fs = fsspec.filesystem("memory")
    fs.pipe(f"{root}/store/mine.txt", b"mine")
    with workspace(str(bench.root / "c"), "c", f"{root}/store"):
        told = mistake(capsys, "store", "prune", f"{root}/store", "--keep", str(bench.root / "a"), "--yes")
        assert re.search(rf"process {os.getpid()} on \S+, since \S+, works in it", told)
    before = len(fs.find(f"{root}/store"))
    code, out, errors = siftlm(capsys, "store", "prune", f"{root}/store", "--keep", str(bench.root / "a"), "--yes")
    assert code == 0, errors
    assert "left alone: mine.txt" in out
    assert len(fs.find(f"{root}/store")) < before
    assert not fs.find(f"{root}/store/.in-use")
    listed = json.loads(siftlm(capsys, "store", "list", f"{root}/store", "--json")[1])
    assert [(run["name"], run["missing"]) for run in listed["runs"]] == [("a", 0)]
    fs.pipe(f"{root}/store/.in-use/prune-{'0' * 32}.json", b'{"host":"h","process":7,"since":"then"}')
    with pytest.raises(UserError, match=r"process 7 on h, since then, works in it; if that process is gone, remove"):
        bench.run("a", name="a", store=f"{root}/store")
