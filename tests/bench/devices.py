"""Scoring on one device and on several: documents and tokens a second of whole steps, and the scaling.

    python tests/bench/devices.py [--megabytes 200] [--width 768] [--layers 12] [--counts 1,2,4]

Runs siftlm over a jsonl file of the mixed corpus, grown by splicing, with a GPT-2 of random weights, once for each
number of devices (of those that CUDA_VISIBLE_DEVICES shows), each run with a store of its own. The time is that from
the beginning of the first shard to the end of the last one. All devices but the first load and compile the model in it,
so take enough text that this does not count.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pyarrow.compute as pc
import torch
from corpus import mixed_corpus
from feed import byte_level
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from siftlm.engine.devices.listing import VISIBLE, CudaDevices
from siftlm.store import Store

CONF = """
name = "devices"
annotate = {{ language = false, signals = false }}
input = [{{ source = "made", paths = ["{here}/in"], shard_bytes = {shard_bytes} }}]
score = [{{ name = "lm", model = "{here}/model", device = "cuda", dtype = "bf16" }}]
output = {{ folder = "{here}/{out}" }}
"""


def grown(texts: list[str], size: int) -> list[str]:
    """The texts, and splices of the front of one with the back of another, up to so many bytes."""
    random, made, total = np.random.default_rng(0), list[str](), 0
    while total < size:
        first, second = (texts[n] for n in random.integers(0, len(texts), 2))
        made.append(first[: len(first) // 2] + second[len(second) // 2 :])
        total += len(made[-1].encode())
    return made


def prepared(here: Path, chosen: argparse.Namespace) -> None:
    texts = mixed_corpus()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level(texts), bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(here / "model")
    torch.manual_seed(0)
    heads = max(1, chosen.width // 64)
    config = GPT2Config(n_embd=chosen.width, n_layer=chosen.layers, n_head=heads, vocab_size=len(tokenizer))
    GPT2LMHeadModel(config).save_pretrained(here / "model")
    (here / "in").mkdir()
    with (here / "in/corpus.jsonl").open("wb") as file:
        file.writelines(orjson.dumps({"text": text}) + b"\n" for text in grown(texts, int(chosen.megabytes * 1e6)))


def run(here: Path, addresses: list[str], shard_bytes: int) -> tuple[int, int, float]:
    """(documents, tokens, seconds between the first and the last marker that the step wrote)."""
    out = f"on-{len(addresses)}"
    (here / f"{out}.toml").write_text(CONF.format(here=here, out=out, shard_bytes=shard_bytes))
    command = [sys.executable, "-m", "siftlm.cli", "run", str(here / f"{out}.toml")]
    subprocess.run(command, check=True, env={**os.environ, VISIBLE: ",".join(addresses)})
    store = Store(f"{here}/{out}/store")
    keys = sorted(store.done("scores/lm"))
    tables = [store.table("scores/lm", key, ["token_count"]) for key in keys]
    ends = {key: Path(store.path("scores/lm", key, ".done")).stat().st_mtime for key in keys}
    begins = min(end - float(store.marker("scores/lm", key).facts["seconds"]) for key, end in ends.items())
    tokens = sum(pc.sum(table["token_count"]).as_py() for table in tables)
    return sum(table.num_rows for table in tables), tokens, max(ends.values()) - begins


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=float, default=200.0)
    arguments.add_argument("--width", type=int, default=768)
    arguments.add_argument("--layers", type=int, default=12)
    arguments.add_argument("--counts", help="numbers of devices, separated by commas; default 1, 2, 4 ... and all")
    chosen = arguments.parse_args()
    devices = CudaDevices().listed()
    if not devices:
        raise SystemExit("devices: must be there, got a machine without a CUDA device")
    powers = [1 << n for n in range(len(devices).bit_length()) if 1 << n <= len(devices)]
    counts = [int(n) for n in chosen.counts.split(",")] if chosen.counts else sorted({*powers, len(devices)})
    print(f"{datetime.now(UTC):%Y-%m-%d} {len(devices)} devices, {devices[0].product}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        prepared(here, chosen)
        alone = 0.0
        for count in counts:
            size = int(chosen.megabytes * 1e6 / (8 * max(counts)))
            documents, tokens, seconds = run(here, [device.address for device in devices[:count]], size)
            alone = alone or tokens / seconds * counts[0]
            print(
                f"{count} devices: {documents} documents, {documents / seconds:,.0f} a second, "
                f"{tokens / seconds / 1e6:.2f} M tokens/s, {tokens / seconds / alone:.2f} times one"
            )


if __name__ == "__main__":
    main()
