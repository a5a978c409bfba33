"""Prompt log-probabilities of serving engines beside siftlm: one model, the same texts, the same tokens, one run.

    python tests/bench/engines.py [--shape 124m] [--documents 2000] [--device cuda] [--dtype bf16]

siftlm goes from Parquet to Parquet and tokenises; vLLM and SGLang are given tokens, and are asked for the
log-probability of every token of a prompt and for one new token, the least that they generate. Documents are those of
scorer.py, after a first token that all of them get. Seconds are of wall time after a warm-up; an engine that is not
installed or does not start is left out with the reason. Each engine is closed before the next one starts.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from scorer import CONTEXT, SHAPES, from_parquet, make_model, make_scorer, make_tokenizer, random_texts, write_texts

LONG_NAMES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
Nats = np.ndarray


def by_vllm(folder: str, documents: list[list[int]], dtype: str) -> Callable[[slice], Nats]:
    """Nats of documents by vLLM."""
    from vllm import LLM, SamplingParams

    engine = LLM(folder, dtype=LONG_NAMES[dtype], max_model_len=CONTEXT, enable_prefix_caching=False)
    asked = SamplingParams(max_tokens=1, prompt_logprobs=0, temperature=0.0, detokenize=False)

    def nats(which: slice) -> Nats:
        prompts = [{"prompt_token_ids": ids[: CONTEXT - 1]} for ids in documents[which]]
        answers = engine.generate(prompts, asked, use_tqdm=False)
        return np.array([prompt_nats(answer.prompt_token_ids, answer.prompt_logprobs) for answer in answers])

    return nats


def prompt_nats(tokens: list[int], given: list[Any]) -> float:
    """The nats of a prompt from what vLLM gives: for every token but the first, objects by token."""
    return -sum(at[token].logprob for token, at in zip(tokens[1:], given[1:], strict=True))


def by_sglang(folder: str, documents: list[list[int]], dtype: str) -> Callable[[slice], Nats]:
    """Nats of documents by SGLang."""
    import sglang

    engine = sglang.Engine(model_path=folder, dtype=LONG_NAMES[dtype], disable_radix_cache=True, log_level="error")

    def nats(which: slice) -> Nats:
        answers = engine.generate(
            input_ids=[ids[:CONTEXT - 1] for ids in documents[which]],
            sampling_params={"max_new_tokens": 1, "temperature": 0.0}, return_logprob=True, logprob_start_len=0,
        )  # fmt: skip
        return np.array([-sum(at[0] for at in of["meta_info"]["input_token_logprobs"][1:]) for of in answers])

    return nats


ENGINES = {"vllm": by_vllm, "sglang": by_sglang}


def compare(chosen: argparse.Namespace, folder: str, texts: list[str], documents: list[list[int]]) -> None:
    """siftlm's rate, then that of each engine, with the largest difference of a document's mean."""
    scorer = make_scorer(chosen, folder, chosen.dtype)
    prefix = int(scorer.metadata()["prefix_token_id"])
    path, sizes = write_texts(texts, folder), np.array([len(ids) for ids in documents])
    from_parquet(scorer, path, f"{folder}/warm.parquet")
    started = time.perf_counter()
    table = from_parquet(scorer, path, f"{folder}/scores.parquet")
    ours, nats = sizes.sum() / (time.perf_counter() - started), np.asarray(table["nll_sum"])
    print(f"{'siftlm':8} {ours:10.0f} tokens/s", flush=True)
    del scorer
    for name, start in ENGINES.items():
        gc.collect()
        torch.cuda.empty_cache()
        try:
            run = start(folder, [[prefix, *ids] for ids in documents], chosen.dtype)
            run(slice(0, 8))
            started = time.perf_counter()
            theirs = run(slice(None))
            rate = sizes.sum() / (time.perf_counter() - started)
        except Exception as problem:  # noqa: BLE001 - what another engine raises is anything
            reason = (str(problem).splitlines() or [""])[0]
            print(f"{name:8} left out: {type(problem).__name__}: {reason[:160]}", flush=True)
            continue
        apart = np.abs(theirs - nats) / sizes
        print(
            f"{name:8} {rate:10.0f} tokens/s  siftlm is {ours / rate:5.2f} x  largest difference "
            f"{apart[sizes < CONTEXT - 1].max():.1e} nats/token",
            flush=True,
        )
        del run


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--shape", choices=SHAPES, default="124m")
    arguments.add_argument("--documents", type=int, default=2000)
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    arguments.add_argument("--dtype", choices=LONG_NAMES, default="bf16")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--batch-tokens", type=int)
    chosen = arguments.parse_args()
    vocabulary = SHAPES[chosen.shape][-1]
    texts = random_texts(chosen.documents, vocabulary)
    tokenizer = make_tokenizer(None, vocabulary)
    encodings = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    print(f"{datetime.now(UTC):%Y-%m-%d} {chosen.device}, {chosen.shape}, {chosen.dtype}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        make_model(chosen.shape).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        compare(chosen, folder, texts, [encoding.ids for encoding in encodings])


if __name__ == "__main__":
    main()
