"""Replaces the attention of a transformers model by one whose memory does not grow with the square of a window.

transformers asks for a mask once for all layers, and hands it to the attention of each. Here it gets a `BlockMask`,
which holds how the mask is made and makes the part for a few queries when they are computed. What a plain causal
model does is left to torch's fused attention, which needs no mask.

Shapes: B rows, H query heads, G key and value heads, L queries, S keys, E head size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch

from siftlm.scorers.lm_causal import FORWARD_ERRORS, PROBE_TOKENS, probe_ids
from siftlm_kernels.blocked_attention import SeenKeys, all_keys, block_queries, blocked_attention, causal

NAME = "siftlm_blocks"
SAME = 1e-4  # of the largest output, between a model and the same with attention in blocks
UNKNOWN = ("position_bias", "indices", "block_indices", "sinks")  # of some families, and not computed here
ATTENDS = ("num_attention_heads", "n_head", "n_heads", "num_heads")  # settings of a model with attention
log = logging.getLogger(__name__)
_calls = ContextVar("_calls", default=0)  # of `blocks_forward` in this thread


@dataclass(frozen=True)
class BlockMask:
    """Holds how transformers makes the mask of a batch.

    Attributes:
        arguments: Those of transformers' `sdpa_mask`, but for lengths and offsets.
        behind: How many keys before its own a query can see at most, None for all.
        ahead: How many keys after its own a query can see at most, None for all.
    """

    arguments: dict[str, Any]
    keys: int
    first_query: int
    first_key: int
    behind: int | None
    ahead: int | None

    @property
    def reach(self) -> int:
        """Returns how many keys a query can see at most."""
        if self.behind is None or self.ahead is None:
            return self.keys
        return min(self.keys, self.behind + self.ahead + 1)

    def sight(self, first: int, stop: int, _device: torch.device) -> SeenKeys:
        """Returns what some queries see, as a `Sight` of `blocked_attention` does."""
        from transformers.masking_utils import sdpa_mask

        shift = self.first_query - self.first_key
        begin = 0 if self.behind is None else max(0, shift + first - self.behind)
        end = self.keys if self.ahead is None else min(self.keys, shift + stop + self.ahead)
        shown = sdpa_mask(
            q_length=stop - first, kv_length=end - begin, q_offset=self.first_query + first,
            kv_offset=self.first_key + begin, allow_is_causal_skip=False, **self.arguments,
        )  # fmt: skip
        return SeenKeys(begin, end, None if shown is None else ~shown)


def block_mask(
    *,
    batch_size: int,
    q_length: int,
    kv_length: int,
    mask_function: Callable[..., Any],
    attention_mask: torch.Tensor | None = None,
    q_offset: int = 0,
    kv_offset: int = 0,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    allow_is_bidirectional_skip: bool = False,
    use_vmap: bool = False,
    device: torch.device | str = "cpu",
    **_: Any,
) -> BlockMask | None:
    """Returns the mask of a batch, None where `is_causal` of an attention function says all of it.

    That is so where all that it hides is what comes after a query, or where it hides nothing.
    `allow_is_causal_skip` is transformers' word that the mask is causal but for a window and padding, and
    `allow_is_bidirectional_skip` that it hides nothing else; any other mask is taken to reach over all keys.
    """
    padding = attention_mask if attention_mask is not None and not bool(attention_mask.all()) else None
    plain = (allow_is_causal_skip and q_length == kv_length) or allow_is_bidirectional_skip
    if plain and padding is None and (local_size is None or kv_length < local_size):
        return None
    ahead = 0 if allow_is_causal_skip else local_size if allow_is_bidirectional_skip else None
    behind = local_size if allow_is_causal_skip or allow_is_bidirectional_skip else None
    arguments = {"batch_size": batch_size, "mask_function": mask_function, "attention_mask": padding}
    return BlockMask(
        arguments | {"use_vmap": use_vmap, "device": device}, kv_length, int(q_offset), int(kv_offset), behind, ahead
    )


def blocks_forward(
    module: torch.nn.Module,
    query_BHLE: torch.Tensor,
    key_BGSE: torch.Tensor,
    value_BGSE: torch.Tensor,
    attention_mask: BlockMask | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    is_causal: bool | None = None,
    **named: Any,
) -> tuple[torch.Tensor, None]:
    """Returns the attention output `[B, L, H, E]`, as transformers' own attention functions do.

    Raises:
        ValueError: for a mask of another kind, or an argument of UNKNOWN, whose effect is not computed here.
    """
    _calls.set(_calls.get() + 1)
    unknown = [name for name in UNKNOWN if named.get(name) is not None]
    if unknown or not isinstance(attention_mask, BlockMask | None):
        raise ValueError(f"attention in blocks: must have no {unknown or 'mask of another kind'}")
    causally = attention_mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if attention_mask is None and softcap is None and s_aux is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query_BHLE, key_BGSE, value_BGSE, None, scaling=scaling, is_causal=causally
        )
        return attended
    sight = attention_mask.sight if attention_mask else causal if causally else all_keys(key_BGSE.shape[2])
    scale = query_BHLE.shape[-1] ** -0.5 if scaling is None else scaling
    reach = attention_mask.reach if attention_mask else key_BGSE.shape[2]
    queries = block_queries(query_BHLE.shape[0] * query_BHLE.shape[1] * reach)
    output_BHLE = blocked_attention(
        query_BHLE, key_BGSE, value_BGSE, sight, scale=scale, softcap=softcap, sinks_H=s_aux, queries=queries
    )
    return output_BHLE.transpose(1, 2), None


def use_blocked_attention(place: str, model: Any, positions: int | None, **named: Any) -> bool:
    """Makes a model attend in blocks, where it then gives what it gave before; tells whether it does.

    It is tried on a short text without and with padding, for which there is a mask. A model with attention that fails,
    because it has code of its own for it, stays as it was, and a warning at `place` says so.

    Args:
        positions: How many the model has, None for no limit.
        named: Further arguments of its forward.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, blocks_forward)
    AttentionMaskInterface.register(NAME, block_mask)
    length = max(2, min(PROBE_TOKENS, positions or PROBE_TOKENS))
    if model._can_set_attn_implementation() and _same_in_blocks(model, length, named):
        return True
    if any(hasattr(model.config, name) for name in ATTENDS):
        log.warning(
            "%s: %s attends by code of its own, whose memory may grow with the square of a window",
            place, model.config.model_type,
        )  # fmt: skip
    return False


def _same_in_blocks(model: Any, length: int, named: dict[str, Any]) -> bool:
    """Whether the model, which is left attending in blocks then, did so and gave the same."""
    given, calls, same = model.config._attn_implementation, _calls.get(), False
    try:
        before = _outputs(model, length, named)
        model.set_attn_implementation(NAME)
        difference = (_outputs(model, length, named) - before).abs().max()
        same = _calls.get() > calls and bool(difference <= SAME * before.abs().max())
    except FORWARD_ERRORS as error:
        log.debug("attention in blocks: %s", error)
    if not same:
        model.set_attn_implementation(given)
    return same


@torch.inference_mode()
def _outputs(model: Any, length: int, named: dict[str, Any]) -> torch.Tensor:
    """The outputs of a text of so many tokens, and of half of it that is padded on the right."""
    ids_1L = probe_ids(model, 1, length)
    whole_1L = torch.ones_like(ids_1L)
    padded_1L = whole_1L.clone()
    padded_1L[:, length // 2 :] = 0
    first, second = (model(ids_1L, attention_mask=mask, **named).logits.float() for mask in (whole_1L, padded_1L))
    if first.dim() == 3:  # of every token; what padding has is of no interest
        second = second[:, : length // 2]
    return torch.cat([first.flatten(), second.flatten()])
