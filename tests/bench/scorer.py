"""Scoring throughput in one run: siftlm from Parquet to Parquet beside transformers loops and, if installed, lm-eval.

    python tests/bench/scorer.py [--shape small] [--documents 96] [--device cpu] [--dtype fp32] [--threads 1]
    python tests/bench/scorer.py --shape 124m --documents 40000 --device cuda --dtype bf16 --text TOKENIZER.json

Documents have log-normal lengths (mean ~500 tokens, capped at the context) and come in random order: random tokens
of a vocabulary of words, or with --text pieces of real text (see corpus.py) under a tokenizer. Sorting pays with the
number of documents: the padding factor is 1.69 for 40, 1.31 for 96, 1.07 for 512, 1.01 for 4,096. All score the same
texts with the same weights, random or (--train SECONDS) trained on the texts; the loops are given tokens, siftlm
tokenises too. On a CPU ratios are of CPU time, so that they hold on a busy machine. On CUDA the loops score the first
--peers documents, and the share of the roofline is printed with its arithmetic: FLOPs per token = 2 N_nonembedding +
2 d V + 4 d layers * mean context / 2, over --peak-tflops. --agreement compares with float32 and with shuffled input.
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
import pyarrow.parquet as pq
import torch
import transformers
from corpus import SHARED, mixed_corpus
from tokenizers import Tokenizer, models, pre_tokenizers

from siftlm.scorers.lm import LMScorer, LMSettings
from siftlm.stages.scoring import one_ahead

SHAPES: dict[str, tuple[str, int, int, int, int]] = {  # family, hidden size, layers, heads, vocabulary
    "tiny": ("gpt2", 128, 6, 4, 50_257),
    "small": ("gpt2", 384, 6, 6, 50_257),
    "124m": ("gpt2", 768, 12, 12, 50_257),
    "pythia-14m": ("gpt_neox", 128, 6, 4, 50_304),
    "pythia-70m": ("gpt_neox", 512, 6, 8, 50_304),
    "llama-135m": ("llama", 576, 30, 9, 50_304),
}
CONTEXT = 1024
LENGTH_MEAN, LENGTH_SIGMA = 500, 1.0  # of the log-normal before the cap, as web documents have
BATCH = 32
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def make_model(shape: str) -> Any:
    """A model with random weights."""
    family, width, layers, heads, vocabulary = SHAPES[shape]
    torch.manual_seed(0)
    if family == "gpt2":
        config: Any = transformers.GPT2Config(
            n_embd=width, n_layer=layers, n_head=heads, vocab_size=vocabulary, n_positions=CONTEXT
        )
        return transformers.GPT2LMHeadModel(config).eval()
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "vocab_size": vocabulary}
    if family == "llama":
        config = transformers.LlamaConfig(
            **sizes, num_key_value_heads=heads // 3, intermediate_size=width * 8 // 3, max_position_embeddings=CONTEXT
        )
        return transformers.LlamaForCausalLM(config).eval()
    config = transformers.GPTNeoXConfig(**sizes, intermediate_size=4 * width, max_position_embeddings=CONTEXT)
    return transformers.GPTNeoXForCausalLM(config).eval()


def make_tokenizer(file: str | None, vocabulary: int) -> Any:
    """The tokenizer of a tokenizer.json, or one in which every word `w<n>` is a token."""
    if file:
        return transformers.PreTrainedTokenizerFast(tokenizer_file=file, eos_token="<|endoftext|>")
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(vocabulary)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w0", eos_token="w0")


def lengths(count: int) -> np.ndarray:
    """Log-normal, capped so that a document with its first token fits the context."""
    drawn = np.random.default_rng(0).lognormal(np.log(LENGTH_MEAN) - LENGTH_SIGMA**2 / 2, LENGTH_SIGMA, count)
    return np.clip(drawn.astype(int), 1, CONTEXT - 1)


def random_texts(count: int, vocabulary: int) -> list[str]:
    """Words of a vocabulary, every one a token."""
    random = np.random.default_rng(1)
    return [" ".join(f"w{n}" for n in random.integers(1, vocabulary, length)) for length in lengths(count)]


def real_texts(count: int, tokenizer: Any, folder: Path) -> list[str]:
    """Pieces of a corpus with these lengths in tokens, in random order; the corpus is used again when it ends."""
    encodings = tokenizer.backend_tokenizer.encode_batch(mixed_corpus(folder), add_special_tokens=False)
    texts, wanted, at, start = mixed_corpus(folder), lengths(count), 0, 0
    pieces = []
    for length in wanted.tolist():
        while start >= len(encodings[at]):
            at, start = (at + 1) % len(texts), 0
        offsets = encodings[at].offsets[start : start + length]
        pieces.append(texts[at][offsets[0][0] : offsets[-1][1]])
        start += length
    return [pieces[index] for index in np.random.default_rng(1).permutation(count)]


def train(model: Any, documents: list[list[int]], seconds: float) -> None:
    """AdamW on rows of the documents, so that nats are those of a model that knows something."""
    flat = torch.tensor([token for ids in documents for token in [*ids, 0]])
    rows = flat[: len(flat) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    optimiser = torch.optim.AdamW(model.parameters(), lr=6e-4)
    model.train().requires_grad_(True)
    started, step, loss = time.perf_counter(), 0, torch.zeros(())
    while time.perf_counter() - started < seconds:
        batch = rows[torch.randint(0, len(rows), (16,))].to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16):
            loss = model(batch, labels=batch).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        step += 1
    model.eval().requires_grad_(False)
    print(f"trained for {step} steps of 16 rows, last loss {loss.item():.2f}")


@torch.inference_mode()
def transformers_loop(model: Any, documents: list[list[int]], order: list[int]) -> np.ndarray:
    """Nats of each document by what most tools do: batches of 32, padded, full float32 logits, cross entropy."""
    nats = np.zeros(len(documents))
    device = model.device
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        rows = [torch.tensor(documents[index]) for index in members]
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


def write_texts(texts: list[str], folder: str) -> str:
    """A Parquet file of the texts, row groups as ingest makes them."""
    path = f"{folder}/texts.parquet"
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), path, row_group_size=4096)
    return path


def from_parquet(scorer: LMScorer, path: str, out: str) -> pa.Table:
    """The score table of a Parquet file, written to `out`, as the score stage goes about it."""
    batches = pq.ParquetFile(path).iter_batches(scorer.settings.window_documents, columns=["text"])
    with pq.ParquetWriter(out, pa.schema(scorer.fields())) as writer:
        for window in one_ahead(scorer.begin(scorer.tokenise(batch["text"])) for batch in batches):
            writer.write_batch(window.finish())
    return pq.read_table(out)


def padding(sizes: np.ndarray, order: list[int]) -> float:
    """Tokens of the padded batches over tokens of the documents."""
    batches = [sizes[order[start : start + BATCH]] for start in range(0, len(order), BATCH)]
    return float(sum(batch.max() * len(batch) for batch in batches) / sizes.sum())


def timed(work: Callable[[], Any], device: str) -> tuple[Any, float, float]:
    """(result, wall seconds, seconds that count: CPU time on a CPU, else wall)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    if device == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, wall, cpu if device == "cpu" else wall


def flops_per_token(shape: str, mean_context: float) -> float:
    """Forward FLOPs of a token: body, head, and attention over half the mean document."""
    _, width, layers, _, vocabulary = SHAPES[shape]
    return 2 * 12 * width**2 * layers + 2 * width * vocabulary + 4 * width * layers * mean_context / 2


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--shape", choices=SHAPES, default="small")
    arguments.add_argument("--documents", type=int, default=96)
    arguments.add_argument("--peers", type=int, help="documents that the loops score, default all")
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--dtype", choices=DTYPES, default="fp32")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--batch-tokens", type=int)
    arguments.add_argument("--text", metavar="TOKENIZER", help="a tokenizer.json: score real text")
    arguments.add_argument("--corpus", type=Path, default=SHARED)
    arguments.add_argument("--train", type=float, default=0.0, metavar="SECONDS")
    arguments.add_argument("--agreement", type=int, default=0, metavar="DOCUMENTS")
    arguments.add_argument("--peak-tflops", type=float, default=790.0, help="bf16, an H200 as measured")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    vocabulary = SHAPES[chosen.shape][-1]
    tokenizer = make_tokenizer(chosen.text, vocabulary)
    texts = (
        real_texts(chosen.documents, tokenizer, chosen.corpus)
        if chosen.text
        else random_texts(chosen.documents, vocabulary)
    )
    documents = [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]
    machine = torch.cuda.get_device_name() if chosen.device == "cuda" else platform.processor() or platform.machine()
    print(f"{datetime.now(UTC):%Y-%m-%d} {machine}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(
        f"{chosen.shape}, {chosen.dtype}, {len(documents)} documents, {sum(map(len, documents))} tokens, "
        f"{sum(len(text.encode()) for text in texts) / 1e6:.1f} MB, {chosen.threads} thread(s)"
    )
    model = make_model(chosen.shape).to(chosen.device)
    if chosen.train:
        train(model, documents, chosen.train)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        compare(chosen, model, folder, texts, documents)
        if chosen.agreement:
            agree(chosen, folder, texts[: chosen.agreement])


def make_scorer(chosen: argparse.Namespace, folder: str, dtype: str) -> LMScorer:
    settings = LMSettings(
        name="bench", model=folder, device=chosen.device, dtype=dtype,  # type: ignore[arg-type]
        threads=chosen.threads, batch_tokens=chosen.batch_tokens,
    )  # fmt: skip
    return LMScorer(settings)


def compare(chosen: argparse.Namespace, model: Any, folder: str, texts: list[str], documents: list[list[int]]) -> None:
    """Runs all of them after a warm-up and prints their rates."""
    model = model.to(chosen.device, DTYPES[chosen.dtype])
    scorer = make_scorer(chosen, folder, chosen.dtype)
    prefix = int(scorer.metadata()["prefix_token_id"])
    path = write_texts(texts, folder)
    few = documents[: chosen.peers or len(documents)]
    read = [[prefix, *ids] for ids in few]
    by_length = sorted(range(len(few)), key=lambda index: len(few[index]))
    runs: dict[str, Callable[[], np.ndarray]] = {
        "transformers, padded": lambda: transformers_loop(model, read, list(range(len(few)))),
        "transformers, sorted": lambda: transformers_loop(model, read, by_length),
    }
    if find_spec("lm_eval"):
        runs["lm-eval"] = lambda: lm_eval_loop(model, folder, texts[: len(few)])
    scorer.score(pa.record_batch({"text": pa.array(texts[:64], pa.large_string())}))
    transformers_loop(model, read[:2], [0])
    sizes = np.array([len(ids) for ids in documents])
    in_order = list(range(len(few)))
    sizes_few = sizes[: len(few)]
    print(f"padding factor {padding(sizes_few, in_order):.2f}, sorted {padding(sizes_few, by_length):.2f}")
    table, wall, own = timed(lambda: from_parquet(scorer, path, f"{folder}/scores.parquet"), chosen.device)
    rate, nats = sizes.sum() / own, np.asarray(table["nll_sum"])[: len(few)]
    print(f"{'siftlm':22} {rate:10.0f} tokens/s  wall {wall:6.1f} s")
    for name, run in runs.items():
        values, wall, seconds = timed(run, chosen.device)
        worst = np.abs(values / sizes_few - nats / sizes_few).max()
        theirs = sizes_few.sum() / seconds
        print(
            f"{name:22} {theirs:10.0f} tokens/s  wall {wall:6.1f} s  siftlm is {rate / theirs:5.2f} x"
            f"  largest difference {worst:.1e} nats/token"
        )
    if chosen.device == "cuda":
        each = flops_per_token(chosen.shape, float((sizes**2).sum() / sizes.sum()))
        tera = each * rate / 1e12
        print(f"{each / 1e6:.0f} MFLOP a token -> {tera:.0f} TFLOP/s, {tera / chosen.peak_tflops:.0%} of the peak")


def agree(chosen: argparse.Namespace, folder: str, texts: list[str]) -> None:
    """Differences of document means to float32, their rank correlation, and whether order changes a bit."""
    from scipy.stats import spearmanr

    def means(dtype: str, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scorer = make_scorer(chosen, folder, dtype)
        batch = scorer.score(pa.record_batch({"text": pa.array([texts[i] for i in order], pa.large_string())}))
        back = np.argsort(order)
        return (np.asarray(batch["nll_sum"]) / np.asarray(batch["token_count"]))[back], np.asarray(
            batch["token_count"]
        )[back]

    in_order = np.arange(len(texts))
    exact, counts = means("fp32", in_order)
    half, _ = means(chosen.dtype, in_order)
    shuffled, _ = means(chosen.dtype, np.random.default_rng(2).permutation(len(texts)))
    long = counts >= 64
    print(
        f"{chosen.dtype} to fp32, {long.sum()} documents of 64 tokens or more: largest difference of means "
        f"{np.abs(half - exact)[long].max():.4f} nats, Spearman {spearmanr(half[long], exact[long]).statistic:.6f}; "
        f"mean {exact.mean():.3f}; shuffled input gives the same bits: {np.array_equal(half, shuffled)}"
    )


if __name__ == "__main__":
    main()
