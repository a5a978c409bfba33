"""linear_nll against cross entropy over stored logits in float64, on odd shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from siftlm_kernels.cpu_units import bfloat16_units
from siftlm_kernels.linear_nll import linear_nll
from siftlm_kernels.linear_nll_reference import ROW_CHUNK, linear_token_ranks, linear_token_statistics

SHAPES = [(1, 1, 2), (3, 5, 7), (ROW_CHUNK, 16, 4096), (ROW_CHUNK + 1, 33, 4097), (2 * ROW_CHUNK + 77, 64, 9001)]


def problem(rows: int, width: int, vocabulary: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """hidden, classifier, target: logits of a spread of about 4 nats."""
    generator = torch.Generator().manual_seed(rows * 7919 + width)
    hidden = torch.randn(rows, width, generator=generator)
    classifier = torch.randn(vocabulary, width, generator=generator) * 4 / width**0.5
    target = torch.randint(0, vocabulary, (rows,), generator=generator)
    return hidden.to(dtype), classifier.to(dtype), target


def truth(hidden: torch.Tensor, classifier: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The naive expression in float64."""
    return functional.cross_entropy(hidden.double() @ classifier.double().T, target, reduction="none")


@pytest.mark.parametrize(("rows", "width", "vocabulary"), SHAPES)
def test_it_equals_cross_entropy_over_stored_logits(rows: int, width: int, vocabulary: int) -> None:
    """In float32, the error is that of a float32 cross entropy."""
    hidden, classifier, target = problem(rows, width, vocabulary)
    expected = truth(hidden, classifier, target)
    naive = functional.cross_entropy(hidden @ classifier.T, target, reduction="none").double()
    error = (linear_nll(hidden, classifier, target, impl="reference").double() - expected).abs().max()
    assert error <= (naive - expected).abs().max() + 5e-6


@pytest.mark.skipif(not bfloat16_units(), reason="the processor multiplies no bfloat16")
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("rows", "width", "vocabulary"), SHAPES)
def test_bfloat16_units_round_distances_to_the_target(rows: int, width: int, vocabulary: int, biased: bool) -> None:
    """The error is at most that of stored logits; of each row, 2^-8 of its nats and of what a bias adds."""
    hidden, classifier, target = problem(rows, width, vocabulary, torch.bfloat16)
    bias = torch.linspace(-1, 1, vocabulary) if biased else None
    logits = hidden.double() @ classifier.double().T + (0 if bias is None else bias.double())
    expected = functional.cross_entropy(logits, target, reduction="none")
    naive = functional.cross_entropy(logits.bfloat16().float(), target, reduction="none").double()
    error = (linear_nll(hidden, classifier, target, bias=bias, impl="bfloat16").double() - expected).abs()
    assert biased or error.max() <= (naive - expected).abs().max() + 1e-3
    assert bool((error <= 2**-8 * (expected + 2) + 1e-3).all())
    assert torch.equal(
        linear_nll(hidden, classifier, target, bias=bias),
        linear_nll(hidden, classifier, target, bias=bias, impl="bfloat16"),
    )


@pytest.mark.skipif(not bfloat16_units(), reason="the processor multiplies no bfloat16")
def test_bfloat16_units_lose_nothing_of_sure_tokens_and_of_large_logits() -> None:
    """Logits of 200 whose rounding would be off by half a nat; a row that overflows is computed in float32."""
    hidden, classifier = torch.eye(4).bfloat16() * 201, torch.eye(4).bfloat16()
    classifier[:, 0] += 0.995  # row 0: logits of 199 to 401 nats, all but equal for three tokens
    nll = linear_nll(hidden, classifier, torch.tensor([1, 1, 2, 3]), impl="bfloat16")
    truth = functional.cross_entropy(
        hidden.double() @ classifier.double().T, torch.tensor([1, 1, 2, 3]), reduction="none"
    )
    torch.testing.assert_close(nll.double(), truth, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "options", "units"),
    [(torch.bfloat16, {}, []), (torch.float32, {}, ["AMX"]), (torch.bfloat16, {"softcap": 5.0}, ["AMX"])],
)
def test_bfloat16_where_it_cannot_run_is_an_error(
    dtype: torch.dtype, options: dict[str, Any], units: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `auto` takes the reference there."""
    monkeypatch.setattr("siftlm_kernels.linear_nll_reference.bfloat16_units", lambda: units)
    hidden, classifier, target = problem(3, 5, 7, dtype)
    with pytest.raises(ValueError, match=r"^impl: bfloat16 needs bfloat16 tensors on a CPU with units for them"):
        linear_nll(hidden, classifier, target, impl="bfloat16", **options)
    expected = linear_nll(hidden, classifier, target, impl="reference", **options)
    assert torch.equal(linear_nll(hidden, classifier, target, **options), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "width", "vocabulary"), SHAPES)
def test_half_precision_inputs_lose_nothing_more(rows: int, width: int, vocabulary: int, dtype: torch.dtype) -> None:
    """The error is at most that of logits stored in the inputs' dtype, as transformers stores them."""
    hidden, classifier, target = problem(rows, width, vocabulary, dtype)
    expected = truth(hidden, classifier, target)
    naive = functional.cross_entropy((hidden @ classifier.T).float(), target, reduction="none").double()
    error = (linear_nll(hidden, classifier, target, impl="reference").double() - expected).abs().max()
    assert error <= (naive - expected).abs().max() + 5e-6


def test_bias_scale_soft_cap_and_padded_vocabulary_are_those_of_the_naive_expression() -> None:
    """All four at once."""
    hidden, classifier, target = problem(70, 24, 501)
    bias, target = torch.linspace(-1, 1, 501), target % 480
    logits = ((hidden @ classifier.T + bias) * 0.7)[:, :480]
    expected = functional.cross_entropy(5 * torch.tanh(logits / 5), target, reduction="none")
    actual = linear_nll(hidden, classifier, target, bias=bias, scale=0.7, softcap=5.0, vocab_size=480)
    torch.testing.assert_close(actual, expected, atol=2e-6, rtol=1e-6)


def test_rows_whose_plain_sum_overflows_are_exact() -> None:
    """A logit 88 nats above the target's overflows exp in float32; the row is computed with a maximum shift."""
    hidden, classifier, target = torch.eye(4) * 150, torch.eye(4), torch.tensor([1, 1, 2, 3])
    actual = linear_nll(hidden, classifier, target)
    torch.testing.assert_close(actual, truth(hidden, classifier, target).float())
    assert actual[0] == 150.0


def test_a_sure_token_costs_nothing_and_never_less() -> None:
    """Rounding does not give negative nats."""
    hidden, classifier, _ = problem(200, 48, 300)
    assert (linear_nll(40 * hidden, classifier, (hidden @ classifier.T).argmax(-1)) >= 0).all()


def test_ignored_rows_are_zero() -> None:
    """As in torch's cross entropy without reduction."""
    hidden, classifier, target = problem(5, 8, 11)
    target[[1, 4]] = -100
    actual = linear_nll(hidden, classifier, target)
    expected = functional.cross_entropy(hidden @ classifier.T, target, reduction="none")
    torch.testing.assert_close(actual, expected, atol=2e-6, rtol=1e-6)


def test_no_rows_give_no_nats() -> None:
    """An empty batch is no special case for the caller."""
    assert linear_nll(torch.zeros(0, 8), torch.zeros(11, 8), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_a_row_has_the_same_bits_among_any_rows() -> None:
    """Batch invariance: alone, first, last and in the middle."""
    hidden, classifier, target = problem(600, 40, 5000)
    together = linear_nll(hidden, classifier, target)
    for rows in ([0], [599], [3, 599, 41], list(range(599, -1, -1))):
        assert torch.equal(linear_nll(hidden[rows], classifier, target[rows]), together[rows])


def test_not_finite_inputs_are_not_hidden() -> None:
    """NaN comes out as NaN in its own row only."""
    hidden, classifier, target = problem(4, 8, 11)
    hidden[2, 3] = float("nan")
    assert linear_nll(hidden, classifier, target).isnan().tolist() == [False, False, True, False]


def test_memory_stays_far_below_the_logits() -> None:
    """Peak allocations, by torch's own profiler, under a tenth of the naive logits."""
    hidden, classifier, target = problem(4096, 8, 16384)
    with torch.profiler.profile(profile_memory=True) as profiled:
        linear_nll(hidden, classifier, target)
    largest = max(event.self_cpu_memory_usage for event in profiled.events())
    assert largest < 4096 * 16384 * 4 / 10


def test_statistics_are_those_of_the_softmax() -> None:
    """Entropy and EL2N by their definitions, and the nats bit for bit."""
    hidden, classifier, target = problem(300, 24, 4500)
    p = (hidden.double() @ classifier.double().T).softmax(-1)
    columns = linear_token_statistics(hidden, classifier, target)
    assert torch.equal(columns.nll, linear_nll(hidden, classifier, target, impl="reference"))
    torch.testing.assert_close(columns.entropy.double(), torch.special.entr(p).sum(-1), atol=1e-4, rtol=0)
    expected = (p - functional.one_hot(target, 4500)).norm(dim=-1)
    torch.testing.assert_close(columns.el2n.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ranks_are_those_of_the_softmax(dtype: torch.dtype) -> None:
    """Highest log-probability, share that is at most as probable, mass that is at least: the target in both."""
    hidden, classifier, target = problem(300, 24, 4500)
    hidden, classifier = hidden.to(dtype), classifier.to(dtype)
    target[:50] = (hidden[:50].double() @ classifier.double().T).argmax(-1)  # sure ones, whose quantile is 1
    found = linear_token_ranks(hidden, classifier, target, linear_nll(hidden, classifier, target, impl="reference"))
    p = (hidden.double() @ classifier.double().T).softmax(-1)
    own = p.gather(1, target[:, None])
    torch.testing.assert_close(
        found.max_log_p.double(), p.max(-1).values.log(), atol=1e-2 if dtype != torch.float32 else 1e-5, rtol=0
    )
    few = 2 / 4500 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found.quantile.double(), (p <= own).double().mean(-1), atol=few, rtol=0)
    torch.testing.assert_close(
        found.top_p.double(), (p * (p >= own)).sum(-1), atol=1e-3 if dtype == torch.float32 else 2e-2, rtol=0
    )
    if dtype == torch.float32:
        assert found.quantile[:50].eq(1).all()
        torch.testing.assert_close(found.top_p[:50].double(), own[:50, 0], atol=1e-5, rtol=0)


def test_equal_logits_have_the_whole_mass() -> None:
    """Of a uniform prediction every token is the most probable and the least; a vocabulary of one is sure."""
    for size in (1, 5, 5000):
        zeros = torch.zeros(3, 4), torch.zeros(size, 4)
        target = torch.tensor([0, size - 1, size // 2])
        found = linear_token_ranks(*zeros, target, linear_nll(*zeros, target))
        torch.testing.assert_close(found.quantile, torch.ones(3))
        torch.testing.assert_close(found.top_p, torch.ones(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.max_log_p, torch.full((3,), -float(np.log(size))), atol=1e-5, rtol=0)


def test_statistics_keep_the_nats_that_they_are_given() -> None:
    """Bit for bit, so that a score has the same nats with them as without; the rest follows from these nats."""
    hidden, classifier, target = problem(300, 24, 4500)
    own = linear_token_statistics(hidden, classifier, target)
    given = linear_token_statistics(hidden, classifier, target, nll_R=own.nll + 1e-6)
    assert torch.equal(given.nll, own.nll + 1e-6)
    torch.testing.assert_close(given.entropy, own.entropy, atol=1e-4, rtol=0)
    torch.testing.assert_close(given.el2n, own.el2n, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("hidden", "classifier", "target", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(5, 4), torch.zeros(2, dtype=torch.int64), "must share D"),
        (torch.zeros(2, 3), torch.zeros(5, 3).half(), torch.zeros(2, dtype=torch.int64), "must share a dtype"),
        (torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(3, dtype=torch.int64), r"must be \[R\]"),
        (torch.zeros(2, 3), torch.zeros(5, 3), torch.tensor([0, 5]), "must be in 0..4, got 5"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    hidden: torch.Tensor, classifier: torch.Tensor, target: torch.Tensor, message: str
) -> None:
    """A ValueError with both shapes, not a crash in a product."""
    with pytest.raises(ValueError, match=message):
        linear_nll(hidden, classifier, target)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("impl", ["triton", "reference"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("rows", "width", "vocabulary"), [(1, 64, 300), (1000, 768, 50_257), (777, 70, 8_200)])
def test_on_the_device_it_loses_no_more_than_stored_logits(
    rows: int, width: int, vocabulary: int, dtype: torch.dtype, impl: Any
) -> None:
    """Error against float64 <= that of the naive expression in the inputs' dtype + 5e-6; the same bits among others."""
    hidden, classifier, target = (x.cuda() for x in problem(rows, width, vocabulary, dtype))
    naive = functional.cross_entropy((hidden @ classifier.T).float(), target, reduction="none").double()
    expected = functional.cross_entropy(hidden.double() @ classifier.double().T, target, reduction="none")
    nats = linear_nll(hidden, classifier, target, impl=impl)
    assert (nats.double() - expected).abs().max() <= (naive - expected).abs().max() + 5e-6
    if impl == "triton":  # the reference's bits are those of the matrix library, which may split a product by place
        some = slice(rows // 3, None)
        assert torch.equal(linear_nll(hidden[some], classifier, target[some], impl=impl), nats[some])
    options = {"bias": torch.linspace(-1, 1, vocabulary).cuda(), "scale": 0.7, "softcap": 5.0, "vocab_size": 290}
    target = target % 290
    target[0] = -100
    fused = linear_nll(hidden, classifier, target, impl=impl, **options)  # type: ignore[arg-type]
    plain = linear_nll(hidden.cpu().float(), classifier.cpu().float(), target.cpu(), **_on_cpu(options))
    torch.testing.assert_close(fused.cpu(), plain, atol=2e-5, rtol=0)
    over = linear_nll(
        torch.eye(16, device="cuda", dtype=dtype) * 150, torch.eye(16, device="cuda", dtype=dtype),
        torch.arange(16, device="cuda").roll(1), impl=impl,
    )  # fmt: skip
    torch.testing.assert_close(over.cpu(), torch.full((16,), 150.0))


def _on_cpu(options: dict[str, Any]) -> dict[str, Any]:
    return {name: option.cpu() if isinstance(option, torch.Tensor) else option for name, option in options.items()}
