"""The head in one run: linear_nll beside stored logits, a compiled chunked product, cut-cross-entropy and liger-kernel.

    python tests/bench/head.py [--device cpu] [--dtype fp32] [--rows 1024] [--width 768] [--vocabulary 50257]

Prints seconds (CPU time on a CPU), TFLOP/s (2 * rows * width * vocabulary), peak memory beside the inputs where the
device says it, and the largest error against float64. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.nn.functional import cross_entropy

from siftlm_kernels.linear_nll import linear_nll
from siftlm_kernels.triton_installed import TRITON_INSTALLED

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
Rows = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def stored_logits(hidden: torch.Tensor, classifier: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """What transformers does."""
    return cross_entropy((hidden @ classifier.T).float(), target, reduction="none")


def chunked(hidden: torch.Tensor, classifier: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Chunks of 4,096 rows: product, then log-sum-exp."""
    pairs = zip(hidden.split(4096), target.split(4096), strict=True)
    return torch.cat([stored_logits(h, classifier, t) for h, t in pairs])


def peers(device: str) -> Iterator[tuple[str, Rows]]:
    """Every implementation that is there."""
    yield "stored logits", stored_logits
    if device == "cuda":
        yield "chunked, compiled", torch.compile(chunked, dynamic=False)
    else:
        yield "chunked", chunked
    yield "linear_nll reference", partial(linear_nll, impl="reference")
    if device == "cuda" and TRITON_INSTALLED:
        yield "linear_nll triton", partial(linear_nll, impl="triton")
    try:
        from cut_cross_entropy import linear_cross_entropy

        yield "cut-cross-entropy", partial(linear_cross_entropy, reduction="none")
    except ImportError:
        print("left out: cut-cross-entropy is not installed")
    try:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        yield "liger-kernel", lambda h, w, t: liger_fused_linear_cross_entropy(h, w, t, reduction="none")
    except ImportError:
        print("left out: liger-kernel is not installed")


@torch.inference_mode()
def seconds(work: Callable[[], torch.Tensor], device: str, repeats: int) -> float:
    """The best of `repeats` after a warm-up."""
    work()
    clock = time.perf_counter if device == "cuda" else time.process_time
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - start)
    return best


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--dtype", choices=DTYPES, default="fp32")
    arguments.add_argument("--rows", type=int, default=1024)
    arguments.add_argument("--width", type=int, default=768)
    arguments.add_argument("--vocabulary", type=int, default=50_257)
    arguments.add_argument("--repeats", type=int, default=3)
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make = partial(torch.randn, device=chosen.device)
    hidden = make(chosen.rows, chosen.width).to(DTYPES[chosen.dtype])
    classifier = (make(chosen.vocabulary, chosen.width) * 2 / chosen.width**0.5).to(DTYPES[chosen.dtype])
    target = torch.randint(0, chosen.vocabulary, (chosen.rows,), device=chosen.device)
    few = slice(0, 256)
    truth = cross_entropy(hidden[few].double() @ classifier.double().T, target[few], reduction="none")
    flops = 2 * chosen.rows * chosen.width * chosen.vocabulary
    first = 0.0
    for name, rows in peers(chosen.device):
        took = seconds(partial(rows, hidden, classifier, target), chosen.device, chosen.repeats)
        first = first or took
        error = float((rows(hidden, classifier, target)[few].double() - truth).abs().max())
        print(
            f"{name:22} {took * 1e3:9.1f} ms {flops / took / 1e12:8.3f} TFLOP/s  {first / took:5.2f} x stored logits"
            f"  error {error:.1e}{_memory(partial(rows, hidden, classifier, target), chosen.device)}"
        )


def _memory(work: Callable[[], torch.Tensor], device: str) -> str:
    if device != "cuda":
        return ""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return f"  peak {(torch.cuda.max_memory_allocated() - before) / 2**20:8.0f} MiB"


if __name__ == "__main__":
    main()
