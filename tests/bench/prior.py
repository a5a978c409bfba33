"""Token priors and compression ratios: megabytes a CPU second, beside the published way with transformers and numpy.

    python tests/bench/prior.py [--megabytes 20] [--tokenizer tokenizer.json]

Both passes of the priors are in it, counting and measuring, and each tokenises. The other way is that of the paper's
code: transformers' fast tokenizer in batches, the counts and the numbers by numpy, a document at a time, with the
tokens kept between the passes. Without `--tokenizer` a byte-level BPE of 50,257 tokens, of the form of GPT-2's, is
trained on the corpus. CPU seconds are of all threads.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from corpus import mixed_corpus
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from siftlm.scorers.compression import CompressionSettings
from siftlm.scorers.text_tokenizer import find_tokenizer, open_text_tokenizer
from siftlm_kernels.token_prior import TokenCounts, prior_numbers

BATCH, VOCABULARY = 1024, 50_257


def trained(texts: list[str], path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet))
    tokenizer.save(str(path))


def ours(texts: list[str], path: Path) -> np.ndarray:
    opened = open_text_tokenizer(find_tokenizer("bench", str(path)))
    counts = TokenCounts.empty(opened.vocabulary)
    for start in range(0, len(texts), BATCH):
        counts.add(*opened.encode(texts[start : start + BATCH]))
    priors = counts.priors()
    made = [
        prior_numbers(*opened.encode(texts[start : start + BATCH]), priors) for start in range(0, len(texts), BATCH)
    ]
    return np.concatenate([numbers.mean for numbers in made])


def published(texts: list[str], path: Path) -> np.ndarray:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))
    counts, every = np.zeros(len(tokenizer), np.int64), []
    for start in range(0, len(texts), BATCH):
        for ids in tokenizer(texts[start : start + BATCH], add_special_tokens=False)["input_ids"]:
            array = np.array(ids, np.int64)
            counts += np.bincount(array, minlength=len(counts))
            every.append(array)
    priors = counts / counts.sum()
    with np.errstate(divide="ignore"):
        logs = np.log(priors)
    spreads = [priors[ids].std(ddof=1) if len(ids) > 1 else 0.0 for ids in every]
    assert len(spreads) == len(texts)
    return np.array([logs[ids].mean() if len(ids) else np.nan for ids in every])


def ratios(texts: list[str], codec: str, level: int) -> None:
    scorer = CompressionSettings.model_validate({"name": "c", "codec": codec, "level": level}).scorer()
    for start in range(0, len(texts), BATCH):
        scorer.score(pa.RecordBatch.from_pydict({"text": pa.array(texts[start : start + BATCH], pa.large_string())}))


def cpu_seconds(function: Callable[[], object]) -> tuple[float, object]:
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    started = used()
    made = function()
    return used() - started, made


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=float, default=20)
    arguments.add_argument("--tokenizer")
    chosen = arguments.parse_args()
    texts, size = [], 0
    corpus = mixed_corpus()
    for text in corpus[:: max(1, int(45 / chosen.megabytes))]:
        texts.append(text)
        size += len(text.encode())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(chosen.tokenizer or f"{folder}/tokenizer.json")
        if not chosen.tokenizer:
            trained(texts[::4], path)
        ours(texts[:10], path)
        own, means = cpu_seconds(lambda: ours(texts, path))
        other, theirs = cpu_seconds(lambda: published(texts, path))
    assert isinstance(means, np.ndarray)
    assert isinstance(theirs, np.ndarray)
    print(f"{len(texts):,} documents, {size / 1e6:.1f} MB; largest difference {np.nanmax(np.abs(means - theirs)):.1e}")
    print(f"siftlm     {own:6.2f} CPU s  {size / 1e6 / own:6.1f} MB a CPU second")
    print(f"published  {other:6.2f} CPU s  {size / 1e6 / other:6.1f} MB a CPU second, {other / own:.1f} times the time")
    for codec, level in (("gzip", 9), ("zstd", 3), ("zstd", 19)):
        seconds, _ = cpu_seconds(lambda codec=codec, level=level: ratios(texts, codec, level))
        print(f"{codec} -{level:<3} {seconds:6.2f} CPU s  {size / 1e6 / seconds:6.1f} MB a CPU second")


if __name__ == "__main__":
    main()
