"""Scoring throughput in one run: siftlm's packed scorer beside plain transformers loops and, if installed, lm-eval.

    python tests/bench/scorer.py [--shape small] [--documents 96] [--device cpu] [--dtype fp32] [--threads 1]

Documents have log-normal lengths (mean ~500 tokens, capped at the context) and come in random order. Sorting pays
with the number of documents: the padding factor is 1.69 for 40, 1.31 for 96, 1.07 for 512, 1.01 for 4,096. All
score the same texts with the same weights; the largest difference between their nats per token is printed. On a CPU
ratios are of CPU time, so that they hold on a busy machine. On CUDA the share of the roofline is printed with its
arithmetic: FLOPs per token = 2 N_nonembedding + 2 d V + 4 d layers * mean context / 2, over --peak-tflops.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers

from siftlm.scorers.lm import LMScorer, LMSettings

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"n_embd": 128, "n_layer": 6, "n_head": 4, "vocab_size": 50_257},
    "small": {"n_embd": 384, "n_layer": 6, "n_head": 6, "vocab_size": 50_257},
    "124m": {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50_257},
}
CONTEXT = 1024
LENGTH_MEAN, LENGTH_SIGMA = 500, 1.0  # of the log-normal before the cap, as web documents have
BATCH = 32
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def make_model(folder: Path, shape: dict[str, int]) -> Any:
    """A GPT-2 with random weights, and a tokenizer in which every word `w<n>` is a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, n_positions=CONTEXT)).eval()
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(shape["vocab_size"])}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w0", eos_token="w0").save_pretrained(folder)
    return model


def make_documents(count: int, vocabulary: int) -> list[list[int]]:
    """Token ids of documents in random order."""
    random = np.random.default_rng(0)
    lengths = random.lognormal(np.log(LENGTH_MEAN) - LENGTH_SIGMA**2 / 2, LENGTH_SIGMA, count)
    return [random.integers(1, vocabulary, int(n)).tolist() for n in np.clip(lengths, 1, CONTEXT - 1)]


@torch.inference_mode()
def transformers_loop(model: Any, documents: list[list[int]], order: list[int]) -> np.ndarray:
    """Nats of each document by what most tools do: batches of 32, padded, full float32 logits, cross entropy."""
    nats = np.zeros(len(documents))
    device = model.device
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        rows = [torch.tensor([0, *documents[index]]) for index in members]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(device)
        logits = model(ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        nats[members] = (each.view(len(members), -1) * mask[:, 1:]).double().sum(1).cpu().numpy()
    return nats


def lm_eval_loop(model: Any, folder: str, texts: list[str]) -> np.ndarray:
    """Nats of each document by lm-evaluation-harness, as its perplexity tasks ask for them."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    harness = HFLM(model, tokenizer=tokenizer, max_length=CONTEXT, batch_size=BATCH, device=str(model.device))
    requests = [Instance("loglikelihood_rolling", {}, (text,), index) for index, text in enumerate(texts)]
    return -np.asarray(harness.loglikelihood_rolling(requests, disable_tqdm=True))


def padding(lengths: np.ndarray, order: list[int]) -> float:
    """Tokens of the padded batches over tokens of the documents."""
    batches = [lengths[order[start : start + BATCH]] for start in range(0, len(order), BATCH)]
    return float(sum(batch.max() * len(batch) for batch in batches) / lengths.sum())


def timed(work: Callable[[], np.ndarray], device: str) -> tuple[np.ndarray, float, float]:
    """(result, wall seconds, seconds that count: CPU time on a CPU, else wall)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    if device == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, wall, cpu if device == "cpu" else wall


def flops_per_token(shape: dict[str, int], mean_context: float) -> float:
    """Forward FLOPs of a token: body, head, and attention over half the mean document."""
    width, layers = shape["n_embd"], shape["n_layer"]
    return 2 * 12 * width**2 * layers + 2 * width * shape["vocab_size"] + 4 * width * layers * mean_context / 2


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--shape", choices=SHAPES, default="small")
    arguments.add_argument("--documents", type=int, default=96)
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--dtype", choices=DTYPES, default="fp32")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--batch-tokens", type=int)
    arguments.add_argument("--peak-tflops", type=float, default=790.0, help="bf16, an H200 as measured")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    shape = SHAPES[chosen.shape]
    documents = make_documents(chosen.documents, shape["vocab_size"])
    tokens = sum(map(len, documents))
    machine = torch.cuda.get_device_name() if chosen.device == "cuda" else platform.processor() or platform.machine()
    print(f"{datetime.now(UTC):%Y-%m-%d} {machine}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"GPT-2 {shape}, {chosen.dtype}, {len(documents)} documents, {tokens} tokens, {chosen.threads} thread(s)")
    with tempfile.TemporaryDirectory() as folder:
        compare(chosen, make_model(Path(folder), shape), folder, documents, shape)


def compare(
    chosen: argparse.Namespace, model: Any, folder: str, documents: list[list[int]], shape: dict[str, int]
) -> None:
    """Runs all of them after a warm-up and prints their rates."""
    model = model.to(chosen.device, DTYPES[chosen.dtype])
    scorer = LMScorer(
        LMSettings(
            name="bench", model=folder, device=chosen.device, dtype=chosen.dtype, threads=chosen.threads,
            batch_tokens=chosen.batch_tokens,
        )
    )  # fmt: skip
    texts = [" ".join(f"w{n}" for n in ids) for ids in documents]
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    by_length = sorted(range(len(documents)), key=lambda index: len(documents[index]))
    runs: dict[str, Callable[[], np.ndarray]] = {
        "transformers, padded": lambda: transformers_loop(model, documents, list(range(len(documents)))),
        "transformers, sorted": lambda: transformers_loop(model, documents, by_length),
        "siftlm": lambda: np.asarray(scorer.score(batch)["nll_sum"]),
    }
    if find_spec("lm_eval"):
        runs["lm-eval"] = lambda: lm_eval_loop(model, folder, texts)
    scorer.score(batch.slice(0, 4))
    transformers_loop(model, documents, [0])
    lengths = np.array([len(ids) for ids in documents])
    in_order = list(range(len(documents)))
    print(f"padding factor {padding(lengths, in_order):.2f}, sorted {padding(lengths, by_length):.2f}")
    results = {name: timed(run, chosen.device) for name, run in runs.items()}
    nats, _, own = results["siftlm"]
    for name, (values, wall, seconds) in results.items():
        worst = np.abs(values / lengths - nats / lengths).max()
        print(
            f"{name:22} {lengths.sum() / seconds:10.0f} tokens/s  wall {wall:6.1f} s  siftlm is {seconds / own:5.2f} x"
            f"  largest difference {worst:.1e} nats/token"
        )
    if chosen.device == "cuda":
        each = flops_per_token(shape, float((lengths**2).sum() / lengths.sum()))
        rate = each * lengths.sum() / own / 1e12
        print(f"{each / 1e6:.0f} MFLOP a token -> {rate:.0f} TFLOP/s, {rate / chosen.peak_tflops:.0%} of the peak")


if __name__ == "__main__":
    main()
