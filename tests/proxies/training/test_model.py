"""The plain models compute what transformers' modules compute, and the head what cross-entropy and autograd do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.proxies.training.toys import shape, tokenizer
from transformers import AutoModelForCausalLM

from siftlm.proxies.training import head, model
from siftlm.proxies.training.export import save_model
from siftlm.proxies.training.weights import FlatWeights

CPU = torch.device("cpu")
SHAPES = [
    {"shape": "gpt2"}, {"shape": "llama"}, {"shape": "gpt2", "layers": 1, "width": 24, "heads": 1},
    {"shape": "llama", "layers": 3, "width": 40, "heads": 5, "context_tokens": 17},
]  # fmt: skip


def drawn(**changes: Any) -> tuple[Any, FlatWeights, torch.Tensor]:
    """A shape, weights that are all off their start, and tokens of three windows."""
    made = shape(**changes)
    weights = FlatWeights(made, tokenizer().vocabulary, 3, CPU)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        weights.flat.add_(torch.randn(weights.flat.shape, generator=generator), alpha=0.1)
    tokens = torch.randint(0, tokenizer().vocabulary, (3, made.context_tokens), generator=generator)
    return made, weights, tokens


@pytest.mark.parametrize("changes", SHAPES)
def test_transformers_gives_the_same_logits(tmp_path: Path, changes: dict[str, Any]) -> None:
    """To 1e-5 of their size, from the saved folder, which has no weight too many or too few."""
    made, weights, tokens = drawn(**changes)
    save_model(tmp_path, made, weights.by_name, tokenizer())
    theirs, told = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True, dtype=torch.float32)
    assert not any(told[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    states = model.hidden_states(made, weights.by_name, tokens)
    ours = states @ model.embedding(made, weights.by_name).T
    expected = theirs.eval()(input_ids=tokens).logits
    assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_weights_begin_as_transformers_has_them(tmp_path: Path, name: Any) -> None:
    """Mean and deviation of every matrix, and ones and zeros elsewhere, as a new model of transformers has."""
    made = shape(shape=name, width=64, heads=4)
    weights = FlatWeights(made, tokenizer().vocabulary, 0, CPU)
    save_model(tmp_path, made, weights.by_name, tokenizer())
    ours = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    torch.manual_seed(0)
    theirs = type(ours)(ours.config).state_dict()
    for key, part in ours.state_dict().items():
        tolerance = 0.1 * float(theirs[key].std()) if part.dim() >= 2 else 0.0
        assert abs(float(part.std() - theirs[key].std())) <= tolerance, key
        assert abs(float(part.mean() - theirs[key].mean())) <= tolerance, key


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_document_mask_hides_what_came_before(name: Any) -> None:
    """A document's states do not change with the documents before it in its window, and do without the mask."""
    made, weights, tokens = drawn(shape=name)
    documents = torch.zeros_like(tokens)
    documents[:, 7:] = 1
    other = tokens.clone()
    other[:, :7] = tokens.flip(1)[:, :7]
    one, two = (model.hidden_states(made, weights.by_name, of, documents)[:, 7:] for of in (tokens, other))
    assert torch.equal(one, two)
    assert not torch.equal(*(model.hidden_states(made, weights.by_name, of)[:, 7:] for of in (tokens, other)))


def test_a_mask_of_one_document_changes_nothing() -> None:
    """The masked and the plain form of attention agree."""
    made, weights, tokens = drawn()
    plain = model.hidden_states(made, weights.by_name, tokens)
    masked = model.hidden_states(made, weights.by_name, tokens, torch.ones_like(tokens))
    assert torch.allclose(plain, masked, atol=1e-5)


@pytest.mark.parametrize(("tokens", "vocabulary"), [(1, 2), (300, 311), (700, 3000)])
def test_the_head_gives_the_loss_and_gradients_of_cross_entropy(tokens: int, vocabulary: int) -> None:
    """Within float32 of autograd in float64, with a factor for each token, over several chunks."""
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn((tokens, 8), generator=generator, requires_grad=True)
    weight = torch.randn((vocabulary, 8), generator=generator, requires_grad=True)
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
    factors = torch.rand(tokens, generator=generator)
    total, nats = head.weighed_nats(hidden, weight, targets, factors)
    slopes = torch.autograd.grad(total * 2, (hidden, weight))
    exact = [part.detach().double().requires_grad_() for part in (hidden, weight)]
    truth = torch.nn.functional.cross_entropy(exact[0] @ exact[1].T, targets, reduction="none")
    expected = torch.autograd.grad((truth * factors).sum() * 2, exact)
    assert torch.allclose(nats.double(), truth, rtol=1e-5, atol=1e-5)
    assert torch.allclose(head.token_nats(hidden, weight, targets).double(), truth, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(slopes, expected, strict=True):
        assert torch.allclose(ours.double(), theirs, rtol=1e-4, atol=1e-5)


def test_a_token_that_is_all_but_impossible_has_a_finite_loss() -> None:
    """At most 86 nats in training; exactly what it is where a model is measured."""
    hidden, weight = torch.tensor([[200.0]]), torch.tensor([[1.0], [-1.0]])
    assert 80 < head.weighed_nats(hidden, weight, torch.tensor([1]), torch.ones(1))[1].item() < 90
    assert head.token_nats(hidden, weight, torch.tensor([1])).item() == pytest.approx(400.0)
