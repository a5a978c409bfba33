"""fastText prediction: MB/s of one core, beside `fasttext` itself on the same documents.

    python tests/bench/fasttext_linear.py [--megabytes 20]

A binary classifier (dim 100, wordNgrams 2, 2,000,000 buckets) is trained on part of the corpus, and lid.176 comes
from its package. Every row is CPU time of one thread in the same run, so that ratios hold on a busy machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fasttext
from corpus import mixed_corpus, ragged

from siftlm.scorers.language import packaged_model
from siftlm_kernels.fasttext_linear import FastTextLinear


def megabytes_per_second(work: Callable[[], object], size_bytes: int, repeats: int) -> float:
    """The best of `repeats` runs, by CPU time."""
    seconds = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        seconds.append(time.thread_time() - start)
    return size_bytes / 1e6 / min(seconds)


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


def rows(path: str, texts: list[str]) -> Iterator[tuple[str, float]]:
    values, offsets = ragged(texts)
    lines = [text.replace("\n", " ") for text in texts]
    model, package = FastTextLinear.load(path), fasttext.load_model(path)
    model.probabilities(values[:0], offsets[:1])
    yield "siftlm", megabytes_per_second(lambda: model.probabilities(values, offsets), len(values), 5)
    yield "fasttext predict", megabytes_per_second(lambda: [package.predict(line) for line in lines], len(values), 2)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=float, default=20.0)
    chosen = arguments.parse_args()
    texts = mixed_corpus()
    texts = texts[:: max(1, round(sum(map(len, texts)) / 1e6 / chosen.megabytes))]
    with tempfile.TemporaryDirectory() as folder:
        models = {
            "binary, wordNgrams 2": trained_classifier(texts[::4], folder),
            "lid.176.ftz": packaged_model(),
        }
        for name, path in models.items():
            own = 0.0
            for tool, rate in rows(path, texts):
                own = own or rate
                print(f"{name:22} {tool:18} {rate:8.2f} MB/s per core   siftlm is {own / rate:5.1f} x")


if __name__ == "__main__":
    main()
