"""Tokenizer back ends on one model's vocabulary: MB/s of CPU time, and whether all ids are those of `tokenizers`.

    python tests/bench/tokens.py MODEL [--megabytes 5]

MODEL is a folder or a .gguf file. Back ends that are not installed, or refuse the vocabulary, are left out.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from corpus import mixed_corpus

from siftlm.scorers.lm_files import find_model
from siftlm.scorers.lm_tokens import Backend, TextTokenizer, load_tokenizer

BACKENDS: tuple[Backend, ...] = ("tokenizers", "gigatoken")


def encoded(tokenizer: TextTokenizer, texts: list[str]) -> tuple[list[np.ndarray], float]:
    """The ids, and the CPU seconds of all threads."""
    tokenizer.encode(texts[:10])
    start = time.process_time()
    ids = tokenizer.encode(texts).texts()
    return ids, time.process_time() - start


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model")
    arguments.add_argument("--megabytes", type=float, default=5.0)
    chosen = arguments.parse_args()
    texts = mixed_corpus()
    texts = texts[:: max(1, round(sum(map(len, texts)) / 1e6 / chosen.megabytes))]
    size_mb = sum(len(text.encode()) for text in texts) / 1e6
    files = find_model("model", chosen.model, None, None, allow_pickle=False)
    own: list[np.ndarray] = []
    for backend in BACKENDS:
        tokenizer = load_tokenizer("model", files, "none", False, backend, False)
        if tokenizer.backend != backend:
            continue
        ids, seconds = encoded(tokenizer, texts)
        own = own or ids
        same = sum(map(np.array_equal, ids, own))
        print(f"{backend:12} {size_mb / seconds:7.1f} MB/s per core, {same} of {len(texts)} documents identical")


if __name__ == "__main__":
    main()
