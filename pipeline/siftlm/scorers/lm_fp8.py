"""Runs the body of a model in 8-bit floats (e4m3) on CUDA; its head, norms and attention stay bfloat16.

Every row of a product's inputs has a scale of its own, and every output its weights' one, so a token's neighbours do
not change how it is rounded. The head is left alone: its rounding alone was 0.26 nats a token.

Shapes: R rows, K inputs, N outputs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import ScalingType, gelu, scaled_mm

from siftlm.errors import UserError
from siftlm.scorers.lm_attention import FusedMLP
from siftlm.scorers.lm_model import LanguageModel

CAPABILITY = (8, 9)  # the first with matrix units for 8-bit floats
FLOAT8 = torch.float8_e4m3fn
LARGEST = 448.0  # of FLOAT8
MULTIPLE = 16  # what inputs and outputs of a product must be multiples of


def check_fp8(place: str, device: torch.device) -> None:
    """Raises a UserError at `place` where the CUDA device has no units for 8-bit floats."""
    capability = torch.cuda.get_device_capability(device)
    if capability < CAPABILITY:
        raise UserError(
            f"{place}: must be a dtype that the device has units for, got fp8 on compute capability "
            f"{capability[0]}.{capability[1]}, below {CAPABILITY[0]}.{CAPABILITY[1]}; use bf16"
        )


def fp8_model(model: LanguageModel, compiled: bool) -> LanguageModel:
    """Returns the bfloat16 model with the products of its body in 8-bit floats; the given one is gone."""
    body = model.model.base_model
    for parent in list(body.modules()):
        for name, layer in list(parent.named_children()):
            if (rounded := _rounded_layer(layer)) is not None:
                setattr(parent, name, rounded)
    if compiled and model.device.type == "cuda":
        body = torch.compile(body, dynamic=False)
    return replace(model, body=body if model.packed else None, dtype="fp8")


def _rounded_layer(layer: torch.nn.Module) -> torch.nn.Module | None:
    """What stands for a layer, None for one that stays."""
    from transformers.pytorch_utils import Conv1D

    if type(layer) is FusedMLP:
        return Fp8MLP(layer)
    if type(layer) is torch.nn.Linear and _fits(layer.weight):
        return Fp8Linear(layer.weight, layer.bias)
    if type(layer) is Conv1D and _fits(layer.weight):
        return Fp8Linear(layer.weight.T, layer.bias)
    return None


def _fits(weight: torch.Tensor) -> bool:
    return all(size % MULTIPLE == 0 for size in weight.shape)


def scaled_rows(values_RK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns rows of FLOAT8 values, and the scales `[R, 1]` in float32 by which they are to be multiplied."""
    scales_R1 = values_RK.abs().amax(-1, keepdim=True).float().clamp_min(1e-12) / LARGEST
    return (values_RK.float() / scales_R1).to(FLOAT8), scales_R1


def scaled_product(
    rows_RK: torch.Tensor, row_scales_R1: torch.Tensor, weight_NK: torch.Tensor, scales_N1: torch.Tensor
) -> torch.Tensor:
    """Returns the product of scaled FLOAT8 matrices, bfloat16 `[R, N]`, equal to this up to rounding:

        (rows.float() * row_scales) @ (weight.float() * scales).T

    On a CPU it is computed so, for tests; on CUDA products add up in float32.
    """
    if not rows_RK.is_cuda:
        return ((rows_RK.float() * row_scales_R1) @ (weight_NK.float() * scales_N1).T).bfloat16()
    by_row = ScalingType.RowWise
    product: torch.Tensor = scaled_mm(
        rows_RK, weight_NK.T, row_scales_R1, by_row, scales_N1.T, by_row, output_dtype=torch.bfloat16
    )
    return product


class Fp8Linear(torch.nn.Module):
    """Computes a linear layer in 8-bit floats; `weight` is [outputs, inputs], as of `torch.nn.Linear`."""

    values: torch.Tensor
    scales: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        values_NK, scales_N1 = scaled_rows(weight.detach())
        self.register_buffer("values", values_NK.contiguous(), persistent=False)
        self.register_buffer("scales", scales_N1, persistent=False)
        self.bias = bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows_RK, scales_R1 = scaled_rows(inputs.flatten(0, -2))
        outputs_RN = scaled_product(rows_RK, scales_R1, self.values, self.scales)
        if self.bias is not None:
            outputs_RN = outputs_RN + self.bias
        return outputs_RN.view(*inputs.shape[:-1], -1)


class Fp8MLP(torch.nn.Module):
    """Computes `FusedMLP` in 8-bit floats; a compiler computes GELU where the next product's inputs are rounded."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.c_fc, self.c_proj = (Fp8Linear(layer.weight.T, layer.bias) for layer in (mlp.c_fc, mlp.c_proj))

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.c_proj(gelu(self.c_fc(hidden_BTD), approximate="tanh"))
        return output
