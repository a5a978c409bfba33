"""Fuses GELU into the first product of GPT-2's feed-forward layer, which saves a pass over memory."""

from __future__ import annotations

from typing import Any

import torch

TANH_FORM = ("gelu_new", "gelu_pytorch_tanh")  # what the epilogue computes


class FusedMLP(torch.nn.Module):
    """`GPT2MLP` in evaluation mode, equal to it up to rounding: the GELU is taken before its input is rounded."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.c_fc, self.c_proj = mlp.c_fc, mlp.c_proj

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        """Returns `[B, T, D]`, as it takes."""
        rows = hidden_BTD.flatten(0, 1)
        inner = torch._addmm_activation(self.c_fc.bias, rows, self.c_fc.weight, use_gelu=True)
        output: torch.Tensor = self.c_proj(inner).view(hidden_BTD.shape)
        return output


def fuse_gelu(model: Any) -> None:
    """Puts a `FusedMLP` in the place of every `GPT2MLP` with the tanh form of GELU."""
    if getattr(model.config, "activation_function", None) not in TANH_FORM:
        return
    from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

    for block in list(model.modules()):
        if isinstance(mlp := getattr(block, "mlp", None), GPT2MLP):
            block.mlp = FusedMLP(mlp)
