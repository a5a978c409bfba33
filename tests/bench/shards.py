"""Many tiny files, beside the same text in one file: CPU seconds, and files in the store.

    python tests/bench/shards.py [--files 1500] [--documents 2] [--bytes 350]

Writes that many jsonl files of so many documents of so many bytes each, and runs text signals and dedup over them
three times: from nothing, with one file more, and with nothing to do; then over one file with all lines. Every line
says the CPU and wall seconds, the files in the store and the digest of what was written, which must be the same for
many files and for one.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
from pathlib import Path

import orjson
from job import measured

WORDS = ("the", "of", "river", "and", "a", "in", "house", "is", "that", "stone", "for", "it", "was", "with", "letter")
CONFIG = """
name = "shards"
[[input]]
source = "tiny"
paths = ["{folder}/in"]
id_field = "id"
[annotate]
language = false
[dedup]
[output]
folder = "{folder}/out"
rejects = {rejects}
"""


def text(number: int, size_bytes: int) -> str:
    """Words of document `number`; every fortieth is what the one before it is."""
    chosen = random.Random(number - (number % 40 == 1))
    words = chosen.choices(WORDS, k=size_bytes // 4)
    return f"{' '.join(words)[: size_bytes - 1]}."


def write_shard(folder: Path, shard: int, documents: int, size_bytes: int) -> None:
    numbers = range(shard * documents, (shard + 1) * documents)
    lines = [orjson.dumps({"id": f"d{number}", "text": text(number, size_bytes)}) for number in numbers]
    (folder / f"{shard:06d}.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def written(folder: Path) -> str:
    """A digest of the names and bytes in data/ and rejects/."""
    digest = hashlib.sha256()
    for path in sorted(path for part in ("data", "rejects") for path in (folder / part).glob("*")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def together(folder: Path) -> None:
    """Puts the lines of all files, in order, into one."""
    files = sorted((folder / "in").iterdir())
    lines = b"".join(path.read_bytes() for path in files)
    for path in files:
        path.unlink()
    (folder / "in/all.jsonl").write_bytes(lines)
    shutil.rmtree(folder / "out")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--files", type=int, default=1500)
    arguments.add_argument("--documents", type=int, default=2)
    arguments.add_argument("--bytes", type=int, default=350)
    arguments.add_argument("--rejects", action="store_true")
    arguments.add_argument("--folder", type=Path, help="where to work, and leave everything; default a temporary one")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.folder or Path(name)
        (folder / "in").mkdir(parents=True)
        config = folder / "shards.toml"
        config.write_text(CONFIG.format(folder=folder, rejects=str(chosen.rejects).lower()), encoding="utf-8")
        for shard in range(chosen.files):
            write_shard(folder / "in", shard, chosen.documents, chosen.bytes)
        for turn in ("first", "one more", "nothing to do", "in one file"):
            if turn == "one more":
                write_shard(folder / "in", chosen.files, chosen.documents, chosen.bytes)
            if turn == "in one file":
                together(folder)
            cost = measured([sys.executable, "-m", "siftlm.cli", "run", str(config)])
            files = sum(path.is_file() for path in (folder / "out" / "store").rglob("*"))
            print(
                f"{turn:14} {cost.cpu_seconds:8.1f} CPU s {cost.wall_seconds:8.1f} s {files:8,} files, "
                f"{cost.peak_bytes / 2**20:6.0f} MiB peak, {written(folder / 'out')}",
                flush=True,
            )


if __name__ == "__main__":
    main()
