"""Small corpora and the runs over them, without a language model unless a test makes one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MAIN = "import sys\nfrom siftlm.cli.commands import main\nsys.argv[0] = 'siftlm'\nmain()"


def siftlm(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command, in this process."""
    from siftlm import cli

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["siftlm", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    told = capsys.readouterr()
    return code, told.out, told.err


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a mistake is told with."""
    code, _, told = siftlm(capsys, *arguments)
    assert code == 2, told
    assert told.startswith("siftlm: ")
    assert told.count("\n") == 1, told
    return told.removeprefix("siftlm: ").rstrip("\n")


def command(folder: Path, *arguments: str, code: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, in a folder, after some lines of Python."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "errors": "replace", **options}
    environment = {**os.environ, **options.pop("env", {})}
    words = [sys.executable, "-c", f"{code}\n{MAIN}", *arguments]
    return subprocess.run(words, text=True, cwd=folder, env=environment, check=False, **options)


@dataclass
class Bench:
    """A folder with shards in `in/`, and the runs over them."""

    root: Path

    def shard(self, name: str, rows: Iterable[Any], folder: str = "in") -> Path:
        """A jsonl shard: strings are lines as they are, anything else is written as JSON."""
        path = self.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def tree(self, out: str = "out", **rest: Any) -> dict[str, Any]:
        """A configuration that computes nothing dear, with a shard a file: no language, no text signals, one thread."""
        return {
            "name": "bench",
            "input": [{"source": "web", "paths": [str(self.root / "in")], "id_field": "id", "shard_bytes": 1}],
            "annotate": {"language": None, "signals": None},
            "output": {"folder": str(self.root / out), **rest.pop("output", {})},
            **rest,
        }

    def run(self, out: str = "out", **rest: Any) -> Any:
        """The result of a run in this process."""
        from siftlm import job
        from siftlm.config import parse
        from siftlm.engine.progress import Progress

        return job.run(parse(self.tree(out, **rest), []), Progress(quiet=True))

    def rows(self, out: str = "out", part: str = "data") -> list[dict[str, Any]]:
        """The rows of the output in the order of its shards."""
        import pyarrow.parquet as pq

        return [row for path in sorted((self.root / out / part).iterdir()) for row in pq.read_table(path).to_pylist()]

    def errors(self, out: str = "out") -> list[dict[str, Any]]:
        import pyarrow.parquet as pq

        return list(pq.read_table(self.root / out / "errors.parquet").to_pylist())

    def content(self, out: str = "out", parts: Sequence[str] = ("data", "rejects")) -> dict[str, bytes]:
        """The bytes of the output shards by name."""
        files = [path for part in parts for path in (self.root / out / part).glob("*")]
        return {str(path.relative_to(self.root / out)): path.read_bytes() for path in files}

    def markers(self, store: str = "out/store") -> dict[str, int]:
        """When every marker of the store was written, by stage and key."""
        root = self.root / store
        return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in sorted(root.rglob("*.done"))}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A folder that the tests of a module look at together."""
    return Bench(tmp_path_factory.mktemp("bench"))


def stages_of(markers: Iterable[str]) -> set[str]:
    return {marker.rpartition("/")[0] for marker in markers}
