"""fastText prediction: MB/s of one core, beside `fasttext` itself and fasttext-new on the same documents.

    python tests/bench/fasttext_linear.py [--megabytes 20] [--rounds 5]

A binary classifier (dim 100, wordNgrams 2, 2,000,000 buckets) is trained on part of the corpus, and lid.176 comes
from its package. Every row is the median of the rounds, in CPU seconds of one thread, and all take turns in one run, so
that ratios hold on a busy machine. fasttext-new, in Rust, takes part where it is installed (the `bench` extra).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fasttext
from corpus import mixed_corpus, ragged

from siftlm.scorers.language import packaged_model
from siftlm_kernels.fasttext_linear import FastTextLinear


def cpu_seconds(work: Callable[[], object]) -> float:
    """What all threads of this process take for it."""
    start = time.process_time()
    work()
    return time.process_time() - start


def trained_classifier(texts: list[str], folder: str) -> str:
    """A classifier of texts that contain a code-like character against others; what it learns does not matter."""
    lines = [
        f"__label__{'code' if '{' in text or '()' in text else 'prose'} {' '.join(text.split())}" for text in texts
    ]
    source = Path(folder) / "train.txt"
    source.write_text("\n".join(lines), encoding="utf-8")
    model = fasttext.train_supervised(str(source), wordNgrams=2, dim=100, epoch=1, thread=1, verbose=0)
    path = str(Path(folder) / "binary.bin")
    model.save_model(path)
    return path


def predictions(path: str, texts: list[str]) -> dict[str, Callable[[], object]]:
    """What each tool does with all texts; each does it once here, so that nothing is compiled or read later."""
    values, offsets = ragged(texts)
    lines = [text.replace("\n", " ") for text in texts]
    model, package = FastTextLinear.load(path), fasttext.load_model(path)
    tools: dict[str, Callable[[], object]] = {
        "siftlm": lambda: model.probabilities(values, offsets),
        "fasttext predict": lambda: [package.predict(line) for line in lines],
    }
    try:
        import fasttext_new

        rust = fasttext_new.load_model(path)
        tools["fasttext-new predict_batch"] = lambda: rust.predict_batch(lines, threads=1)
    except ImportError as missing:
        print(f"left out: {missing}; install the `bench` extra", file=sys.stderr)
    for work in tools.values():
        work()
    return tools


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=float, default=20.0)
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args()
    texts = mixed_corpus()
    texts = texts[:: max(1, round(sum(map(len, texts)) / 1e6 / chosen.megabytes))]
    with tempfile.TemporaryDirectory() as folder:
        models = {
            "binary, wordNgrams 2": trained_classifier(texts[::4], folder),
            "lid.176.ftz": packaged_model(),
        }
        size = sum(len(text.encode()) for text in texts)
        for name, path in models.items():
            tools = predictions(path, texts)
            rounds = [{tool: cpu_seconds(work) for tool, work in tools.items()} for _ in range(chosen.rounds)]
            medians = {tool: statistics.median(of[tool] for of in rounds) for tool in tools}
            for tool, seconds in medians.items():
                ratio = seconds / medians["siftlm"]
                print(f"{name:22} {tool:28} {size / 1e6 / seconds:8.2f} MB/s per core   siftlm is {ratio:5.1f} x")


if __name__ == "__main__":
    main()
