"""How a command ends and what it prints: signals, closed pipes, terminals and locales without Unicode."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.runs.conftest import MAIN, command

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
SLOW = """
import pathlib, time
from siftlm.stages.ingest import Ingest
def run(*_):
    pathlib.Path("working").touch()
    time.sleep(600)
Ingest.run = run
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def desk(bench: Any) -> Path:
    """A configuration and a shard whose name and texts are not ASCII."""
    (bench.root / "run.toml").write_text(CONF)
    bench.shard("é✓.jsonl", [{"id": f"a{n}", "text": f"text {n}: naïve — ✓ 漢字"} for n in range(4)])
    return Path(bench.root)


def test_a_run_where_the_locale_is_ascii_takes_every_name_and_text(desk: Path) -> None:
    """Names of files are UTF-8 all the same; what is shown is escaped, without a traceback or advice."""
    done = command(desk, "run", "run.toml", "--quiet", env=ASCII)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (["inspect", "out"], ["explain", "out", "a1"], ["diff", "out", "out"]):
        done = command(desk, *words, env=ASCII)
        assert (done.returncode, done.stderr) == (0, "")
        assert words[0] == "diff" or "\\u6f22\\u5b57" in done.stdout
    done = command(desk, "explain", "out", "ü漢", env=ASCII)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "siftlm: DOC_ID: must be the id of a document of the run, got '\\xfc\\u6f22'\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252:strict", "shift_jis"])
def test_a_terminal_is_shown_what_it_has_and_escapes_for_the_rest(encoding: str) -> None:
    """By every command, for they all print to these streams."""
    code = "import sys\nfrom siftlm import console\nconsole.open_streams()\n"
    code += "print('n\\xe4 \\u6f22 \\U0001f600 \\udcff')\nsys.stdout.flush()"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    kind = encoding.partition(":")[0]
    assert done.stdout == "nä 漢 😀 \udcff\n".encode(kind, "backslashreplace")


def test_worker_processes_take_names_that_the_locale_does_not_have(desk: Path) -> None:
    """They work in the mode of the one that started them."""
    done = command(desk, "run", "run.toml", "--quiet", "--set", "runner.processes=2", env=ASCII)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("streams", ["stdout", "stderr", "both"])
def test_a_run_goes_on_when_nobody_reads_what_it_prints(desk: Path, streams: str) -> None:
    """`| head`, whose end is closed before anything is printed: the run is whole, and the exit code is 0."""
    reader, writer = os.pipe()
    os.close(reader)
    options = {name: writer for name in ("stdout", "stderr") if streams in (name, "both")}
    done = command(desk, "run", "run.toml", **options)
    os.close(writer)
    assert (done.returncode, (desk / "out/manifest.json").exists()) == (0, True)
    assert not done.stderr or "Traceback" not in done.stderr


def test_a_command_starts_with_its_streams_closed(desk: Path) -> None:
    """`>&- 2>&-`: no file that is opened takes their place."""
    done = command(desk, "run", "run.toml", code="", preexec_fn=lambda: os.closerange(0, 3))
    assert (done.returncode, (desk / "out/manifest.json").exists()) == (0, True)
    assert sorted(path.name for path in (desk / "out").iterdir() if path.is_file() and path.suffix == "") == [".lock"]


def test_a_full_disk_behind_standard_output_is_one_line(desk: Path) -> None:
    """What was asked for was not written."""
    with open("/dev/full", "w") as full:
        done = command(desk, "schema", stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("siftlm: no space left: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_in_one_line(desk: Path, number: signal.Signals) -> None:
    """At once, with the exit code that shells give, whatever threads are in the middle of."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW + MAIN, "run", "run.toml", "--quiet"], cwd=desk, stderr=subprocess.PIPE, text=True
    ) as running:
        while not (desk / "working").exists():
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(number)
        _, told = running.communicate(timeout=20)
    assert running.returncode == 128 + number
    assert told.startswith("siftlm: ")
    assert told.endswith("; run again to go on from here\n")
    assert told.count("\n") == 1
    assert command(desk, "run", "run.toml", "--quiet").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_worker_behind(desk: Path, number: signal.Signals) -> None:
    """SIGINT goes to the whole group, as Ctrl-C sends it: no worker shows a traceback either."""
    lines = "".join(f'{{"id": "{n}", "text": "text {n} and so on"}}\n' for n in range(200_000))
    for shard in range(4):
        (desk / f"in/{shard}.jsonl").write_text(lines)
    words = [sys.executable, "-c", MAIN, "run", "run.toml", "--quiet", "--set", "runner.processes=2"]
    with subprocess.Popen(words, cwd=desk, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        while len(_group(running.pid)) < 5:  # the server of forks, the tracker, and two workers
            assert running.poll() is None
            time.sleep(0.02)
        (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 128 + number
    assert told.endswith("; run again to go on from here\n")
    assert told.count("\n") == 1, told
    give_up = time.monotonic() + 10
    while _group(running.pid):
        assert time.monotonic() < give_up, "a process was left behind"
        time.sleep(0.05)


def _group(leader: int) -> list[int]:
    """The processes of a session that are not about to be buried."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            facts = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(facts[3]) == leader and facts[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_a_usage_that_is_none_is_one_line(desk: Path) -> None:
    """A missing argument, an unknown command or option, a value of another type."""
    for arguments, told in {
        ("run",): "missing argument 'CONF'; see siftlm run --help",
        ("ran",): "no such command 'ran'",
        ("inspect", "out", "--percentile", "3"): "no such option: --percentile",
        ("report", "out", "--port", "x"): "invalid value for '--port': ",
    }.items():
        done = command(desk, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"siftlm: command line: {told}")
        assert done.stderr.count("\n") == 1
