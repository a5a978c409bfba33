"""Long windows of models that mask: memory and CPU seconds, beside transformers' own attention.

    python tests/bench/long_windows.py [--tokens 8000 30000] [--gibibytes 12]

Models of random weights and four layers are scored on one text each: Gemma-2's shape (soft caps, every second layer
within 4,096 tokens), Mistral's (every layer within 4,096) and gpt-oss's (sinks, every second layer within 128). Each
row is two processes of one thread, one with attention in blocks and one with the attention that transformers chooses;
memory is what a process held at its peak beyond what it held with the model loaded. A process that asks for more than
`--gibibytes` of address space fails, which is said.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

SHAPE = {
    "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64,
    "intermediate_size": 256, "max_position_embeddings": 1 << 15,
}  # fmt: skip
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma2": ("Gemma2Config", {**SHAPE, "sliding_window": 4096, "attn_logit_softcapping": 50.0}),
    "mistral": ("MistralConfig", {**SHAPE, "sliding_window": 4096}),
    "gpt-oss": ("GptOssConfig", {**SHAPE, "sliding_window": 128, "num_local_experts": 4}),
}


def score(folder: str, tokens: int, gibibytes: int, way: str) -> None:
    """Prints MiB, CPU seconds and nats of a text of so many tokens."""
    import pyarrow as pa

    from siftlm.scorers import lm_model
    from siftlm.scorers.lm import LMSettings

    if way == "own":
        lm_model.use_blocked_attention = lambda *_, **__: False
    scorer = LMSettings(name="tiny", model=folder, device="cpu", threads=1).scorer()
    scorer.score(pa.record_batch({"text": pa.array(["a"], pa.large_string())}))
    resource.setrlimit(resource.RLIMIT_AS, (gibibytes << 30,) * 2)
    held, begun = resident(), time.process_time()
    text = ("the rain in spain " * tokens)[: tokens - 1]
    (row,) = scorer.score(pa.record_batch({"text": pa.array([text], pa.large_string())})).to_pylist()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(peak - held, time.process_time() - begun, row["nll_sum"] / row["token_count"])


def resident() -> float:
    """MiB that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / (1 << 20)


def told(folder: Path, tokens: int, gibibytes: int, way: str) -> str:
    """What a process of its own says of a text."""
    command = [sys.executable, __file__, "--one", str(folder), str(tokens), str(gibibytes), way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{done.stderr.strip().splitlines()[-1][:80]:>40}"
    mebibytes, seconds, nats = map(float, done.stdout.split())
    return f"{mebibytes:8,.0f} MiB {seconds:8.1f} CPU s {nats:10.6f} nats"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--tokens", type=int, nargs="+", default=[8_000, 30_000])
    arguments.add_argument("--gibibytes", type=int, default=12)
    arguments.add_argument("--one", nargs=4, metavar=("FOLDER", "TOKENS", "GIBIBYTES", "WAY"), help="for itself")
    chosen = arguments.parse_args()
    if chosen.one:
        folder, tokens, gibibytes, way = chosen.one
        score(folder, int(tokens), int(gibibytes), way)
        return
    from tests.models import save_model

    for name, (config, settings) in SHAPES.items():
        with tempfile.TemporaryDirectory() as place:
            save_model(Path(place), config, **settings)
            for tokens in chosen.tokens:
                for way in ("blocks", "own"):
                    said = told(Path(place), tokens, chosen.gibibytes, way)
                    print(f"{name:8} {tokens:7,} tokens  {way:7} {said}", flush=True)


if __name__ == "__main__":
    main()
