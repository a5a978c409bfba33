"""The head in one run: linear_nll beside stored logits, a compiled chunked product, and the heads of other libraries.

    python tests/bench/head.py [--device cpu] [--dtype fp32] [--rows 1024] [--width 768 2048] [--vocabulary 50257]

The libraries are cut-cross-entropy, liger-kernel (its general head, and `LigerFusedLinearScaledCrossEntropyFunction`,
its kernel for Hopper), quack-kernels, and torch's own `linear_cross_entropy`.

Prints seconds (CPU time on a CPU), TFLOP/s (2 * rows * width * vocabulary), peak memory beside the inputs where the
device says it, and the largest error against float64, for every width. Peers that are not installed, or that do not run
on this device, are left out with the reason.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import torch
from torch.nn.functional import cross_entropy

from siftlm_kernels.cpu_units import bfloat16_units
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
    if device == "cpu" and bfloat16_units():
        yield "linear_nll bfloat16", partial(linear_nll, impl="bfloat16")
    for name, peer in {
        "torch": of_torch, "cut-cross-entropy": of_apple, "liger-kernel": of_liger,
        "liger-kernel, scaled": of_liger_scaled, "quack-kernels": of_quack,
    }.items():  # fmt: skip
        try:
            yield name, peer()
        except (ImportError, AttributeError) as error:
            print(f"left out: {name}: {error}")


def of_torch() -> Rows:
    """The function of torch 2.13 and later."""
    from torch.nn.functional import linear_cross_entropy

    return partial(linear_cross_entropy, reduction="none")


def of_apple() -> Rows:
    """What cut-cross-entropy calls its only function."""
    from cut_cross_entropy import linear_cross_entropy

    return partial(linear_cross_entropy, reduction="none")


def of_liger() -> Rows:
    """The head that any device runs."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    return partial(liger_fused_linear_cross_entropy, reduction="none")


def of_liger_scaled() -> Rows:
    """The kernel for Hopper, which gives one value a row, alone or first of several."""
    from liger_kernel.ops import LigerFusedLinearScaledCrossEntropyFunction as Kernel

    def rows(hidden: torch.Tensor, classifier: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        given = Kernel.apply(hidden, classifier, target)
        nll: torch.Tensor = given[0] if isinstance(given, tuple) else given
        return nll

    return rows


def of_quack() -> Rows:
    """Its chunked forward pass, without what a backward pass needs."""
    from quack.linear_cross_entropy import chunked_linear_cross_entropy_fwd

    def rows(hidden: torch.Tensor, classifier: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nll: torch.Tensor = chunked_linear_cross_entropy_fwd(hidden, classifier, target, need_dx=False, need_dw=False)[
            0
        ]
        return nll

    return rows


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
    arguments.add_argument("--width", type=int, nargs="+", default=[768])
    arguments.add_argument("--vocabulary", type=int, default=50_257)
    arguments.add_argument("--repeats", type=int, default=3)
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{datetime.now(UTC):%Y-%m-%d} {chosen.device}, {chosen.dtype}, torch {torch.__version__}")
    for width in chosen.width:
        print(f"{chosen.rows} x {width} x {chosen.vocabulary}")
        compare(chosen, width)


def compare(chosen: argparse.Namespace, width: int) -> None:
    """All implementations on one problem; one that fails is named, and the others go on."""
    make = partial(torch.randn, device=chosen.device)
    hidden = make(chosen.rows, width).to(DTYPES[chosen.dtype])
    classifier = (make(chosen.vocabulary, width) * 2 / width**0.5).to(DTYPES[chosen.dtype])
    target = torch.randint(0, chosen.vocabulary, (chosen.rows,), device=chosen.device)
    few = slice(0, 256)
    truth = cross_entropy(hidden[few].double() @ classifier.double().T, target[few], reduction="none")
    flops = 2 * chosen.rows * width * chosen.vocabulary
    first = 0.0
    for name, rows in peers(chosen.device):
        try:
            took = seconds(partial(rows, hidden, classifier, target), chosen.device, chosen.repeats)
            with torch.inference_mode():
                error = float((rows(hidden, classifier, target)[few].double() - truth).abs().max())
        except Exception as problem:  # noqa: BLE001 - what another library raises is anything
            print(f"{name:22} left out: {type(problem).__name__}: {str(problem).splitlines()[0][:120]}")
            continue
        first = first or took
        print(
            f"{name:22} {took * 1e3:9.1f} ms {flops / took / 1e12:8.3f} TFLOP/s  {first / took:5.2f} x stored logits"
            f"  error {error:.1e}{_memory(partial(rows, hidden, classifier, target), chosen.device)}",
            flush=True,
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
