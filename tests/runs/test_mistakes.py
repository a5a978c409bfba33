"""Every command with every wrong kind of thing in the place of a right one: one line and exit code 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runs.conftest import mistake, siftlm

CONF = """
name = "bench"
[[input]]
source = "web"
paths = ["in"]
id_field = "id"
[annotate]
language = false
signals = false
[[select.rules]]
kind = "threshold"
column = "byte_count"
min = 5
[output]
folder = "out"
"""
NUMBERS = "model,a,b\n" + "".join(f"m{n},{n + 1},{(n * n) % 7 + 1}\n" for n in range(8))


@pytest.fixture(scope="module")
def finished(shared_bench: Any) -> Any:
    """A finished run, its configuration, and two tables."""
    (shared_bench.root / "run.toml").write_text(CONF)
    shared_bench.shard("a.jsonl", [{"id": f"a{n}", "text": f"text {n} of a"} for n in range(8)])
    (shared_bench.root / "matrix.csv").write_text(NUMBERS)
    (shared_bench.root / "errors.csv").write_text(NUMBERS.replace("a,b", "task1,task2"))
    shared_bench.run()
    return shared_bench


@pytest.fixture
def desk(finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run's folder, as the working directory."""
    shutil.copytree(finished.root, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


def wrong(path: Path) -> Iterator[str]:
    """Things that are no configuration, table, manifest or run, made one after another at a path."""
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    yield "nothing"
    path.mkdir()
    yield "a folder"
    path.rmdir()
    contents = {
        "binary": bytes(range(256)) * 8,
        "UTF-16": NUMBERS.encode("utf-16-le"),
        "a list": b"[1, 2]",
        "null": b"null",
        "cut short": b'{"name": "bench", "identity": "12',
        "a number": b"7",
    }
    for name, content in contents.items():
        path.write_bytes(content)
        yield name
    path.unlink()
    path.symlink_to(path)
    yield "a link to itself"


PROJECT = ("--units", "matrix.csv", "--keep-share", "0.5", "--out", "o")
COMMANDS: dict[str, tuple[str, ...]] = {
    "run CONF": ("run.toml", "run", "run.toml"),
    "run --dry-run CONF": ("run.toml", "run", "run.toml", "--dry-run"),
    "validate CONF": ("run.toml", "validate", "run.toml"),
    "plan CONF": ("run.toml", "plan", "run.toml"),
    "train-reference CONF": ("run.toml", "train-reference", "run.toml", "model"),
    "train-family CONF": ("run.toml", "train-family", "run.toml"),
    "benchmark CONF": ("run.toml", "benchmark", "run.toml"),
    "matrix CONF": ("run.toml", "matrix", "run.toml"),
    "correlate CONF": ("run.toml", "correlate", "run.toml"),
    "project CONF": ("run.toml", "project", "run.toml"),
    "train-classifier CONF": ("run.toml", "train-classifier", "run.toml"),
    "fit-dsir CONF": ("run.toml", "fit-dsir", "run.toml"),
    "correlate --matrix": ("m.csv", "correlate", "--matrix", "m.csv", "--errors", "errors.csv", "--out", "o"),
    "correlate --matrix parquet": ("m.pq", "correlate", "--matrix", "m.pq", "--errors", "errors.csv", "--out", "o"),
    "correlate --matrix gz": ("m.csv.gz", "correlate", "--matrix", "m.csv.gz", "--errors", "errors.csv", "--out", "o"),
    "correlate --errors": ("e.csv", "correlate", "--matrix", "matrix.csv", "--errors", "e.csv", "--out", "o"),
    "project --estimates": ("e.csv", "project", "--estimates", "e.csv", *PROJECT),
    "inspect RUN": ("out", "inspect", "out"),
    "inspect manifest": ("out/manifest.json", "inspect", "out"),
    "report manifest": ("out/manifest.json", "report", "out"),
    "explain manifest": ("out/manifest.json", "explain", "out", "a1"),
    "diff manifest": ("out/manifest.json", "diff", "out", "out"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_thing_in_the_place_of_a_right_one_is_one_line(
    desk: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Nothing, a folder, binary, another encoding, another shape, what was cut short, a link to itself."""
    place, *arguments = COMMANDS[name]
    for kind in wrong(desk / place):
        code, _, told = siftlm(capsys, *arguments)
        assert code == 2, f"{kind}: {told}"
        assert told.startswith("siftlm: "), f"{kind}: {told}"
        assert told.count("\n") == 1, f"{kind}: {told}"


@pytest.mark.parametrize("key", ["config", "inputs", "statistics", "counts", "identity", "data"])
@pytest.mark.parametrize("command", ["inspect", "report", "diff", "explain"])
def test_a_manifest_without_a_key_is_one_line(
    desk: Path, capsys: pytest.CaptureFixture[str], command: str, key: str
) -> None:
    """And so it is with one of another type."""
    path = desk / "out/manifest.json"
    manifest = json.loads(path.read_text())
    more = {"diff": ["out"], "explain": ["a1"]}.get(command, [])
    for other in ({k: v for k, v in manifest.items() if k != key}, {**manifest, key: 7}):
        path.write_text(json.dumps(other))
        told = mistake(capsys, command, "out", *more)
        assert told.startswith("out/manifest.json: must be as the run wrote it, got ")


def test_a_run_publishes_anew_where_the_manifest_is_damaged(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It can be made again, so it is."""
    path = desk / "out/manifest.json"
    for content in (path.read_bytes()[:100], b"[]", b""):
        path.write_bytes(content)
        code, _, told = siftlm(capsys, "run", "run.toml", "--quiet")
        assert (code, "Traceback" in told) == (0, False)
        assert json.loads(path.read_text())["name"] == "bench"


def test_a_store_that_is_a_file_is_one_line(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the commands that make it and for those that read it."""
    (desk / "file").write_text("mine")
    assert mistake(capsys, "run", "run.toml", "--set", "store=file").startswith("store: must be ")
    assert mistake(capsys, "run", "run.toml", "--set", "store=file/below").startswith("store: must be ")
    shutil.rmtree(desk / "out/store")
    (desk / "out/store").write_text("mine")
    for arguments in (["inspect", "out"], ["report", "out"], ["diff", "out", "out"], ["explain", "out", "a1"]):
        mistake(capsys, *arguments)
    assert (desk / "file").read_text() == (desk / "out/store").read_text() == "mine"


def correlated(capsys: pytest.CaptureFixture[str], matrix: str) -> tuple[int, str, str]:
    return siftlm(capsys, "correlate", "--matrix", matrix, "--errors", "errors.csv", "--out", "o")


@pytest.mark.parametrize(
    ("encoding", "separator"),
    [("utf-8-sig", ","), ("utf-16", ","), ("utf-32", ","), ("utf-8", ";"), ("utf-8", "\t"), ("utf-16", "\t")],
)
def test_a_table_that_can_be_read_is_read(
    desk: Path, capsys: pytest.CaptureFixture[str], encoding: str, separator: str
) -> None:
    """As spreadsheets save it: the estimates are those of the plain file."""
    import pyarrow.parquet as pq

    assert correlated(capsys, "matrix.csv")[0] == 0
    plain = pq.read_table("o/estimates.parquet")
    (desk / "m.csv").write_bytes(NUMBERS.replace(",", separator).encode(encoding))
    code, _, told = correlated(capsys, "m.csv")
    assert code == 0, told
    assert pq.read_table("o/estimates.parquet").equals(plain)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (NUMBERS.replace("m3", "é3").encode("latin-1"), "m.csv: must be UTF-8 text, got byte 0xe9 in line 5; it looks"),
        (NUMBERS.encode("utf-16-le"), "m.csv: must be CSV text, got null characters; it looks like UTF-16"),
        (NUMBERS.encode("utf-16")[:-1], "m.csv: must be UTF-16-LE text, got byte 0x0a in line "),
        (b"PK\3\4" + b"\xff" * 50, "m.csv: must be UTF-8 text, got byte 0xff in line 1; it looks like a spreadsheet"),
        (b"", "m.csv: must be a CSV file with a header, got an empty file"),
        (b"model,a,a\nm1,1,2\n", "m.csv: every column must have a name of its own, got 'a' more than once"),
        (b"model,a,b\nm1,1\n", "m.csv: must be a CSV file with as many cells in every row, got "),
        (b"model;a;b\nm1;0,5;1\nm2;0.7;2\n", "m.csv: column 'a' must hold numbers, got '0,5' in row 'm1'"),
        (b"model,a,b\n", "matrix: must keep a model and a unit, got (0, 2) after cleaning"),
        (b"model," + b"x" * 200_000 + b",b\n", "m.csv: must be a CSV file with a header, got field larger"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(
    desk: Path, capsys: pytest.CaptureFixture[str], content: bytes, told: str
) -> None:
    """With the place of the first wrong byte or cell, and what it looks like."""
    (desk / "m.csv").write_bytes(content)
    line = mistake(capsys, "correlate", "--matrix", "m.csv", "--errors", "errors.csv", "--out", "o")
    assert line.startswith(told)


def test_columns_of_a_parquet_file_that_are_no_numbers_are_left_out(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dates, lists and bytes, with a finding; whole numbers beyond 2**53 are numbers."""
    from datetime import date

    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "model": [f"m{n}" for n in range(8)],
        "a": [2**59 * (n + 1) for n in range(8)],
        "b": [(n * n) % 7 + 1 for n in range(8)],
        "day": [date(2024, 1, 1)] * 8,
        "list": [[1.0]] * 8,
        "raw": [b"\xff"] * 8,
    }
    pq.write_table(pa.table(columns), desk / "m.parquet")
    code, out, told = correlated(capsys, "m.parquet")
    assert code == 0, told
    assert "found" in out
    assert "day" in out


@pytest.mark.parametrize(
    "content",
    [
        '{"results": {"t": 5}, "model_name": "m"}',
        '{"results": {"t": {"acc": 1}}, "config": [], "model_name": "m"}',
        '{"results": {"t": {"acc": 1}}, "higher_is_better": 5, "model_name": "m"}',
        '{"results": {"t": {"acc": 1}}, "date": "yesterday", "model_name": "m"}',
        '{"results": {"t": {"acc": 1}}, "date": [1], "model_name": "m"}',
        "[" * 100_000,
    ],
)
def test_harness_results_of_another_shape_are_one_line(
    desk: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    """The file is named."""
    (desk / "harness").mkdir()
    (desk / "harness/results_1.json").write_text(content)
    line = mistake(capsys, "correlate", "--matrix", "matrix.csv", "--errors", "harness", "--out", "o")
    assert line.startswith("harness/results_1.json: ")


@pytest.mark.parametrize("command", ["run", "plan", "validate"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sets", "seed=3"], "every option must be siftlm's or Beam's, got '--sets'; did you mean '--set'?"),
        (
            ["--paralelism=3"],
            "every option must be siftlm's or Beam's, got '--paralelism'; did you mean '--parallelism'?",
        ),
        (["--seed", "5"], "every option must be siftlm's or Beam's, got '--seed'; did you mean '--set'?"),
        (["--dry_run=true"], "every option must be siftlm's or Beam's, got '--dry_run'"),
        (["-x"], "every option must be siftlm's or Beam's, got '-x'"),
        (["other.toml"], "must name one CONF, got 'run.toml', 'other.toml'"),
        (["--spark_master_url"], "--spark_master_url must have a value, got nothing"),
        (["--streaming=perhaps"], "--streaming must be true or false, got 'perhaps'"),
        (["--runner"], "--runner must have a value, got nothing"),
    ],
)
def test_an_option_that_nobody_knows_is_refused_with_the_nearest_name(
    desk: Path, capsys: pytest.CaptureFixture[str], command: str, words: list[str], told: str
) -> None:
    """Before any work: nothing in the output folder changes."""
    before = {path: path.stat().st_mtime_ns for path in (desk / "out").rglob("*")}
    assert mistake(capsys, command, "run.toml", *words, "--set", "seed=9").startswith(f"command line: {told}")
    assert before == {path: path.stat().st_mtime_ns for path in (desk / "out").rglob("*")}


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("direct_num_workers=abc", "must be a whole number, got 'abc'"),
        ("direct_running_mode=fast", "must be one of 'in_memory', 'multi_threading', 'multi_processing', got 'fast'"),
        ("parralelism=2", "must be an option of Beam, got 'parralelism'; did you mean 'parallelism'?"),
        ("spark_master_url=true", "must have a value, got nothing"),
        ("dry_run=true", "must be an option of Beam, got 'dry_run'"),
        ("streaming=5", "must be true or false, got 5"),
    ],
)
def test_options_of_a_configuration_are_looked_at_too(
    desk: Path, capsys: pytest.CaptureFixture[str], option: str, told: str
) -> None:
    """The name and the value, by run, plan and validate alike."""
    for command in ("run", "plan", "validate"):
        line = mistake(capsys, command, "run.toml", "--set", f"runner.options.{option}")
        assert line == f"runner.options.{option.partition('=')[0]}: {told}"


def test_known_options_reach_beam_wherever_they_stand(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beam's own, Flink's that only its job server knows, before and behind CONF."""
    from siftlm.engine.beam_options import of_arguments

    words = ["--job_name", "x", "--checkpointing_interval=9", "--streaming", "--no_use_public_ips=true"]
    given, others = of_arguments([*words, "conf"])
    assert others == ["conf"]
    assert given == {"job_name": "x", "checkpointing_interval": "9", "streaming": True, "no_use_public_ips": True}
    code, _, told = siftlm(
        capsys, "run", "--set", "seed=4", "--job_name", "x", "run.toml", "--experiments=a,b", "--quiet"
    )
    assert (code, told) == (0, "")


def test_a_dry_run_is_a_plan_and_writes_nothing(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even the store's folder. The documents a second are measured anew."""
    arguments = ["run.toml", "--set", "output.folder=new", "--set", "seed=3"]

    def shown(*command: str) -> list[list[str]]:
        code, out, _ = siftlm(capsys, *command, *arguments)
        assert code == 0
        return [[word for word in line.split() if not word[0].isdigit()] for line in out.splitlines()]

    planned = shown("plan")
    assert shown("run", "--dry-run") == planned
    assert "decisions" in [line[0] for line in planned]
    assert not (desk / "new").exists()


def test_a_run_whose_condition_holds_leaves_what_was_published(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 4, the number is said, and not a byte of the folder's shards, card or manifest is another."""
    names = ("data", "manifest.json", "README.md", "report.html")

    def content() -> dict[str, bytes]:
        files = [path for name in names for path in (desk / "out" / name, *(desk / "out" / name).glob("*"))]
        return {str(path): path.read_bytes() for path in files if path.is_file()}

    before = content()
    (desk / "in/b.jsonl").write_text("".join(f'{{"id": "b{n}", "text": "more text {n}"}}\n' for n in range(8)))
    code, _, told = siftlm(capsys, "run", "run.toml", "--quiet", "--fail-if", "kept_documents > 1.5")
    assert code == 4
    assert told == "siftlm: kept_documents > 1.5 (kept_documents is 2): out keeps what it had before\n"
    assert content() == before
    code, out, told = siftlm(capsys, "run", "run.toml", "--fail-if", "kept_documents > 2.5")
    assert code == 0, told
    assert "came in 0" in out
    assert content() != before


@pytest.mark.parametrize("condition", ["kept_documents <", "kept_docs < 1", "drift_no_column > 1", "kept_tokens < 1"])
def test_a_condition_that_cannot_be_looked_at_is_refused_before_any_work(
    desk: Path, capsys: pytest.CaptureFixture[str], condition: str
) -> None:
    """No syntax, no such quantity, no such column, no count of tokens."""
    shutil.rmtree(desk / "out")
    assert mistake(capsys, "run", "run.toml", "--fail-if", condition).startswith("--fail-if: must ")
    assert not (desk / "out").exists()


def test_without_anything_published_a_condition_is_said_to_compare_nothing(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first run of a refresh."""
    shutil.rmtree(desk / "out")
    code, out, _ = siftlm(capsys, "run", "run.toml", "--fail-if", "kept_documents < 0.9")
    assert code == 0
    assert "nothing was published before" in out
