"""The fused kernel in Triton's interpreter, against float64 truth; in a process of its own, which interprets."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

if INTERPRETED:
    from torch.nn import functional

    from siftlm_kernels.linear_nll import linear_nll

    DTYPES = [torch.float32, torch.bfloat16, torch.float16]
else:
    DTYPES = []

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in the interpreting process")


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="starts the interpreting process")
def test_the_fused_kernel_passes_in_the_interpreter(interpret: Callable[[str], None]) -> None:
    """All tests below, in a process of their own."""
    interpret(__file__)


def problem(rows: int, width: int, vocabulary: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """hidden, classifier, target."""
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, width, generator=generator)
    classifier = torch.randn(vocabulary, width, generator=generator) * 4 / width**0.5
    return hidden.to(dtype), classifier.to(dtype), torch.randint(0, vocabulary, (rows,), generator=generator)


@interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "width", "vocabulary"), [(1, 1, 2), (3, 70, 300), (130, 33, 257), (5, 16, 8200)])
def test_odd_shapes_lose_no_more_than_stored_logits(rows: int, width: int, vocabulary: int, dtype: torch.dtype) -> None:
    """Error against float64 <= that of the naive expression in the inputs' dtype + 5e-6."""
    hidden, classifier, target = problem(rows, width, vocabulary, dtype)
    truth = functional.cross_entropy(hidden.double() @ classifier.double().T, target, reduction="none")
    naive = functional.cross_entropy((hidden @ classifier.T).float(), target, reduction="none").double()
    error = (linear_nll(hidden, classifier, target, impl="triton").double() - truth).abs().max()
    assert error <= (naive - truth).abs().max() + 5e-6


@interpreted
def test_options_and_ignored_rows_are_those_of_the_reference() -> None:
    """Bias, scale, soft cap, padded vocabulary, ignored rows."""
    hidden, classifier, target = problem(9, 40, 400, torch.float32)
    options = {"bias": torch.linspace(-1, 1, 400), "scale": 0.7, "softcap": 5.0, "vocab_size": 390}
    target = target % 390
    target[4] = -100
    fused = linear_nll(hidden, classifier, target, impl="triton", **options)
    torch.testing.assert_close(
        fused, linear_nll(hidden, classifier, target, impl="reference", **options), atol=5e-6, rtol=0
    )


@interpreted
def test_rows_that_overflow_are_computed_again() -> None:
    """A logit 150 nats above the target's."""
    fused = linear_nll(torch.eye(4) * 150, torch.eye(4), torch.tensor([1, 1, 2, 3]), impl="triton")
    torch.testing.assert_close(fused, torch.tensor([150.0, 0.0, 0.0, 0.0]), atol=1e-5, rtol=0)


@interpreted
def test_a_row_has_the_same_bits_among_any_rows() -> None:
    """Splits follow from the vocabulary, tiles from constants."""
    hidden, classifier, target = problem(200, 24, 300, torch.float32)
    together = linear_nll(hidden, classifier, target, impl="triton")
    rows = [150, 3, 199]
    assert torch.equal(linear_nll(hidden[rows], classifier, target[rows], impl="triton"), together[rows])


@interpreted
def test_no_rows_give_no_nats() -> None:
    """Nothing is launched."""
    nothing = torch.zeros(0, dtype=torch.int64)
    assert linear_nll(torch.zeros(0, 8), torch.zeros(11, 8), nothing, impl="triton").shape == (0,)


@needs_triton
def test_steps_fit_the_shared_memory_of_a_device() -> None:
    """An H200 or B200, an A100, an RTX card, a T4."""
    from siftlm_kernels.linear_nll_triton import stages

    assert [stages(kib << 10, 128 + 256) for kib in (227, 163, 99, 64)] == [4, 3, 2, 1]


@needs_triton
@pytest.mark.parametrize(
    ("capability", "kib", "value", "expected"),
    [
        ((9, 0), 227, 2, (True, 128, 256, 64, 4)),  # H200
        ((12, 0), 99, 2, (True, 128, 256, 64, 2)),  # RTX 5090
        ((8, 9), 99, 2, (False, 128, 128, 64, 3)),  # L4
        ((8, 0), 163, 2, (False, 128, 128, 64, 4)),  # A100
        ((8, 6), 99, 4, (False, 64, 64, 32, 4)),  # A10, float32
    ],
)
def test_a_tiling_follows_from_the_device(
    capability: tuple[int, int], kib: int, value: int, expected: tuple[object, ...]
) -> None:
    """By its compute capability and shared memory; the inputs of all stages fit."""
    from siftlm_kernels.linear_nll_triton import tiling

    chosen = tiling(capability, kib << 10, value)
    assert (chosen.bulk, chosen.rows, chosen.tokens, chosen.step, chosen.stages) == expected
    assert chosen.stages * (chosen.rows + chosen.tokens) * chosen.step * value <= kib << 10


@needs_triton
@pytest.mark.parametrize(("capability", "triton"), [((7, 5), False), ((8, 0), True), ((8, 9), True), ((9, 0), True)])
def test_auto_follows_the_capability(
    capability: tuple[int, int], triton: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A T4 has no matrix units for bfloat16 and takes the reference."""
    from siftlm_kernels import linear_nll as module

    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device=None: capability)
    hidden = SimpleNamespace(is_cuda=True, dtype=torch.bfloat16, device="cuda:0")
    assert module._triton_is_fast(hidden) is triton  # type: ignore[arg-type]


@pytest.fixture
def like_an_l4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter stands for a device of compute capability 8.9."""
    from siftlm_kernels import linear_nll_triton as module

    monkeypatch.setattr(module, "device_tiling", lambda hidden: module.tiling((8, 9), 99 << 10, hidden.element_size()))
    monkeypatch.setattr(module, "_split_sums", None)


@interpreted
@pytest.mark.usefixtures("like_an_l4")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "width", "vocabulary"), [(1, 1, 2), (3, 70, 300), (130, 64, 257), (5, 16, 8200)])
def test_tiles_by_pointers_lose_no_more_either(rows: int, width: int, vocabulary: int, dtype: torch.dtype) -> None:
    """The kernel of compute capability 8.x, on widths that fill their steps and that do not."""
    hidden, classifier, target = problem(rows, width, vocabulary, dtype)
    truth = functional.cross_entropy(hidden.double() @ classifier.double().T, target, reduction="none")
    naive = functional.cross_entropy((hidden @ classifier.T).float(), target, reduction="none").double()
    error = (linear_nll(hidden, classifier, target, impl="triton").double() - truth).abs().max()
    assert error <= (naive - truth).abs().max() + 5e-6


@interpreted
@pytest.mark.usefixtures("like_an_l4")
def test_tiles_by_pointers_have_all_options() -> None:
    """Those of the reference, and the same bits of a row among any rows."""
    test_options_and_ignored_rows_are_those_of_the_reference()
    test_rows_that_overflow_are_computed_again()
    test_a_row_has_the_same_bits_among_any_rows()
    test_no_rows_give_no_nats()
