"""The feed of a device alone: how fast one process reads a stored shard, tokenises it and packs it into rows.

    python tests/bench/feed.py [--megabytes 20] [--tokenizer tokenizer.json] [--device-tokens 1.8]

No model runs: what a process of a device does on its cores is done here, part by part, over documents of the mixed
corpus in a store, for every tokenizer back end that is installed. Without `--tokenizer` a byte-level BPE of 50,257
tokens, of the form of GPT-2's, is trained on the corpus. CPU seconds are of all threads; tokens a second of one core
are tokens over CPU seconds. `--device-tokens` is what the device computes, in millions of tokens a second: the last
column says how many cores keep it busy. Reading, tokenising and planning rows go on in one thread (the tokenizer may
use all cores), rows are built in three others, and the device computes meanwhile, so the slowest of them sets the pace.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
import transformers
from corpus import mixed_corpus
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.engine.shards import Task
from siftlm.scorers.lm import LMScorer, LMSettings
from siftlm.scorers.lm_documents import CUDA_FILL_STRETCH, CUDA_ROW_TOKENS
from siftlm.scorers.lm_forward import _order
from siftlm.scorers.lm_packing import Packing, build_row, stride_tokens, windows
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.score_step import WINDOW_BYTES, text_windows
from siftlm.store import Marker, Store

CONTEXT, STRIDE, VOCABULARY, END = 1024, 0.75, 50_257, "<|endoftext|>"
ROOFLINE = {"pythia-14m": 47.7, "pythia-70m": 8.35, "124M": 3.00, "SmolLM2-135M": 2.64, "350-410M": 1.05, "1.3B": 0.29}
"""Millions of tokens a second of an H200 at the peak of its bf16, documents of 600 tokens."""


@dataclass
class Clock:
    """Sums the CPU seconds and the seconds of the parts of the work."""

    cpu: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        cpu, wall = process_seconds(), time.perf_counter()
        yield
        self.cpu[name] = self.cpu.get(name, 0.0) + process_seconds() - cpu
        self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - wall


def process_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def byte_level(texts: list[str]) -> Tokenizer:
    """A BPE as GPT-2's, trained on the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=letters, special_tokens=[END], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def saved_model(folder: str, tokenizer: Tokenizer) -> str:
    """A model that is never called, with the tokenizer."""
    config: Any = transformers.GPT2Config(
        n_embd=8, n_layer=1, n_head=1, n_positions=CONTEXT, vocab_size=tokenizer.get_vocab_size()
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END)
    fast.save_pretrained(folder)
    return folder


def stored(texts: list[str], store: Store, key: str) -> Task:
    """The documents as ingest leaves them."""
    with store.writer(DOCUMENTS, key, DOCUMENT_SCHEMA) as out:
        for start in range(0, len(texts), 512):
            batch = [
                {"doc_id": str(n), "text": text, "source": "made", "byte_count": len(text.encode()), "position": n}
                for n, text in enumerate(texts[start : start + 512], start)
            ]
            out.write(pa.RecordBatch.from_pylist(batch, schema=DOCUMENT_SCHEMA))
    store.commit(Marker(DOCUMENTS, key, key, out.rows, out.rows, files={".parquet": out.seal}))
    return Task(0, key, key, {DOCUMENTS: key})


def fed(scorer: LMScorer, store: Store, task: Task, clock: Clock) -> tuple[int, int]:
    """(documents, tokens) that went through all that comes before the device."""
    row = CUDA_ROW_TOKENS[0]
    packing = Packing(row, 1, row // 32, CUDA_FILL_STRETCH)
    documents, tokens = 0, 0
    reader = text_windows(store, task, scorer.settings.window_documents, WINDOW_BYTES)
    while True:
        with clock.part("reading"):
            batch = next(reader, None)
        if batch is None:
            return documents, tokens
        with clock.part("tokenising"):
            tokenised = scorer.tokenise(batch["text"])
        with clock.part("planning rows"):
            stretches = windows(tokenised.offsets[:-1], tokenised.lengths, CONTEXT, stride_tokens(STRIDE, CONTEXT))
            order = _order(stretches, tokenised.tokens)
            rows = packing.rows(stretches[order].length.tolist())
        with clock.part("building rows"):
            for members in rows:
                build_row(stretches[order[members]], tokenised.tokens, packing, 0)
        documents += batch.num_rows
        tokens += int(tokenised.token_count.sum())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=float, default=20.0)
    arguments.add_argument("--tokenizer", help="a tokenizer.json")
    arguments.add_argument("--device-tokens", type=float, help="millions of tokens that the device computes a second")
    chosen = arguments.parse_args()
    texts = mixed_corpus()
    drawn = [texts[n] for n in np.random.default_rng(0).permutation(len(texts))]
    end = int(np.searchsorted(np.cumsum([len(text.encode()) for text in drawn]), chosen.megabytes * 1e6))
    sample, others = drawn[:end], drawn[end : 2 * end]
    size = sum(len(text.encode()) for text in sample)
    tokenizer = Tokenizer.from_file(chosen.tokenizer) if chosen.tokenizer else byte_level(texts)
    print(
        f"{datetime.now(UTC):%Y-%m-%d} {len(sample)} documents, {size / 1e6:.1f} MB, {tokenizer.get_vocab_size()} "
        f"tokens, {len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}"
    )
    with tempfile.TemporaryDirectory() as folder:
        model, store = saved_model(f"{folder}/model", tokenizer), Store(f"{folder}/store")
        task, before = stored(sample, store, "measured"), stored(others, store, "others")
        for backend in ("tokenizers", *(["gigatoken"] if find_spec("gigatoken") else [])):
            settings = LMSettings(name="feed", model=model, device="cpu", tokenizer_backend=backend)
            scorer = LMScorer(settings)
            used = scorer.metadata()["tokenizer_backend"]
            if used != backend:
                print(f"{backend}: refused by siftlm for this vocabulary, which takes {used}")
                continue
            fed(scorer, store, before, Clock())  # tokenizers remember words: other documents than those that count
            report(backend, size, chosen.device_tokens, lambda clock, scorer=scorer: fed(scorer, store, task, clock))


def report(backend: str, size: int, device: float | None, run: Callable[[Clock], tuple[int, int]]) -> None:
    """Prints the parts of the feed, and how many cores it takes to keep devices busy."""
    clock = Clock()
    documents, tokens = run(clock)
    whole = sum(clock.cpu.values())
    print(f"\n{backend}: {documents} documents, {tokens / 1e6:.2f} M tokens, {size / tokens:.2f} bytes a token")
    for part, seconds in clock.cpu.items():
        print(
            f"  {part:14} {seconds:7.2f} CPU s {clock.wall[part]:7.2f} s  {tokens / seconds / 1e6:7.2f} M tokens/s of "
            f"a core  {size / seconds / 1e6:7.1f} MB/s  {seconds / whole:4.0%}"
        )
    rate = tokens / whole / 1e6
    print(f"  all of it      {whole:7.2f} CPU s  of a core {rate:.2f} M tokens/s, {documents / whole:,.0f} documents/s")
    one_thread = sum(clock.wall[part] for part in ("reading", "tokenising", "planning rows"))
    print(f"  the feeding thread gives {tokens / one_thread / 1e6:.2f} M tokens/s with the cores of this machine")
    wanted = {"the device": device} if device else {name: 0.6 * most for name, most in ROOFLINE.items()}
    for name, needed in wanted.items():
        print(f"  {name:14} {needed:6.2f} M tokens/s takes {needed / rate:5.1f} cores")


if __name__ == "__main__":
    main()
