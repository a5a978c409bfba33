"""One large file on one core and on all: wall seconds of a whole run, which is to fall with the cores.

    python tests/bench/large_file.py [--gigabytes 3] [--format jsonl]

Writes one file of made-up pages, and runs language, text signals, near-duplicates and the writing over it with one
shard at a time in one process, with a thread a core, and with a process a core. The last column but one is how many
times as fast as one core that was; the digest of what was written must be the same.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from job import measured
from shards import WORDS, written

CONFIG = """
name = "large"
[[input]]
source = "large"
paths = ["{folder}/in"]
id_field = "id"
[annotate.language]
[annotate.signals]
[dedup]
[output]
folder = "{folder}/out"
"""
PAGE_BYTES = 3_000
BLOCK_PAGES = 20_000


def blocks(size: int) -> Iterator[list[dict[str, str]]]:
    """Yields pages until their texts have about so many bytes: sentences in random order, hardly two pages alike."""
    chosen = random.Random(1)
    sentences = [" ".join(chosen.choices(WORDS, k=30)) + "." for _ in range(20_000)]
    for start in range(0, size // PAGE_BYTES, BLOCK_PAGES):
        count = min(BLOCK_PAGES, size // PAGE_BYTES - start)
        yield [{"id": f"p{start + n}", "text": " ".join(chosen.choices(sentences, k=24))} for n in range(count)]


def write(folder: Path, size: int, kind: str) -> None:
    """Writes the file."""
    folder.mkdir(parents=True)
    if kind == "jsonl":
        with open(folder / "large.jsonl", "wb") as file:
            for pages in blocks(size):
                file.writelines(orjson.dumps(page) + b"\n" for page in pages)
        return
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pq.ParquetWriter(folder / "large.parquet", schema, compression="zstd") as writer:
        for pages in blocks(size):
            writer.write_table(pa.Table.from_pylist(pages, schema))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--gigabytes", type=float, default=3.0)
    arguments.add_argument("--format", choices=["jsonl", "parquet"], default="jsonl")
    chosen = arguments.parse_args()
    cores = os.cpu_count() or 1
    ways = {
        "one core": ("runner.processes=1", "runner.threads=1"),
        f"{cores} threads": ("runner.processes=1", f"runner.threads={cores}"),
        f"{cores} processes": (f"runner.processes={cores}", "runner.threads=1"),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "in", int(chosen.gigabytes * 1e9), chosen.format)
        (folder / "run.toml").write_text(CONFIG.format(folder=folder))
        first = 0.0
        for way, settings in ways.items():
            command = ["siftlm", "run", str(folder / "run.toml"), "--quiet"]
            for setting in settings:
                command += ["--set", setting]
            cost = measured(command)
            first = first or cost.wall_seconds
            times = f"{cost.wall_seconds:7.1f} s  {cost.cpu_seconds:7.1f} CPU s  {first / cost.wall_seconds:5.2f}x"
            print(f"{way:14} {times}  {written(folder / 'out')}", flush=True)
            shutil.rmtree(folder / "out")


if __name__ == "__main__":
    main()
