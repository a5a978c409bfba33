"""Sequence classification: CPU seconds of a rater, beside transformers' own padded loop on the same documents.

    python tests/bench/encoders.py [--documents 96] [--layers 12] [--width 768]

A BERT with random weights and a regression head (12 x 768 is FineWeb-Edu's rater) reads up to 512 tokens of each
document. The other side is what a user writes: batches of 32 in the order of the corpus, padded to their longest text,
with as many threads as there are cores. Both load before the clock starts; the best of `--repeats` counts.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import transformers
from corpus import mixed_corpus
from tokenizers import BertWordPieceTokenizer

from siftlm.scorers.sequence_classifier import SequenceClassifierScorer, SequenceClassifierSettings

VOCABULARY, TOKENS, BATCH = 30_522, 512, 32


def saved_rater(folder: str, texts: Iterable[str], layers: int, width: int) -> str:
    """A rater with random weights, and a WordPiece tokenizer that is trained on the texts."""
    shape = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": max(1, width // 64)}
    config = transformers.BertConfig(num_hidden_layers=layers, num_labels=1, problem_type="regression", **shape)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    words = BertWordPieceTokenizer()
    words.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    words.save_model(folder)
    vocabulary = str(Path(folder) / "vocab.txt")
    transformers.BertTokenizer(vocab=vocabulary, model_max_length=TOKENS).save_pretrained(folder)
    return folder


def cpu_seconds(work: Callable[[], np.ndarray], repeats: int) -> tuple[float, float, np.ndarray]:
    """The fewest CPU seconds of this process, the fewest seconds of the clock, and what came out."""
    spent = []
    for _ in range(repeats):
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        values = work()
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent.append((cpu, time.perf_counter() - started))
    return min(cpu for cpu, _ in spent), min(clock for _, clock in spent), values


def by_siftlm(scorer: SequenceClassifierScorer, texts: list[str]) -> np.ndarray:
    documents = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    return np.asarray(scorer.score(documents)["rater"])


@torch.inference_mode()
def by_transformers(model: object, tokenizer: object, texts: list[str]) -> np.ndarray:
    values = []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        inputs = tokenizer(batch, return_tensors="pt", padding="longest", truncation=True, max_length=TOKENS)
        values.append(model(**inputs).logits.squeeze(-1).numpy())
    return np.concatenate(values)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"documents": 96, "layers": 12, "width": 768, "repeats": 2}.items():
        arguments.add_argument(f"--{name}", type=int, default=default)
    chosen = arguments.parse_args()
    corpus = [text for text in mixed_corpus() if text.strip()]
    texts = corpus[:: len(corpus) // chosen.documents][: chosen.documents]
    with tempfile.TemporaryDirectory() as folder:
        saved_rater(folder, corpus[::20], chosen.layers, chosen.width)
        scorer = SequenceClassifierSettings(name="rater", model=folder, device="cpu").scorer()
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        lengths = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=TOKENS)["input_ids"]]
        scorer.load(scorer.digest())
        own, own_clock, ours = cpu_seconds(lambda: by_siftlm(scorer, texts), chosen.repeats)
        loop, loop_clock, theirs = cpu_seconds(lambda: by_transformers(model, tokenizer, texts), chosen.repeats)
    print(f"{len(texts)} documents of {np.mean(lengths):.0f} tokens on average; "
          f"largest difference {np.abs(ours - theirs).max():.1e}")  # fmt: skip
    print(f"siftlm        {own:8.2f} CPU s {own_clock:8.2f} s")
    print(f"transformers  {loop:8.2f} CPU s {loop_clock:8.2f} s   siftlm takes {own / loop:.2f} of its CPU seconds")


if __name__ == "__main__":
    main()
