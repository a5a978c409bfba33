"""The precisions of a device in one run: siftlm in fp32, bf16 and int8 on the same texts, with their agreement.

    python tests/bench/precisions.py [--shape 124m] [--documents 24] [--dtypes fp32,bf16,int8]
    python tests/bench/precisions.py --device cuda --dtypes bf16,fp8 --documents 20000
    python tests/bench/precisions.py --model MODEL.gguf --corpus FOLDER --documents 200

The first two measure speed with random weights (see scorer.py for shapes and texts), where nothing is ranked; the
third a real model on real texts, cut after --characters. Ratios are of CPU seconds of one thread, on CUDA of wall
time, after a document that warms up; the difference is that of document means to the first precision, over documents
of 64 tokens or more. Shuffled and lone documents must have the same bits, which is printed.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from corpus import SHARED, mixed_corpus
from scipy.stats import spearmanr
from scorer import SHAPES, make_model, make_tokenizer, random_texts

from siftlm.scorers import lm_agreement, lm_documents
from siftlm.scorers.lm import LMScorer, LMSettings
from siftlm_kernels.cpu_units import bfloat16_units

LONG = lm_agreement.LONG_TOKENS


def scored(scorer: LMScorer, texts: list[str]) -> pa.RecordBatch:
    """The score columns of texts."""
    return scorer.score(pa.record_batch({"text": pa.array(texts, pa.large_string())}))


def compare(model: str, dtypes: list[str], texts: list[str], device: str) -> None:
    """Prints rate, ratio, agreement and the order test of each precision."""
    first: tuple[float, np.ndarray] | None = None
    clock = time.perf_counter if device == "cuda" else time.process_time
    shuffled = np.random.default_rng(2).permutation(len(texts))
    for dtype in dtypes:
        settings = LMSettings(name="bench", model=model, device=device, dtype=dtype, threads=1)  # type: ignore[arg-type]
        scorer = LMScorer(settings)
        scored(scorer, texts[:1])
        started = clock()
        batch = scored(scorer, texts)
        seconds = clock() - started
        counts, nats = np.asarray(batch["token_count"]), np.asarray(batch["nll_sum"])
        means, long = nats / np.maximum(counts, 1), counts >= LONG
        first = first or (seconds, means)
        again = np.asarray(scored(scorer, [texts[i] for i in shuffled])["nll_sum"])
        alone = [scored(scorer, [texts[i]])["nll_sum"][0].as_py() == nats[i] for i in range(3)]
        apart = np.abs(means - first[1])[long]
        facts = scorer.metadata()
        print(
            f"{dtype:5} {counts.sum() / seconds:8.0f} tokens/s  {first[0] / seconds:5.2f} x {dtypes[0]}  "
            f"means of {long.sum()} documents: largest difference {apart.max():.4f}, mean {apart.mean():.4f} nats, "
            f"Spearman {spearmanr(means[long], first[1][long]).statistic:.6f}; shuffled same bits: "
            f"{np.array_equal(again, nats[shuffled])}, alone: {all(alone)}; at load: "
            f"{facts.get('rank_agreement', '-')}, {facts.get('mean_difference', '-')} nats",
            flush=True,
        )


@contextmanager
def unranked() -> Iterator[None]:
    """Random weights give texts no ranks, so what refuses a model is switched off."""
    right = lm_documents.check_agreement
    lm_documents.check_agreement = lambda *_: {}
    try:
        yield
    finally:
        lm_documents.check_agreement = right


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--shape", choices=SHAPES, default="124m")
    arguments.add_argument("--documents", type=int, default=24)
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--dtypes", default="fp32,bf16,int8")
    arguments.add_argument("--model", help="a folder or a GGUF file: real weights and texts")
    arguments.add_argument("--corpus", type=Path, default=SHARED)
    arguments.add_argument("--characters", type=int, default=3000)
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    print(
        f"{datetime.now(UTC):%Y-%m-%d} {platform.machine()}, units {bfloat16_units()}, torch {torch.__version__}, "
        f"{chosen.model or chosen.shape}, {chosen.documents} documents, load {os.getloadavg()[0]:.1f}"
    )
    dtypes = chosen.dtypes.split(",")
    if chosen.model:
        every = mixed_corpus(chosen.corpus)
        drawn = np.random.default_rng(3).choice(len(every), chosen.documents, replace=False)
        compare(chosen.model, dtypes, [every[index][: chosen.characters] for index in drawn], chosen.device)
        return
    vocabulary = SHAPES[chosen.shape][-1]
    with tempfile.TemporaryDirectory() as folder, unranked():
        make_model(chosen.shape).save_pretrained(folder)
        make_tokenizer(None, vocabulary).save_pretrained(folder)
        compare(folder, dtypes, random_texts(chosen.documents, vocabulary), chosen.device)


if __name__ == "__main__":
    main()
