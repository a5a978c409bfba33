"""Replaces parts of a transformers model so that it reads several documents in one row.

Attention stays within documents, and GELU is computed in the matrix product before it.
"""

from __future__ import annotations

from typing import Any

import torch

from siftlm_kernels.packed_attention import packed_attention

NAME = "siftlm_packed"
BF16_NAME = "siftlm_packed_bf16"
TANH_FORM = ("gelu_new", "gelu_pytorch_tanh")  # what the epilogue computes


def use_packed_attention(model: Any) -> None:
    """Makes the model attend only within documents, whose bounds the keyword argument `cu_seq_lens_q` gives.

    The mask function gives None: a mask over a whole row would be dense, and the offsets hold the same information.
    `BF16_NAME` stands for the same with states rounded to bfloat16, for a model whose states are float32.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    for name, forward in ((NAME, packed_forward), (BF16_NAME, rounded_forward)):
        AttentionInterface.register(name, forward)
        AttentionMaskInterface.register(name, lambda *_args, **_kwargs: None)
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


def rounded_forward(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *given: Any, **named: Any
) -> tuple[torch.Tensor, None]:
    """Returns `packed_forward` of states that are rounded to bfloat16, in bfloat16."""
    return packed_forward(module, query.bfloat16(), key.bfloat16(), value.bfloat16(), *given, **named)


class FusedMLP(torch.nn.Module):
    """Computes `GPT2MLP` with GELU inside the first matrix product, which saves a pass over memory.

    The output is equal up to rounding: GELU is taken before its input is rounded.
    """

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.c_fc, self.c_proj = mlp.c_fc, mlp.c_proj

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        rows = hidden_BTD.flatten(0, 1)
        inner = torch._addmm_activation(self.c_fc.bias, rows, self.c_fc.weight, use_gelu=True)
        output: torch.Tensor = self.c_proj(inner).view(hidden_BTD.shape)
        return output


def fuse_gelu(model: Any) -> None:
    """Replaces every `GPT2MLP` that uses the tanh form of GELU by a `FusedMLP`."""
    if getattr(model.config, "activation_function", None) not in TANH_FORM:
        return
    from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

    for block in list(model.modules()):
        if isinstance(mlp := getattr(block, "mlp", None), GPT2MLP):
            block.mlp = FusedMLP(mlp)
