"""Output streams of any kind: who reads them may go away, and what they cannot take is told once or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINTS = """
import sys
from siftlm import console
console.open_streams()
sys.stdin.read()
print("told", file=sys.stderr)
try:
    print("\\u65e5" * 50_000)
    sys.stdout.flush()
except OSError as error:
    print(error.strerror, file=sys.stderr)
print("more")
print("told again", file=sys.stderr)
"""
COMMAND = [sys.executable, "-c", PRINTS]


def test_a_full_disk_under_what_is_printed_is_an_error_once() -> None:
    """And not once more, with a traceback, when the interpreter ends."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(COMMAND, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "told\nNo space left on device\ntold again\n")


def test_what_standard_error_cannot_take_stops_nothing() -> None:
    """Progress is no result: a run goes on."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=full)
    assert done.returncode == 0
    assert done.stdout.endswith(b"more\n")


@pytest.mark.parametrize("ended", ["stdout", "stderr"])
def test_a_reader_that_goes_away_is_no_error(ended: str) -> None:
    """As `| head` does, before a line is written."""
    with subprocess.Popen(COMMAND, stdin=-1, stdout=-1, stderr=-1) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        gone, rest = (child.stdout, child.stderr) if ended == "stdout" else (child.stderr, child.stdout)
        gone.close()
        child.stdin.close()
        told = rest.read()
    assert child.returncode == 0
    assert told == b"told\ntold again\n" if ended == "stdout" else told.endswith(b"more\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_a_terminal_lacks_are_escapes(tmp_path: Path, encoding: str) -> None:
    """Those that it has are themselves."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    with open(tmp_path / "out", "wb") as out:
        subprocess.run(COMMAND, stdin=subprocess.DEVNULL, stdout=out, check=True, env=environment)
    shown = "\u65e5" if encoding == "utf-8" else "\\u65e5"
    assert (tmp_path / "out").read_text(encoding="utf-8").startswith(shown * 2)
