"""N-gram models: training beside lmplz, scoring beside the package kenlm; CPU seconds of one run.

    python tests/bench/ngram.py TEXT --lmplz $(which lmplz) --processes 2

TEXT is a file of sentences, a line each. The model is of order 5. Scored are the first 10 MB of the text, each line
by itself, under the same binary file: by `kenlm.Model.score`, which takes a line, and by the kernel, which takes all.
Each repeats the work and its fastest round counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from siftlm.ngram.settings import NgramTraining
from siftlm.ngram.train import train_ngram
from siftlm_kernels.ngram_model import NgramModel, ragged

ROUNDS = 5
SCORED_BYTES = 10_000_000


def cpu() -> float:
    """CPU seconds of this process and of those that it waited for."""
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in of)


def compile_kernels(folder: Path, settings: NgramTraining) -> None:
    """Trains a model of one line, so that no measurement has what is compiled once."""
    (folder / "line.txt").write_text("a b a b a b\n")
    train_ngram([str(folder / "line.txt")], [str(folder / "line.arpa")], settings.model_copy(update={"processes": 1}))


def train(text: Path, out: Path, settings: NgramTraining) -> None:
    before, began = cpu(), time.perf_counter()
    trained = train_ngram([str(text)], [str(out)], settings)
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1e6
    for line in trained.lines():
        print(" ", line)
    print(f"train-ngram, {settings.processes} processes, {out.suffix}: {cpu() - before:.1f} CPU s", end="", flush=True)
    size = out.stat().st_size / 1e9
    print(f", {time.perf_counter() - began:.1f} s, {most:.2f} GB of the largest process, {size:.2f} GB")


def train_lmplz(lmplz: str, text: Path, out: Path, order: int, memory: int) -> None:
    before, began = cpu(), time.perf_counter()
    with text.open("rb") as read, out.open("wb") as write:
        command = [lmplz, "-o", str(order), "-S", f"{memory // 10**6}M", "-T", str(out.parent)]
        command += ["--discount_fallback"]
        told = subprocess.run(command, stdin=read, stdout=write, stderr=subprocess.PIPE, check=True).stderr.decode()
    most = told.rpartition("RSSMax:")[2].split()[0]
    print(f"lmplz, .arpa: {cpu() - before:.1f} CPU s, {time.perf_counter() - began:.1f} s", end="", flush=True)
    print(f", {int(most) / 1e6:.2f} GB, {out.stat().st_size / 1e9:.2f} GB")


def score(text: Path, path: Path) -> None:
    with text.open("rb") as stream:
        lines = [line for line in stream.read(SCORED_BYTES).split(b"\n")[:-1] if line.split()]
    model, batch = NgramModel.load(str(path)), ragged(lines)
    model.log10(*batch)
    ours = fastest(lambda: model.log10(*batch))
    tokens = len(model.log10(*batch)[0])
    print(f"kernel: {tokens / ours / 1e6:.2f} million tokens a CPU second")
    try:
        import kenlm
    except ImportError:
        return print("kenlm is not installed")
    oracle, texts = kenlm.Model(str(path)), [line.decode() for line in lines]
    theirs = fastest(lambda: [oracle.score(line) for line in texts])
    print(f"kenlm: {tokens / theirs / 1e6:.2f} million tokens a CPU second", end="", flush=True)
    print(f"; the kernel is {theirs / ours:.2f} times as fast")
    return None


def fastest(work: object) -> float:
    seconds = []
    for _ in range(ROUNDS):
        before = time.process_time()
        work()  # type: ignore[operator]
        seconds.append(time.process_time() - before)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("text", type=Path)
    parser.add_argument("--lmplz", help="The program to compare with.")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--model", type=Path, help="A model to score with instead of training one.")
    parser.add_argument("--arpa", action="store_true", help="Write text too, as lmplz does.")
    chosen = parser.parse_args()
    shared = {"processes": chosen.processes, "memory": chosen.memory, "discount_fallback": True}
    settings = NgramTraining(order=chosen.order, **shared)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = chosen.model or Path(folder, "model.bin")
        if not chosen.model:
            compile_kernels(Path(folder), settings)
            train(chosen.text, path, settings)
        if chosen.arpa:
            train(chosen.text, Path(folder, "model.arpa"), settings)
        if chosen.lmplz:
            train_lmplz(chosen.lmplz, chosen.text, Path(folder, "lmplz.arpa"), chosen.order, settings.memory)
        score(chosen.text, path)


if __name__ == "__main__":
    main()
