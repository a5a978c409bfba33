"""All that waits for a GPU, in one session of less than ten minutes: each part a process that may fail alone.

    python tests/bench/gpu_session.py OUT [--parts head,scorer-124m,...] [--limit 600] [--text TOKENIZER]
    python tests/bench/gpu_session.py OUT --rehearsal

Writes OUT/<part>.txt with what the part printed, and OUT/session.json with the seconds and the exit code of each. A
part stops at its own limit, and none begins that could not end within the session's. --text takes a tokenizer.json
and real texts (see corpus.py) for the scorer, as the published figures have; without, texts are of random words.
--rehearsal runs every part at a small size on the CPU, to see that it works: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent


@dataclass(frozen=True)
class Part:
    """Holds a command, the seconds that it may take, and its arguments on a GPU and in a rehearsal."""

    seconds: int
    file: str
    arguments: str
    rehearsed: str
    text: bool = False  # takes --text

    def command(self, rehearsal: bool, text: str | None) -> list[str]:
        words = (self.rehearsed if rehearsal else self.arguments).split()
        given = ["--text", text] if text and self.text and not rehearsal else []
        return [
            sys.executable,
            *([self.file] if self.file.startswith("-") else [str(HERE / self.file)]),
            *words,
            *given,
        ]


SMALL = "--shape pythia-14m --documents 6 --device cpu"
PARTS = {
    "head": Part(
        100, "head.py", "--device cuda --dtype bf16 --rows 65536 --width 768 2048 4096 --repeats 10",
        "--rows 64 --width 32 64 --vocabulary 999 --repeats 1",
    ),
    "scorer-124m": Part(
        150, "scorer.py", "--shape 124m --documents 40000 --peers 256 --device cuda --dtype bf16 --agreement 300",
        f"{SMALL} --peers 2 --agreement 4", text=True,
    ),
    "scorer-14m": Part(
        100, "scorer.py", "--shape pythia-14m --documents 80000 --peers 256 --device cuda --dtype bf16",
        f"{SMALL} --peers 2", text=True,
    ),
    "fp8": Part(
        120, "precisions.py", "--shape 124m --documents 20000 --device cuda --dtypes bf16,fp8",
        "--shape pythia-14m --documents 6 --dtypes fp32",
    ),
    "kernels": Part(
        120, "-m", f"pytest -q -n 0 -p no:cacheprovider -m gpu {TESTS}/kernels {TESTS}/scorers",
        f"pytest -q -n 0 -p no:cacheprovider -m gpu {TESTS}/kernels/test_packed_attention.py",
    ),
    "trainer": Part(90, "trainer.py", "--device cuda --steps 40", "--device cpu --steps 6 --peak 1"),
    "engines": Part(240, "engines.py", "--shape 124m --documents 2000", f"{SMALL} --dtype fp32"),
}  # fmt: skip
"""In the order of what a session that ends early should have."""


def run(part: Part, out: Path, seconds: float, rehearsal: bool, text: str | None) -> dict[str, float | int | str]:
    """Runs a part; what it printed until its end, or until it was stopped, is in `out`."""
    started = time.monotonic()
    with out.open("w") as file:
        try:
            code = subprocess.run(
                part.command(rehearsal, text), stdout=file, stderr=subprocess.STDOUT, timeout=seconds, check=False,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"seconds": round(time.monotonic() - started, 1), "ended": "stopped at its limit"}
    return {"seconds": round(time.monotonic() - started, 1), "ended": f"exit code {code}"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--parts", default=",".join(PARTS))
    arguments.add_argument("--limit", type=float, default=590, metavar="SECONDS")
    arguments.add_argument("--text", metavar="TOKENIZER")
    arguments.add_argument("--rehearsal", action="store_true")
    chosen = arguments.parse_args()
    names = chosen.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        arguments.error(f"--parts must be of {', '.join(PARTS)}, got {unknown[0]}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    ended: dict[str, dict[str, float | int | str]] = {}
    ends_at = time.monotonic() + chosen.limit
    for name in names:
        left = min(PARTS[name].seconds, ends_at - time.monotonic())
        if left < 20:
            ended[name] = {"seconds": 0.0, "ended": "not begun: no time was left"}
        else:
            ended[name] = run(PARTS[name], chosen.out / f"{name}.txt", left, chosen.rehearsal, chosen.text)
        print(f"{name}: {ended[name]['ended']}, {ended[name]['seconds']} s", flush=True)
        (chosen.out / "session.json").write_text(json.dumps(ended, indent=1))


if __name__ == "__main__":
    main()
