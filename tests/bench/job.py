"""The whole job without a language model: wall and CPU seconds and peak memory, beside datatrove's.

    python tests/bench/job.py [--megabytes 165] [--datatrove PYTHON] [--datatrove-megabytes 8]

siftlm reads 8 jsonl.gz shards, computes all text signals, removes exact and near-duplicates, applies the Gopher rules
of `conf/fineweb.toml` and writes Parquet, rejects and manifest: one command, from the command line to the manifest.
`--datatrove` names a Python that has datatrove (`bench` extra, tokenizers): there the four steps of MinHash
deduplication and the Gopher repetition and quality filters read every so many of the same documents, and the CPU
seconds are scaled by bytes and said to be. A corpus beyond the 35 MB at hand is grown by splicing:
the front half of one document, the back half of another, so that little of it is a near-duplicate.
"""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson
from corpus import mixed_corpus

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 8
LEFT_OUT = ("language", "language_score")  # columns of rules that need language identification, which is not timed


class Cost(NamedTuple):
    """What a child took."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def grown(texts: list[str], size_bytes: float) -> Iterator[str]:
    """The documents, then splices of two, until there are so many bytes of UTF-8."""
    written, turn = 0, 0
    while True:
        for number, text in enumerate(texts):
            if turn:
                other = texts[(number + 7 * turn) % len(texts)]
                text = text[: len(text) // 2] + " " + other[len(other) // 2 :]
            encoded = text.encode(errors="replace")
            yield encoded.decode()
            written += len(encoded)
            if written >= size_bytes:
                return
        turn += 1


def write_shards(folder: Path, size_bytes: float, step: int = 1) -> int:
    """Writes every `step`-th document as `SHARDS` jsonl.gz files, dealt in turn; gives the bytes of text."""
    folder.mkdir()
    total = 0
    with ExitStack() as stack:
        paths = [folder / f"{number:02d}.jsonl.gz" for number in range(SHARDS)]
        files = [stack.enter_context(gzip.open(path, "wb", compresslevel=6)) for path in paths]
        for number, text in enumerate(islice(grown(mixed_corpus(), size_bytes), 0, None, step)):
            total += len(text.encode())
            files[number % SHARDS].write(orjson.dumps({"id": f"d{number}", "text": text}) + b"\n")
    return total


def write_config(folder: Path) -> Path:
    """A run over the shards in `folder / "in"` with FineWeb's rules for the text signals."""
    rules = tomllib.loads((ROOT / "conf" / "fineweb.toml").read_text(encoding="utf-8"))["select"]["rules"]
    lines = ['name = "bench"', "[[input]]", 'source = "mixed"', 'format = "jsonl"', f'paths = ["{folder}/in"]']
    lines += ["[annotate]", "language = false", "[dedup]", "[output]", f'folder = "{folder}/out"']
    for rule in rules:
        if rule["column"] not in LEFT_OUT:
            lines += ["[[select.rules]]", *(f"{key} = {orjson.dumps(value).decode()}" for key, value in rule.items())]
    path = folder / "job.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def measured(command: list[str]) -> Cost:
    """Runs a command to its end; CPU of it and of what it waited for, and the largest resident set among them."""
    start = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {running.returncode}")
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def report(name: str, cost: Cost, size_bytes: int) -> None:
    rate = size_bytes / 1e6 / cost.cpu_seconds
    print(
        f"{name:34} {cost.wall_seconds:8.1f} s {cost.cpu_seconds:8.1f} CPU s {rate:8.2f} MB/s per core "
        f"{cost.peak_bytes / 1e6:8.0f} MB peak",
        flush=True,
    )


def parsed() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=float, default=165.0)
    arguments.add_argument("--datatrove", help="a Python interpreter with datatrove")
    arguments.add_argument("--datatrove-megabytes", type=float, default=8.0)
    return arguments.parse_args()


def main() -> None:
    chosen = parsed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size_bytes = write_shards(folder / "in", chosen.megabytes * 1e6)
        print(f"{size_bytes / 1e6:.0f} MB of text in {SHARDS} shards")
        own = measured([sys.executable, "-m", "siftlm.cli", "run", str(write_config(folder))])
        report("siftlm run", own, size_bytes)
        if chosen.datatrove:
            step = max(1, round(chosen.megabytes / chosen.datatrove_megabytes))
            slice_bytes = write_shards(folder / "slice", size_bytes, step)
            script = str(Path(__file__).with_name("job_datatrove.py"))
            peer = measured([chosen.datatrove, script, str(folder / "slice"), str(folder)])
            report(f"datatrove, {slice_bytes / 1e6:.0f} MB", peer, slice_bytes)
            scaled = peer.cpu_seconds * size_bytes / slice_bytes
            print(
                f"datatrove scaled to {size_bytes / 1e6:.0f} MB: {scaled:.0f} CPU s, {scaled / own.cpu_seconds:.1f} x"
            )


if __name__ == "__main__":
    main()
