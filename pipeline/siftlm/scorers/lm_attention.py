"""Registers packed attention as an attention implementation of transformers."""

from __future__ import annotations

from typing import Any

import torch

from siftlm_kernels.packed_attention import packed_attention

NAME = "siftlm_packed"


def use_packed_attention(model: Any) -> None:
    """Makes the model attend within the documents that the keyword argument `cu_seq_lens_q` delimits.

    The mask function gives None: a mask over a whole row would be dense, and the offsets say it all.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed_forward)
    AttentionMaskInterface.register(NAME, lambda *_args, **_kwargs: None)
    model.set_attn_implementation(NAME)


def packed_forward(
    _module: torch.nn.Module,
    query_1HTE: torch.Tensor,
    key_1GTE: torch.Tensor,
    value_1GTE: torch.Tensor,
    _attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    scaling: float | None = None,
    max_length_q: int | None = None,
    attention_blocks: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Returns the attention output `[1, T, H, E]` of a row of packed documents."""
    query, key, value = (states[0].transpose(0, 1) for states in (query_1HTE, key_1GTE, value_1GTE))
    attended = packed_attention(
        query, key, value, cu_seq_lens_q, scale=scaling, max_length=max_length_q, blocks=attention_blocks
    )
    return attended[None], None
