"""Training small models: tokens a second and losses, beside a loop over transformers' modules.

    python tests/bench/trainer.py [--steps 60] [--rounds 3] [--shapes "GPT-2 0.7M"]
    python tests/bench/trainer.py --device cuda [--steps 60] [--batch 65536] [--peak 790]

Both begin with the same weights and see the same windows of real text (see corpus.py), 1,024 tokens a step. The loop is
what siftlm trained with before: transformers' modules, cross-entropy over all logits, torch's AdamW. Every measurement
is a process of its own, turn and turn about; of its steps the first ten are left out and the median counts, in seconds
of the clock and of the CPU. On a machine that does other work, the CPU's are to be trusted.

With --device, the trainer alone is measured there, on random tokens: GPT-2 of 124M with windows of 1,024 tokens on a
GPU, the smallest shape on a CPU. The share of the roofline counts the operations of matrices and of causal attention,
three times those of the forward pass, in --peak TFLOP/s: 790 were measured on an H200 in bf16.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpus import mixed_corpus
from transformers import AutoModelForCausalLM

from siftlm.proxies.training import (
    DocumentTokenizer,
    ModelShape,
    Optimisation,
    Seeds,
    TextOfGroup,
    TokenFile,
    Training,
    train_tokenizer,
)
from siftlm.proxies.training.device import lanes
from siftlm.proxies.training.export import save_model
from siftlm.proxies.training.learner import Learner
from siftlm.proxies.training.model import forms
from siftlm.proxies.training.schedule import learning_rate
from siftlm.proxies.training.tokens import open_token_file, write_token_file
from siftlm.proxies.training.weights import FlatWeights

WARM_UP = 10
SHAPES: dict[str, dict[str, Any]] = {
    "GPT-2 0.4M": {"shape": "gpt2", "layers": 2, "width": 96, "heads": 3},
    "GPT-2 0.7M": {"shape": "gpt2", "layers": 2, "width": 128, "heads": 4},
    "Llama 2.2M": {"shape": "llama", "layers": 4, "width": 192, "heads": 6},
    "GPT-2 4.7M": {"shape": "gpt2", "layers": 6, "width": 240, "heads": 8},
}
LARGE: dict[str, Any] = {"shape": "gpt2", "layers": 12, "width": 768, "heads": 12, "context_tokens": 1024}
WAYS = {
    "before": {"old": True, "threads": 1},
    "before, 2 threads": {"old": True, "threads": 2},
    "now": {"old": False, "threads": 1},
    "now, 2 threads": {"old": False, "threads": 2},
    "now, bfloat16": {"old": False, "threads": 1, "precision": "bfloat16"},
}


def prepare(folder: Path) -> None:
    """Writes a tokenizer and tokens of three megabytes of mixed text."""
    texts = mixed_corpus()
    random.Random(0).shuffle(texts)
    kept = [text[:20_000] for text in texts[:1000]]
    tokenizer = train_tokenizer(kept, 2048)
    (folder / "tokenizer").write_bytes(tokenizer.content())
    write_token_file(folder, "all", (TextOfGroup("all", text) for text in kept), tokenizer)


def measured(folder: Path, name: str, way: dict[str, Any], steps: int) -> dict[str, Any]:
    """Losses of all steps, and median seconds of a step by the clock and the CPU."""
    tokenizer = DocumentTokenizer.of((folder / "tokenizer").read_bytes())
    tokens = open_token_file(folder, "all")
    assert tokens is not None, "the tokens were prepared"
    settings = {key: value for key, value in way.items() if key != "old"}
    training = Training(ModelShape(**SHAPES[name]), Optimisation(**settings), steps, Seeds(0, 0))
    batches = drawn(tokens, training)
    spent: list[tuple[float, float]] = []
    losses: list[float] = []
    take = old_step(training, tokenizer) if way["old"] else None
    with lanes(training.optimisation) if take is None else ThreadPoolExecutor(1) as pool:
        step = take or new_step(training, tokens, pool)
        for number, windows in enumerate(batches):
            started = time.perf_counter(), time.process_time()
            losses.append(step(windows, learning_rate(number, steps, training.optimisation.learning_rate)))
            spent.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    clock, cpu = (statistics.median(part) for part in zip(*spent[WARM_UP:], strict=True))
    return {"losses": losses, "clock": clock, "cpu": cpu, "tokens": training.step_tokens}


def drawn(tokens: TokenFile, training: Training) -> list[Any]:
    """The windows of every step, in a random order."""
    windows = tokens.windows(training.shape.context_tokens)
    order = np.random.default_rng(0).permutation(windows.counts[0])
    size = training.batch_windows
    return [windows.take(np.zeros(size, np.int64), order[n * size :][:size]) for n in range(training.steps)]


def new_step(training: Training, tokens: TokenFile, pool: ThreadPoolExecutor) -> Any:
    """The trainer's own step."""
    learner = Learner(training, tokens.vocabulary, tokens.separator, torch.device("cpu"), pool)
    factors = np.full(training.batch_windows, 1.0 / training.step_tokens)
    return lambda windows, rate: learner.step(windows, factors, rate).mean().item()


def old_step(training: Training, tokenizer: DocumentTokenizer) -> Any:
    """A step of a loop over transformers' modules, from the same weights."""
    torch.set_num_threads(training.optimisation.threads or 1)
    weights = FlatWeights(training.shape, tokenizer.vocabulary, 0, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), training.shape, weights.by_name, tokenizer)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    decayed = [part for part in model.parameters() if part.dim() >= 2]
    plain = [part for part in model.parameters() if part.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=training.optimisation.learning_rate, betas=(0.9, 0.95))

    def step(windows: Any, rate: float) -> float:
        chosen = torch.from_numpy(windows)
        logits = model(input_ids=chosen[:, :-1], use_cache=False).logits
        nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), chosen[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        nats.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        return nats.item()

    return step


def main() -> None:
    """Prints a line for each shape and way, and how far apart the losses are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # folder, shape and way: one measurement, as JSON
    parser.add_argument("--device", help="measure the trainer alone: cuda, cuda:1 or cpu")
    parser.add_argument("--batch", type=int, default=65_536, help="tokens of a step, with --device cuda")
    parser.add_argument("--peak", type=float, default=790.0, help="TFLOP/s of the device, with --device")
    given = parser.parse_args()
    if given.device:
        on_device(given.device, given.steps, given.batch, given.peak)
        return
    if given.one:
        folder, name, way = given.one
        print(json.dumps(measured(Path(folder), name, WAYS[way], given.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for name in given.shapes:
            report(name, compared(folder, name, given.steps, given.rounds))


def compared(folder: str, name: str, steps: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """The measurements of every way, turn and turn about."""
    made: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--steps", str(steps), "--one", folder, name, way]
            made[way].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    return made


def on_device(device: str, steps: int, batch: int, peak: float) -> None:
    """Prints tokens a second and the share of the roofline of every way of training on one device."""
    gpu = device.startswith("cuda")
    shape = ModelShape(**(LARGE if gpu else SHAPES["GPT-2 0.4M"]))
    vocabulary = 50_304 if gpu else 2048
    precise = {"device": device, "precision": "bfloat16", "batch_tokens": batch}
    ways: dict[str, dict[str, Any]] = {"bfloat16": precise, "bfloat16, compiled": {**precise, "compiled": True}}
    for name, way in ways.items() if gpu else [("float32", {"device": device, "batch_tokens": 1024})]:
        training = Training(shape, Optimisation(**way), steps, Seeds(0, 0))
        seconds = seconds_a_step(training, vocabulary)
        rate = training.step_tokens / seconds
        share = rate * operations_a_token(shape, vocabulary) / (peak * 1e12)
        print(f"{name:20} {rate:10,.0f} tokens/s   {share:6.1%} of {peak:,.0f} TFLOP/s", flush=True)


def seconds_a_step(training: Training, vocabulary: int) -> float:
    """The median seconds of a step on random tokens, each step waited for."""
    device = torch.device(training.optimisation.device)
    generator = np.random.default_rng(0)
    factors, spent = np.full(training.batch_windows, 1.0 / training.step_tokens), []
    with lanes(training.optimisation) as pool:
        learner = Learner(training, vocabulary, 0, device, pool)
        for _ in range(training.steps):
            windows = generator.integers(1, vocabulary, (training.batch_windows, training.shape.context_tokens + 1))
            started = time.perf_counter()
            learner.step(windows, factors, 1e-4).mean().item()
            spent.append(time.perf_counter() - started)
    return statistics.median(spent[min(WARM_UP, len(spent) // 2) :])


def operations_a_token(shape: ModelShape, vocabulary: int) -> float:
    """Floating-point operations of a trained token: of matrices, of the head, and of attention to what precedes."""
    sizes = [form.size for form in forms(shape, vocabulary) if len(form.size) == 2]
    matrices = sum(math.prod(size) for size in sizes) - (shape.context_tokens * shape.width)  # but for the positions
    attention = 2 * shape.layers * shape.width * shape.context_tokens / 2  # two products, half of the keys
    return 3 * 2 * (matrices + attention)


def report(name: str, made: dict[str, list[dict[str, Any]]]) -> None:
    """Prints the medians over the rounds, as ratios to the loop before, and the losses side by side."""
    first = {kind: statistics.median(one[kind] for one in made["before"]) for kind in ("clock", "cpu")}
    losses = np.array(made["before"][0]["losses"])
    print(f"{name}: losses before {' '.join(f'{x:.3f}' for x in losses[:: len(losses) // 6])}")
    for way, rounds in made.items():
        clock, cpu = (statistics.median(one[kind] for one in rounds) for kind in ("clock", "cpu"))
        tokens, apart = rounds[0]["tokens"], np.abs(np.array(rounds[0]["losses"]) - losses)
        print(
            f"  {way:18} {tokens / clock:8,.0f} tokens/s {first['clock'] / clock:5.2f}x   "
            f"{tokens / cpu:8,.0f} tokens/CPU s {first['cpu'] / cpu:5.2f}x   losses apart {apart.max():.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
