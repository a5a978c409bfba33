"""What the command line says of mistakes: one line, exit code 2, no traceback; and what it does without any."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from tests.runs.conftest import command, mistake, siftlm

from siftlm.engine import beam_options
from siftlm.engine.runner import RunnerSettings, run_pipeline
from siftlm.errors import UserError

CONF = """
name = "bench"
[[input]]
source = "web"
paths = ["in"]
id_field = "id"
[[select.rules]]
kind = "threshold"
column = "byte_count"
min = 5
[output]
folder = "out"
"""
SCORE = """
[[score]]
name = "tiny"
model = "{}"
device = "{}"
"""


@pytest.fixture
def desk(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with a configuration and two shards, as the working directory."""
    monkeypatch.chdir(bench.root)
    (bench.root / "run.toml").write_text(CONF)
    for name in "ab":
        bench.shard(f"{name}.jsonl", [{"id": f"{name}{n}", "text": f"text {n} of {name}"} for n in range(4)])
    return bench


SETS = {
    "seed": "--set: must be key=value, got 'seed'",
    "seed=x": "run.toml: seed: must be a valid integer, got 'x'",
    "seeds=3": "run.toml: seeds: must be a known key, got 'seeds'; did you mean 'seed'?",
    "select.rules.7.min=3": "--set select.rules.7: must name an element that is there, got '7'; there are byte_count",
    "name=12:30:00": "run.toml: name: must match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]*$', got '12:30:00'",
    "input.0.source=1.0": "run.toml: input.0.source: must match pattern '^[a-z][a-z0-9_]*$', got '1.0'",
    "select.rules.0.reason=": "run.toml: select.rules.0.reason: must have at least 1 character, got ''",
    "output=3": "run.toml: output: must be a table, got 3",
    "input=[]": "run.toml: input: must have at least 1 item, got []",
    "input.0.nowhere": "--set: must be key=value, got 'input.0.nowhere'",
    "name.deep=3": "--set name: must be a table, got 'bench'",
    "select.rules.0.column=bite_count": "select.rules.0: must name a column that the run computes, got 'bite_count'; "
    "did you mean 'byte_count'?",
    "select.rules.0.column=text": "select.rules.0: must name a column that the run computes, got 'text'",
    "select.rules.0.column=position": "select.rules.0: must name a column that the run computes, got 'position'",
    "select.rules.0.column=domain": "select.rules.0.column: must be a column of numbers, got 'domain' of string",
    "select.tokens=domain": "select.tokens: must name a column of integers, got 'domain'; there are ",
    "dedup.keep=domain": "dedup.keep: must name a numeric column of annotate, got 'domain'",
    "input.0.paths=['nothing/*.jsonl']": "input.0.paths: every path and pattern must match a file, "
    "got 'nothing/*.jsonl', which matches none",
    "input.0.text_field=body": "input 'web': must hold documents, got none in the first 8 records of "
    "{here}/in/a.jsonl; 8 times missing_field, is text_field = 'body' right?",
    "output.folder=run.toml/x": "output.folder: must be writable, got run.toml/x; ",
    "output.folder=/proc/nothing": "output.folder: must be writable, got /proc/nothing; ",
    "runner.name=DaskRunner": "runner.name: must be a runner with right results, got 'DaskRunner'",
}


@pytest.mark.parametrize("override", SETS)
def test_a_mistake_is_one_line_before_any_work(desk: Any, capsys: pytest.CaptureFixture[str], override: str) -> None:
    """Keys, types, columns, fields and folders: the line says the place, what must hold and what was found."""
    expected = SETS[override].replace("{here}", str(desk.root))
    assert mistake(capsys, "run", "run.toml", "--set", override).startswith(expected)
    assert not (desk.root / "out/store/documents").exists()


@pytest.mark.parametrize("command", ["run", "validate", "plan"])
def test_a_configuration_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """The path is named."""
    assert mistake(capsys, command, "no.toml") == "no.toml: must be a configuration file, got nothing there"


def test_a_configuration_that_is_not_toml_is_one_line(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With the place of the first error in it."""
    (desk.root / "run.toml").write_text("name = \n")
    assert mistake(capsys, "run", "run.toml").startswith("run.toml: must be TOML; invalid value")


def test_a_model_that_is_not_there_is_one_line(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that does not exist is not looked for on the hub."""
    (desk.root / "run.toml").write_text(CONF + SCORE.format("./no/model", "cpu"))
    assert mistake(capsys, "run", "run.toml").startswith("score.tiny.model: must be a folder, a .gguf file or a hub id")


def test_cuda_without_one_is_one_line_before_any_work(
    desk: Any, capsys: pytest.CaptureFixture[str], tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is looked for before the first shard is read."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (desk.root / "run.toml").write_text(CONF + SCORE.format(tiny_model(desk.root / "model"), "cuda"))
    capsys.readouterr()
    told = mistake(capsys, "run", "run.toml")
    assert told == "score.tiny.device: must be a device of this machine, got 'cuda' without a CUDA device"
    assert not (desk.root / "out/store/documents").exists()


def test_another_runs_folder_is_refused(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder belongs to the run of the name it was made with; damage of that mark is no new folder."""
    (desk.root / "out").mkdir()
    (desk.root / "out/siftlm.json").write_text('{"name": "other"}')
    told = mistake(capsys, "run", "run.toml")
    assert told == "output.folder: must be new or belong to run 'bench', got out of run 'other'"
    (desk.root / "out/siftlm.json").write_text("")
    assert "damaged siftlm.json" in mistake(capsys, "run", "run.toml")


@pytest.mark.parametrize("stranger", ["thesis.tex", "data/part-00000-of-00001.parquet"])
def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(
    desk: Any, capsys: pytest.CaptureFixture[str], stranger: str
) -> None:
    """Also where it holds folders only: what is in data/ would be replaced."""
    path = desk.root / "out" / stranger
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    told = mistake(capsys, "run", "run.toml")
    assert told == f"output.folder: must be empty or a run's folder, got out with {stranger.partition('/')[0]}"
    assert [p for p in (desk.root / "out").rglob("*") if p.is_file()] == [path]


def test_a_folder_in_use_is_refused(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The lock of another process holds until that process ends."""
    (desk.root / "out").mkdir()
    (desk.root / "out/siftlm.json").write_text('{"name": "bench"}')
    command = (
        "import fcntl, sys; f = open('out/.lock', 'wb'); fcntl.flock(f, 2); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        told = mistake(capsys, "run", "run.toml")
        assert told == "output.folder: must not be in use, got out; another siftlm run holds it"
        other.communicate()
    with (desk.root / "out/.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_report_by_a_user_without_a_cache_says_nothing_of_it(
    desk: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's container, a read-only image: the charts need no cache of fonts."""
    siftlm(capsys, "run", "run.toml", "--quiet")
    monkeypatch.setenv("MPLCONFIGDIR", "/proc/nothing")
    done = command(desk.root, "report", "out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out/report.html\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be refused as")
def test_a_folder_of_another_user_is_one_line(desk: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A parent that cannot be written to, and a store that cannot: no permission, exit code 2."""
    for path in [desk.root, *desk.root.parents][:4]:  # up to the folder of all sessions, from any worker's
        if path != Path(tempfile.gettempdir()):
            path.chmod(0o755)
    # what Python imports late may lie where another user cannot read
    drop = (
        "import logging, os\nlogging.disable()\n"
        "import gettext, apache_beam, typer.rich_utils, siftlm.job, siftlm.report.terminal\nos.setuid(65534)"
    )
    done = command(desk.root, "run", "run.toml", "--quiet", code=drop)
    assert (done.returncode, done.stderr) == (
        2,
        "siftlm: output.folder: must be writable, got out; Permission denied\n",
    )
    (desk.root / "mine").mkdir(mode=0o777)
    (desk.root / "mine").chmod(0o777)
    arguments = ["--set", "output.folder=mine/out", "--set", "store=store"]
    done = command(desk.root, "run", "run.toml", "--quiet", *arguments, code=drop)
    assert done.returncode == 2
    assert done.stderr == "siftlm: store: must be writable, got store; Permission denied\n"
    done = command(desk.root, "validate", "run.toml", *arguments, code=drop)
    assert (done.returncode, done.stderr) == (2, "siftlm: store: must be writable, got store; Permission denied\n")


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        ("raise UserError('place: must hold, got not')", 2, "siftlm: place: must hold, got not\n"),
        ("raise OSError(28, 'No space left on device', 'x')", 2, "siftlm: no space left: [Errno 28]"),
        ("raise AuditError('the audit failed: 1 row')", 3, "siftlm: the audit failed: 1 row\n"),
    ],
)
def test_a_fault_in_a_worker_is_one_line(desk: Any, fault: str, code: int, told: str) -> None:
    """Beam's remarks, its log and its traceback are not what a user reads."""
    patch = (
        "from siftlm.errors import UserError\nfrom siftlm.engine.audit import AuditError\n"
        f"from siftlm.stages.ingest import Ingest\ndef run(*_):\n    {fault}\nIngest.run = run"
    )
    done = command(desk.root, "run", "run.toml", "--quiet", code=patch)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1


def test_a_mistake_in_a_worker_process_is_one_line(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Another process gives the error as text; the last of its lines is the mistake."""
    from siftlm.cli.mistakes import known
    from siftlm.errors import UserError

    text = (
        "Traceback (most recent call last):\n  File x\nsiftlm.errors.UserError: in: must be, got y [while running 'z']"
    )
    for error in (RuntimeError(text), RuntimeError(repr(text)), UserError("in: must be, got y")):
        assert str(known(error)) == "in: must be, got y"
    assert known(ValueError("a defect")) is None


@pytest.mark.parametrize(
    ("kind", "number", "said"),
    [("OSError", 28, "no space left"), ("PermissionError", 13, "no permission"), ("OSError", 5, "a failing disk")],
)
def test_a_fault_of_the_environment_in_a_worker_process_is_one_line(kind: str, number: int, said: str) -> None:
    """As in this process; of several errors in the text, the last one says where it was."""
    from siftlm.cli.mistakes import known

    fault = f"[Errno {number}] {os.strerror(number)}"
    text = (
        f"Traceback (most recent call last):\n  File x\n{kind}: {fault}\n\nDuring handling of the above exception, "
        f"another exception occurred:\n\n{kind}: {fault}: /out/x.parquet [while running 'documents']\n"
    )
    for error in (RuntimeError(text), RuntimeError(repr(text))):
        assert str(known(error)) == f"{said}: {fault}: /out/x.parquet; mend that and run again"
    assert known(RuntimeError(text.replace(f"Errno {number}", "Errno 9"))) is None


def test_commands_do_what_they_say(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """validate, plan, run, run again, inspect and schema on one small corpus; all end with 0."""
    code, told, _ = siftlm(capsys, "validate", "run.toml")
    assert (code, told.splitlines()[0]) == (0, f"input 'web': 2 jsonl files, {_size(desk):,} bytes")
    assert not (desk.root / "out").exists()
    code, told, _ = siftlm(capsys, "plan", "run.toml")
    assert code == 0
    assert "documents" in told
    code, told, progress = siftlm(capsys, "run", "run.toml")
    assert (code, "Traceback" in progress) == (0, False)
    assert len(desk.rows()) == 8
    code, told, _ = siftlm(capsys, "run", "run.toml", "--quiet")
    assert (code, told) == (0, "")
    code, told, _ = siftlm(capsys, "inspect", "out", "--column", "byte_count", "--percentiles", "0,100")
    assert (code, "text 0 of a" in told) == (0, True)
    code, told, _ = siftlm(capsys, "schema")
    assert (code, "input" in orjson.loads(told)["properties"]) == (0, True)
    for arguments, expected in {
        ("inspect", "nowhere"): "nowhere: must be the folder of a finished run, got no manifest.json there",
        ("inspect", "out", "--column", "byte_cont"): "--column: must be a numeric column, got 'byte_cont'",
        ("inspect", "out", "--percentiles", "a"): "--percentiles: must be numbers separated by commas, got 'a'",
        ("inspect", "out", "--column", ""): "--column: must be a numeric column, got ''",
        ("inspect", "out", "--reason", "byte_cont"): "--reason: must be why documents were dropped, got 'byte_cont'",
        ("run", "run.toml", "--dry-run", "--fail-if", "kept <"): "--fail-if: must be a condition such as",
        ("run", "run.toml", "--dry-run", "--fail-if", "keptt < 1"): "--fail-if: must name a quantity of both runs",
    }.items():
        assert mistake(capsys, *arguments).startswith(expected)
    assert "did you mean 'domain'" not in mistake(capsys, "inspect", "out", "--column", "domain")
    for shard in (desk.root / "out/store/signals").glob("*.parquet"):
        shard.unlink()
    assert "it is gone" in mistake(capsys, "inspect", "out")


def _size(desk: Any) -> int:
    return sum(path.stat().st_size for path in Path(desk.root, "in").iterdir())


def test_validate_and_run_refuse_a_corpus_without_a_document(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Damage is counted; damage alone is a mistake, unless the run may be empty."""
    for name in "ab":
        desk.shard(f"{name}.jsonl", ["{broken"] * 3)
    for verb in ("validate", "run"):
        assert "6 times broken_json" in mistake(capsys, verb, "run.toml", *(["--quiet"] if verb == "run" else []))
    assert not (desk.root / "out/data").exists()
    code, _, _ = siftlm(capsys, "run", "run.toml", "--quiet", "--set", "output.allow_empty=true")
    assert code == 0
    assert len(desk.errors()) == 6


def test_help_imports_nothing_heavy(desk: Any) -> None:
    """Every page of help, and the names of the commands, without torch, Beam or Arrow."""
    report = "import atexit, sys\natexit.register(lambda: print(sorted(HEAVY & set(sys.modules)), file=sys.stderr))\n"
    heavy = "HEAVY = {'torch', 'apache_beam', 'pyarrow', 'numba', 'transformers', 'numpy'}\n"
    for arguments in (["--help"], ["run", "--help"]):
        done = command(desk.root, *arguments, code=heavy + report)
        assert (done.returncode, done.stderr) == (0, "[]\n")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "Pipeline run-1 failed in state FAILED: java.net.UnknownHostException: nowhere",
            "runner: FlinkRunner failed in stage documents: java.net.UnknownHostException: nowhere",
        ),
        ("Pipeline run-1 failed in state FAILED: Traceback (most recent call last): a mistake of ours", None),
    ],
)
def test_what_an_engine_says_of_itself_is_one_line(
    message: str, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a worker's traceback is a fault of siftlm's, and stays one."""

    class Pipeline:
        def __init__(self, **_: Any) -> None: ...

        def run(self) -> None:
            raise RuntimeError(message)

    beam = SimpleNamespace(Pipeline=Pipeline)
    beam_options.known()  # asks Beam itself, once
    monkeypatch.setattr("siftlm.engine.runner.import_beam", lambda: (beam, lambda flags: None))
    monkeypatch.setattr("siftlm.engine.runner.check_options", lambda options: None)  # of the real Beam
    settings = RunnerSettings(name="FlinkRunner", options={"flink_master": "[local]"})
    with pytest.raises(RuntimeError if told is None else UserError, match=None if told is None else f"^{told}$"):
        run_pipeline(settings, "documents", lambda pipeline: None)


def test_show_prints_steps_formulas_and_rules(desk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of a preset, too, and nothing is opened."""
    sets = [
        "--set", "columns=[{name='long', expr='byte_count > 100'}]",
        "--set", "select.preset=c4", "--set", "annotate.language=false",
    ]  # fmt: skip
    code, told, _ = siftlm(capsys, "show", "run.toml", *sets)
    lines = told.splitlines()
    assert code == 0
    assert lines[lines.index("derived") + 1] == "  columns.0: long = byte_count > 100"
    assert "  select.preset.c4.0.columns.lorem_ipsum_count: lorem_ipsum_count ≤ 0" in lines
    assert lines[-1].startswith("  select.rules.0: 5 ≤ byte_count")


def test_the_version_and_the_short_word_for_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m siftlm` is the same command."""
    from importlib.metadata import version

    for words in (["--version"], ["-h"], ["run", "-h"], ["store", "list", "-h"]):
        code, out, _ = siftlm(capsys, *words)
        assert code == 0
        assert (
            out.strip() == f"siftlm {version('siftlm')}" if words == ["--version"] else out.startswith("Usage: siftlm")
        )
    made = subprocess.run([sys.executable, "-m", "siftlm", "--version"], cwd=tmp_path, capture_output=True, check=True)
    assert made.stdout.decode().strip() == f"siftlm {version('siftlm')}"


def test_the_help_lists_every_command_whole_and_by_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    """None is cut with dots, and none is left to the group of others."""
    import typer.main

    from siftlm.cli.commands import app
    from siftlm.cli.commands_help import GROUPS

    _, out, _ = siftlm(capsys, "-h")
    told = " ".join(out.split())
    commands = typer.main.get_command(app).commands
    assert set(commands) == {name for names in GROUPS.values() for name in names}
    for name, one in commands.items():
        first = " ".join(one.help.partition("\n\n")[0].split())
        assert f"{name} {first}".replace("- ", "-") in told.replace("- ", "-")
    assert "Exit codes: 0 done, 2 a mistake" in told


def test_validate_checks_the_tables_of_other_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration of a proof or of the loop is one of a run; what is wrong in their tables is told here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text('{"id": "a", "text": "a text"}\n')
    Path("run.toml").write_text(f"{CONF}\n[prove]\ntokens = 5000\n[matrix]\n")
    code, out, _ = siftlm(capsys, "validate", "run.toml")
    assert code == 0
    assert "tables of other commands: matrix\ntables of other commands: prove\n" in out
    assert siftlm(capsys, "run", "run.toml", "--quiet")[0] == 0
    Path("run.toml").write_text(f"{CONF}\n[prove]\ntokns = 5000\n")
    assert "prove.tokns: must be a known key" in mistake(capsys, "validate", "run.toml")
    _, out, _ = siftlm(capsys, "schema")
    assert {"prove", "family", "matrix", "distil", "input"} <= orjson.loads(out)["properties"].keys()
