"""Runs beside, above and below one another: each reads its input alone, and writes and removes its own files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from siftlm.errors import UserError


def good(count: int, name: str) -> list[dict[str, str]]:
    return [{"id": f"{name}{n}", "text": f"document {n} of {name}, which nobody has to drop"} for n in range(count)]


def ids(bench: Any, out: str) -> list[str]:
    return sorted(row["doc_id"] for row in bench.rows(out))


@pytest.mark.parametrize(
    ("out", "store"), [("in/out", None), ("in/a/b/out", None), ("out", "in/store"), ("in/out", "in/x/store")]
)
def test_a_run_below_its_input_reads_the_same_documents_every_time(bench: Any, out: str, store: str | None) -> None:
    """What it wrote before, data, report, store and metrics, is no document."""
    bench.shard("a.jsonl", good(5, "a"))
    settings: dict[str, Any] = {"metrics_file": str(bench.root / "in/metrics.prom"), "output": {"rejects": True}}
    settings |= {"store": str(bench.root / store)} if store else {}
    first = bench.run(out, **settings)
    before = bench.content(out)
    for number in range(3):
        (bench.root / out / "manifest.json").unlink()
        assert bench.run(out, seed=number, **settings).manifest["inputs"][0]["documents"] == 5
        assert len(ids(bench, out)) == 5
    assert bench.run(out, **settings).manifest["identity"] == first.manifest["identity"]
    assert bench.content(out).keys() == before.keys()


def test_another_runs_folder_below_an_input_is_left_out_and_its_data_can_be_asked_for(bench: Any) -> None:
    """A corpus over everything is the corpus; a chain of runs names the data of the one before."""
    bench.shard("a.jsonl", good(5, "a"))
    bench.run("in/runs/first")
    bench.run("in/runs/second", name="second")
    assert ids(bench, "in/runs/second") == ids(bench, "in/runs/first")
    data = {"source": "web", "paths": [str(bench.root / "in/runs/first/data")], "id_field": "doc_id"}
    bench.run("third", name="third", input=[data])
    assert ids(bench, "third") == ids(bench, "in/runs/first")
    with pytest.raises(UserError, match="to read what another run kept, name its data folder"):
        bench.run("fourth", name="fourth", input=[{**data, "paths": [str(bench.root / "in/runs/first")]}])


def test_validate_and_run_say_what_they_left_out(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a source."""
    from siftlm import job
    from siftlm.checks.validate import validate
    from siftlm.config import parse
    from siftlm.engine.progress import Progress

    bench.shard("a.jsonl", good(2, "a"))
    bench.run("in/first")
    config = parse(bench.tree("in/second", name="second"), [])
    line = f"input 'web': left out what runs of siftlm wrote, in {bench.root}/in/first"
    assert line in validate(config)
    job.run(config, Progress())
    assert f"{line}, {bench.root}/in/second\n" in capsys.readouterr().err


def test_files_of_a_users_in_the_output_survive(bench: Any) -> None:
    """Of data/ only the shards that siftlm wrote are replaced, though others look like data too."""
    bench.shard("a.jsonl", good(5, "a"))
    bench.run()
    mine = [bench.root / "out" / name for name in ("data/notes.txt", "data/mine.parquet", "data/sub/x", "notes.md")]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (bench.root / "in/b.jsonl").write_text(json.dumps({"id": "b", "text": "one more document of the corpus"}) + "\n")
    assert bench.run().manifest["statistics"]["kept"]["documents"] == 6
    assert [path.read_text() for path in mine] == ["mine"] * 4


def test_a_plan_makes_nothing(bench: Any) -> None:
    """Neither an output folder nor a store; and it refuses what the run would refuse."""
    from siftlm.config import parse
    from siftlm.plan import plan

    bench.shard("a.jsonl", good(3, "a"))
    assert plan(parse(bench.tree(), []))[0].todo == 1
    assert {path.name for path in bench.root.iterdir()} == {"in"}
    bench.shard("thesis.jsonl", [], folder="mine")
    with pytest.raises(UserError, match=r"^store: must be empty, new or a store"):
        plan(parse(bench.tree(store=str(bench.root / "mine")), []))
    bench.run()
    assert [row.todo for row in plan(parse(bench.tree(), []))][:2] == [0, 0]


@pytest.mark.parametrize("key", ["output.folder", "store", "metrics_file", "input.web.paths"])
@pytest.mark.parametrize("path", ["", "/", "s3://"])
def test_nothing_and_the_root_are_refused_at_every_key(bench: Any, key: str, path: str) -> None:
    """As an unset variable of a shell would give them."""
    from siftlm.config import parse

    bench.shard("a.jsonl", good(1, "a"))
    value = f"['{path}']" if key.startswith("input") else f"{path}"
    with pytest.raises(UserError, match=rf"^configuration: {key.replace('web', '0')}"):
        parse(bench.tree(), [f"{key}={value}"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["correlate", "--matrix", "m.csv", "--errors", "e.csv", "--out"],
        ["project", "--estimates", "e.csv", "--units", "u.csv", "--keep-share", "0.1", "--out"],
        ["train-classifier", "--good", "in/*", "--web", "in/*", "--out"],
        ["fit-dsir", "--target", "in/*", "--raw", "in/*", "--out"],
        ["train-reference", "run.toml"],
        ["diff", "out", "out", "--html"],
        ["inspect"],
        ["report"],
    ],
)
def test_nothing_and_the_root_are_refused_by_every_command(
    bench: Any, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any work."""
    from typer.testing import CliRunner

    from siftlm.cli.commands import app

    monkeypatch.chdir(bench.root)
    bench.shard("a.jsonl", good(1, "a"))
    Path("run.toml").write_text(
        "name = 'x'\nreference = { holdout = 0.5 }\n[[input]]\nsource = 'web'\npaths = ['in']\n"
        "[output]\nfolder = 'out'\n"
    )
    for path in ("", "/", "gs://"):
        done = CliRunner().invoke(app, [*arguments, path])
        assert isinstance(done.exception, UserError), (path, done.output)
        assert "\n" not in str(done.exception)
        assert ": must " in str(done.exception)
    assert {path.name for path in bench.root.iterdir()} == {"in", "run.toml"}


def test_a_byte_order_mark_before_a_configuration_is_none_of_it(tmp_path: Path) -> None:
    """Editors of Windows write one."""
    from siftlm.config import load

    path = tmp_path / "run.toml"
    lines = b"name = 'x'\ninput = [{source = 'web', paths = ['in']}]\noutput.folder = 'out'\n"
    path.write_bytes(b"\xef\xbb\xbf" + lines)
    assert load(str(path)).name == "x"
    path.write_bytes(lines.decode().encode("utf-16"))
    assert load(str(path)).name == "x"
    path.write_bytes(lines.decode().encode("utf-16-le"))
    with pytest.raises(UserError, match=r"^.*run\.toml: must be"):
        load(str(path))


def test_an_input_that_cannot_be_read_is_told_by_validate_too(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is looked at, not the first few."""
    import os

    from siftlm.checks.validate import validate
    from siftlm.config import parse

    for name in "abcdefgh":
        bench.shard(f"{name}.jsonl", good(1, name))
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("g.jsonl") and access(path, mode))
    refused = r"^input\.0\.paths: files must be readable, got .*/g\.jsonl; Permission denied$"
    with pytest.raises(UserError, match=refused):
        validate(parse(bench.tree(), []))
