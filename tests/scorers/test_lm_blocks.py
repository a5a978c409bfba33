"""Attention in blocks is transformers' own eager attention in every family, and what it cannot do stays as it was."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import transformers.masking_utils as masks
from tests.families import CAUSAL, PADDED, SIZE
from tests.models import random_model

from siftlm.scorers.lm_blocks import NAME, BlockMask, block_mask, blocks_forward, use_blocked_attention
from siftlm_kernels import blocked_attention

OWN_CODE = ("mpt", "bloom", "mamba")  # attention, or none, that transformers' interface does not reach
LENGTH = 64
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_attention, "SCORES", 1)


def model_of(family: str) -> Any:
    config, arguments, _ = CAUSAL[family]
    model = random_model(config, vocab_size=SIZE, scale=6.0, **{**PADDED, **arguments})
    return model.eval()


def nats(model: Any, ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
    """Nats of the tokens that follow one of the text."""
    with torch.inference_mode():
        logits = model(ids_BL, attention_mask=mask_BL, use_cache=False).logits[:, :-1].double()
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids_BL[:, 1:], reduction="none")
    return each[(mask_BL[:, :-1] & mask_BL[:, 1:]).bool()]


def batches() -> dict[str, torch.Tensor]:
    """Masks of three texts of 64, 37 and 3 tokens."""
    whole = torch.ones(3, LENGTH, dtype=torch.int64)
    left, right = whole.clone(), whole.clone()
    for row, length in enumerate((LENGTH, 37, 3)):
        left[row, : LENGTH - length] = 0
        right[row, length:] = 0
    return {"none": whole, "left": left, "right": right}


@pytest.mark.parametrize("family", [family for family in CAUSAL if not family.startswith(OWN_CODE)])
def test_every_token_has_the_nats_of_eager_attention(family: str) -> None:
    """In float32, texts of several windows and of very different lengths, padded on either side."""
    model = model_of(family)
    length = min(LENGTH, CAUSAL[family][2])
    ids = torch.randint(6, SIZE, (3, length), generator=torch.Generator().manual_seed(3))
    model.set_attn_implementation("eager")
    expected = {side: nats(model, ids, mask[:, :length]) for side, mask in batches().items()}
    if not use_blocked_attention("place", model, length, use_cache=False) and family == "gptj":
        pytest.skip("transformers has had code of its own for it until lately")
    assert model.config._attn_implementation == NAME
    for side, mask in batches().items():
        torch.testing.assert_close(nats(model, ids, mask[:, :length]), expected[side], atol=1e-4, rtol=0)
    assert expected["none"].std() > 0.05


@pytest.mark.parametrize("family", [family for family in CAUSAL if family.startswith(OWN_CODE)])
def test_a_family_with_code_of_its_own_stays_as_it_was_and_says_so(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and not where there is no attention at all."""
    model = model_of(family)
    given = model.config._attn_implementation
    with caplog.at_level(logging.WARNING):
        assert not use_blocked_attention("place", model, LENGTH, use_cache=False)
    assert model.config._attn_implementation == given
    kind = model.config.model_type
    said = f"place: {kind} attends by code of its own, whose memory may grow with the square of a window"
    found = [record.message for record in caplog.records if record.name.startswith("siftlm")]
    assert found == ([] if kind == "mamba" else [said])


def test_a_model_whose_own_code_looks_into_the_mask_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no mask to look into; that shows while it loads, not in the middle of a run."""
    from transformers.models.qwen2 import modeling_qwen2

    model, own = model_of("qwen2"), modeling_qwen2.Qwen2Attention.forward

    def curious(self: Any, hidden: Any, embedded: Any, attention_mask: Any = None, *rest: Any, **named: Any) -> Any:
        if attention_mask is not None:
            attention_mask = attention_mask[..., : hidden.shape[1]]
        return own(self, hidden, embedded, attention_mask, *rest, **named)

    monkeypatch.setattr(modeling_qwen2.Qwen2Attention, "forward", curious)
    assert not use_blocked_attention("place", model, LENGTH, use_cache=False)
    assert model.config._attn_implementation == "sdpa"


def test_plain_causal_attention_keeps_its_bits() -> None:
    """torch's fused attention needs no mask, and no memory for one."""
    model = model_of("qwen2")
    ids = torch.randint(6, SIZE, (2, 40), generator=torch.Generator().manual_seed(3))
    before = nats(model, ids, torch.ones_like(ids))
    assert use_blocked_attention("place", model, LENGTH, use_cache=False)
    assert torch.equal(nats(model, ids, torch.ones_like(ids)), before)


LEFT = torch.tensor([[0, 0, 0] + [1] * 27, [1] * 30])
MASKS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "a sliding window": (masks.sliding_window_causal_mask_function(5), {"local_size": 5}, 11),
    "chunks": (masks.chunked_causal_mask_function(6, torch.tensor([3, 0])), {"local_size": 6}, 12),
    "no window": (masks.causal_mask_function, {}, 30),
    "a window on both sides": (
        masks.sliding_window_bidirectional_mask_function(4),
        {"local_size": 4, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": True},
        14,
    ),
    "words about which nothing is known": (
        masks.or_masks(masks.sliding_window_causal_mask_function(3), lambda _b, _h, _q, k: k < 2),
        {"local_size": 3, "allow_is_causal_skip": False, "use_vmap": True},
        30,
    ),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("padding", [None, LEFT, LEFT.flip(1)], ids=["none", "left", "right"])
def test_slices_of_a_mask_are_those_of_the_whole(kind: str, padding: torch.Tensor | None) -> None:
    """Of transformers' own mask, all that it shows and nothing else; of a window no key is read that lies outside."""
    function, named, reach = MASKS[kind]
    given = {"batch_size": 2, "q_length": 30, "kv_length": 30, "mask_function": function, **named}
    given["attention_mask"] = None if padding is None else padding.bool()
    whole = masks.sdpa_mask(**{**given, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})
    mask = block_mask(**given)
    if kind == "no window" and padding is None:
        assert mask is None
        return
    assert isinstance(mask, BlockMask)
    for first in range(0, 30, 6):
        seen = mask.sight(first, first + 6, CPU)
        found = torch.zeros(2, 1, 6, 30, dtype=torch.bool)
        assert seen.hidden is not None
        found[..., seen.begin : seen.end] = ~seen.hidden
        assert torch.equal(found, whole[:, :, first : first + 6])
        assert seen.end - seen.begin <= reach


@pytest.mark.parametrize("name", ["position_bias", "indices", "block_indices", "sinks"])
def test_an_argument_that_blocks_know_nothing_of_is_refused(name: str) -> None:
    """While a model is tried, which then stays as it was."""
    states = torch.randn(1, 2, 4, 8)
    with pytest.raises(ValueError, match=name):
        blocks_forward(torch.nn.Identity(), states, states, states, None, **{name: states})
    with pytest.raises(ValueError, match="another kind"):
        blocks_forward(torch.nn.Identity(), states, states, states, torch.zeros(1, 1, 4, 4))  # type: ignore[arg-type]
