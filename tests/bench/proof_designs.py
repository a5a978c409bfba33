"""What a proof's design costs, and what it sees: the noise of random draws, and the effect of leaving out all noise.

    python tests/bench/proof_designs.py [--replicates 4] [--processes 2] [--only small_steps ...]

Trains models on random halves of the quickstart's pool and on random halves of its pages without the planted noise, for
every design, and measures them on pages and articles that no model is trained on. A line says the CPU seconds of a
model, the bits per byte of both, the standard deviation between replicates, and the effect in such deviations. Figures
are in results/proof-designs.md.
"""

from __future__ import annotations

import argparse
import gzip
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import zstandard

from siftlm.proxies.training import (
    DocumentTokenizer,
    Job,
    ModelShape,
    Optimisation,
    Seeds,
    TextOfGroup,
    Training,
    group_bits_per_byte,
    last_sums,
    train_into,
    train_tokenizer,
)
from siftlm.proxies.training.tokens import open_token_file, write_token_file

CORPUS = Path(__file__).resolve().parents[2] / "conf" / "quickstart"
C4 = ["c4-00000-of-00004.jsonl.gz", "c4-00001-of-00004.jsonl.zst", "c4-00002-of-00004.jsonl"]
HELD_OUT = 40  # documents of a domain
HELD_OUT_CHARACTERS = 2_500
BASE: Mapping[str, Any] = {
    "tokens": 299_008, "vocabulary": 2048, "layers": 2, "width": 128, "context_tokens": 256, "batch_tokens": 1024,
    "learning_rate": 4e-3, "average_last": 0, "shape": "gpt2",
}  # fmt: skip
SMALL: Mapping[str, Any] = {"vocabulary": 6144, "width": 96, "layers": 1, "context_tokens": 128, "batch_tokens": 512}
DESIGNS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "small_steps": {"batch_tokens": 512},
    "smaller_steps": {"batch_tokens": 256, "learning_rate": 3e-3},
    "averaged": {"batch_tokens": 512, "average_last": 5},
    "llama": {"batch_tokens": 512, "shape": "llama", "tokens": 200_192},
    "small_vocabulary": {"batch_tokens": 512, "vocabulary": 512, "tokens": 400_384},
    "fast": {"batch_tokens": 512, "learning_rate": 1.2e-2, "tokens": 200_192},
    "large_vocabulary": {**SMALL, "layers": 2, "context_tokens": 256, "learning_rate": 2e-3, "tokens": 200_192},
    "one_layer": {**SMALL, "learning_rate": 2e-3, "tokens": 200_192},
    "one_layer_short": {**SMALL, "learning_rate": 3e-3, "tokens": 100_352},
}


@dataclass(frozen=True)
class Work:
    """Describes one training: its design, its arm and number, and the folder with the texts' tokens."""

    design: Mapping[str, Any]
    arm: str
    number: int
    folder: str


def lines(path: Path) -> Iterator[str]:
    """Yields the texts of a file of JSON lines, without the records that are broken on purpose."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if path.suffix == ".zst":
        content = zstandard.ZstdDecompressor().stream_reader(content).read()
    for line in content.splitlines():
        try:
            text = orjson.loads(line).get("text")
        except orjson.JSONDecodeError:
            continue
        if text:
            yield text


def articles(number: int) -> list[str]:
    table = pq.read_table(CORPUS / "wikipedia" / f"en-0000{number}-of-00002.parquet", columns=["text"])
    return [text for text in table["text"].to_pylist() if text]


def held_out(seen: set[str]) -> Iterator[TextOfGroup]:
    """Yields pages and articles whose beginnings stand in no training text."""
    for name, texts in (("pages", lines(CORPUS / "c4" / "c4-00003-of-00004.jsonl.gz")), ("articles", articles(1))):
        fresh = [text for text in texts if text[:100] not in seen]
        for text in random.Random(5).sample(fresh, HELD_OUT):
            yield TextOfGroup(name, text[:HELD_OUT_CHARACTERS])


def trained(work: Work) -> tuple[str, float, float]:
    """Trains a model; returns its arm, its CPU seconds, and the mean bits per byte of the domains."""
    design, folder = work.design, Path(work.folder)
    tokens, measured = (open_token_file(folder, name) for name in (f"{work.arm}-{work.number}", "held_out"))
    assert tokens is not None, "it was written"
    assert measured is not None, "it was written"
    tokenizer = DocumentTokenizer.of((folder / "tokenizer").read_bytes())
    shape = ModelShape(**{key: design[key] for key in ("shape", "layers", "width", "context_tokens")})
    keys = ("batch_tokens", "learning_rate", "average_last")
    settings = Optimisation(threads=1, **{key: design[key] for key in keys})
    training = Training(shape, settings, design["tokens"] // design["batch_tokens"], Seeds(work.number, work.number))
    begun = time.process_time()
    with tempfile.TemporaryDirectory(dir=folder) as made:
        train_into(Path(made) / "model", Job(training, tokens, tokenizer, measured))
        bits = float(group_bits_per_byte(measured, last_sums(Path(made) / "model")).mean())
    return work.arm, time.process_time() - begun, bits


def measure(design: Mapping[str, Any], replicates: int, processes: int) -> str:
    """Trains all models of a design; returns its line of the table."""
    clean = [text for name in C4 for text in lines(CORPUS / "c4" / name)] + articles(0)
    pools = {"random": clean + list(lines(CORPUS / "noise" / "noise-00000-of-00001.jsonl.gz")), "clean": clean}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        tokenizer = train_tokenizer(
            random.Random(0).sample(pools["random"], len(pools["random"])), design["vocabulary"]
        )
        (folder / "tokenizer").write_bytes(tokenizer.content())
        write_token_file(folder, "held_out", held_out({text[:100] for text in clean}), tokenizer)
        for arm, pool in pools.items():
            for number in range(replicates):
                drawn = random.Random(f"{arm} {number}").sample(pool, len(pool) // 2)
                write_token_file(folder, f"{arm}-{number}", (TextOfGroup("all", text) for text in drawn), tokenizer)
        work = [Work(design, arm, number, made) for arm in pools for number in range(replicates)]
        with get_context("spawn").Pool(processes) as pool_of_processes:
            results = pool_of_processes.map(trained, work, chunksize=1)
    return told(results)


def told(results: list[tuple[str, float, float]]) -> str:
    bits = {arm: np.array([value for name, _, value in results if name == arm]) for arm in ("random", "clean")}
    noise = float(np.sqrt(np.mean([values.var(ddof=1) for values in bits.values()])))
    effect = float(bits["random"].mean() - bits["clean"].mean())
    seconds = float(np.mean([spent for _, spent, _ in results]))
    means = " | ".join(f"{values.mean():.3f}" for values in bits.values())
    return f"{seconds:.1f} | {means} | {noise:.3f} | {effect:+.3f} | {effect / noise:.1f}"


def main() -> None:
    """Prints a line for every design."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(DESIGNS), default=list(DESIGNS))
    asked = parser.parse_args()
    print(
        "| design | CPU s a model | random | clean | noise | effect | effect / noise |\n|---|---|---|---|---|---|---|"
    )
    for name in asked.only:
        print(f"| {name} | {measure({**BASE, **DESIGNS[name]}, asked.replicates, asked.processes)} |", flush=True)


if __name__ == "__main__":
    main()
