"""The script for a GPU session runs on a CPU, each part alone; what other engines give is read as they give it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCH = Path(__file__).parent / "bench"


def session(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script's end, of whatever kind."""
    command = [sys.executable, str(BENCH / "gpu_session.py"), str(out), "--rehearsal", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_head_and_the_kernels_of_a_session_run_on_a_cpu(tmp_path: Path) -> None:
    """Every width and every implementation that is installed; peers that are not are named."""
    finished = session(tmp_path, "--parts", "head,kernels")
    assert finished.returncode == 0, finished.stderr
    printed = (tmp_path / "head.txt").read_text()
    for line in ("64 x 32 x 999", "64 x 64 x 999", "stored logits", "linear_nll reference", "torch "):
        assert line in printed
    ended = json.loads((tmp_path / "session.json").read_text())
    assert ended["head"]["ended"] == "exit code 0"
    assert ended["kernels"]["ended"] == "exit code 0", (tmp_path / "kernels.txt").read_text()


@pytest.mark.parametrize("part", ["scorer-124m", "fp8", "trainer", "engines"])
def test_the_scorer_of_a_session_runs_on_a_cpu(part: str, tmp_path: Path) -> None:
    """From Parquet to scores beside loops, another precision, and engines, which are left out where they are not."""
    session(tmp_path, "--parts", part)
    printed = (tmp_path / f"{part}.txt").read_text()
    assert json.loads((tmp_path / "session.json").read_text())[part]["ended"] == "exit code 0", printed
    assert "tokens/s" in printed


def test_a_part_that_fails_or_has_no_time_stops_no_other(tmp_path: Path) -> None:
    """The session goes on, and says how each part ended."""
    finished = session(tmp_path, "--parts", "head", "--limit", "5")
    assert finished.returncode == 0
    assert "head: not begun: no time was left" in finished.stdout
    assert session(tmp_path, "--parts", "tail").returncode == 2


def test_nats_of_a_prompt_are_those_of_its_own_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM gives nothing for the first token, and more tokens than were asked for."""
    monkeypatch.syspath_prepend(str(BENCH))
    from engines import prompt_nats

    def given(**by_token: float) -> dict[int, SimpleNamespace]:
        return {int(token[1:]): SimpleNamespace(logprob=value) for token, value in by_token.items()}

    assert prompt_nats([5, 7, 9], [None, given(t7=-1.5, t1=-0.1), given(t9=-2.0)]) == 3.5
