"""Runs a model in bfloat16 on a CPU that has matrix units for it.

Only what matrix products read is rounded: their inputs, and the weights once. What a model adds up from layer to layer
stays float32, as do norms, rotary positions and softmax. A model that is bfloat16 throughout is as fast, and its means
are off by 0.03 nats where these are off by 0.005 (SmolLM2-135M).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import linear

from siftlm.errors import UserError, reason_of
from siftlm.scorers.lm_attention import BF16_NAME, TANH_FORM
from siftlm.scorers.lm_causal import FORWARD_ERRORS
from siftlm.scorers.lm_head import PartedHead
from siftlm.scorers.lm_model import LanguageModel
from siftlm_kernels.cpu_units import BFLOAT16_UNITS, bfloat16_units


def check_cpu_dtype(place: str, dtype: str, others: Sequence[str] = ("fp32", "int8")) -> None:
    """Raises a UserError at `place` where this machine's CPU is not made for half precision of this name.

    A CPU without the instructions converts to float32 and back: right, but slower than float32. `others` are the
    precisions that any CPU has.
    """
    if dtype not in ("auto", "bf16", *others):
        raise UserError(f"{place}: must be {', '.join(others)} or bf16 on a CPU, got {dtype}")
    if dtype == "bf16" and not bfloat16_units():
        raise UserError(
            f"{place}: must be a dtype that this CPU has instructions for, got bf16 without "
            f"{' or '.join(BFLOAT16_UNITS.values())}; use {' or '.join(others)}"
        )


@dataclass
class Bf16Model(LanguageModel):
    """Runs a model whose matrix products are bfloat16; `states` are, for the head's product."""

    def states(
        self, tokens: NDArray[np.int64], positions: NDArray[np.int64], offsets: NDArray[np.int32], longest: int
    ) -> torch.Tensor:
        return super().states(tokens, positions, offsets, longest).bfloat16()


def bf16_model(place: str, model: LanguageModel) -> Bf16Model:
    """Returns the model with products in bfloat16; the float32 one, whose weights it takes over, is gone.

    Raises:
        UserError: at `place`, for an architecture that does not run so.
    """
    head = model.model.get_output_embeddings()
    round_products(model.model, but=head)
    if type(head) is torch.nn.Linear:
        model.model.set_output_embeddings(Bf16Head(head.weight, head.bias))
    if model.packed:
        model.model.set_attn_implementation(BF16_NAME)
    else:
        _try(place, model)
    parts = PartedHead.of(model.model) if model.parts else None
    return Bf16Model(model.model, model.body, model.device, "bf16", model.context, model.model_type, parts)


def round_products(model: torch.nn.Module, but: torch.nn.Module | None = None) -> None:
    """Replaces every linear layer of a model by one in bfloat16, and GPT-2's perceptrons by fused ones."""
    from transformers.models.gpt2.modeling_gpt2 import GPT2MLP
    from transformers.pytorch_utils import Conv1D

    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is torch.nn.Linear and layer is not but:
                setattr(parent, name, Bf16Linear(layer.weight, layer.bias))
            elif type(layer) is Conv1D:
                setattr(parent, name, Bf16Linear(layer.weight.T, layer.bias))
            elif type(layer) is GPT2MLP and model_activation(model) in TANH_FORM:
                setattr(parent, name, Bf16MLP(layer))


@torch.inference_mode()
def _try(place: str, model: LanguageModel) -> None:
    """Two tokens through the model, whose own code may take weights from layers that are no longer there."""
    ids_BL = torch.zeros((1, 2), dtype=torch.int64)
    try:
        model.logits(ids_BL, torch.tensor([2]))
    except FORWARD_ERRORS as error:
        raise UserError(
            f"{place}: must be a dtype of this architecture, got bf16 for {model.model_type}; {reason_of(error)}"
        ) from error


def model_activation(model: Any) -> str | None:
    """Returns the name of GPT-2's activation, None of other models."""
    return getattr(model.config, "activation_function", None)


class Bf16Linear(torch.nn.Module):
    """Computes a linear layer on inputs rounded to bfloat16, with sums in float32, and gives float32.

    `weight` is [outputs, inputs], as of `torch.nn.Linear`.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.weight = _rounded(weight)
        self.bias = None if bias is None else _rounded(bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return linear(inputs.bfloat16(), self.weight, self.bias).float()


class Bf16Head(Bf16Linear):
    """Computes logits, of which not even the last bits of bfloat16 are lost.

    A second product computes what rounding has cut off from the first, since its sums begin with minus the first.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.bfloat16().flatten(0, -2)
        first = rows @ self.weight.T
        logits = first.float() + torch.addmm(first, rows, self.weight.T, beta=-1).float()
        if self.bias is not None:
            logits += self.bias.float()
        return logits.view(*inputs.shape[:-1], -1)


class Bf16MLP(torch.nn.Module):
    """Computes `GPT2MLP` with GELU behind the first matrix product, while its output is in the cache.

    That is one operator of oneDNN, which torch's own compiler uses. Where a torch has it not, GELU is an operator of
    its own; transformers writes it as eight, which take as long as the product.
    """

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.weight, self.bias = _rounded(mlp.c_fc.weight.T), _rounded(mlp.c_fc.bias)
        self.c_proj = Bf16Linear(mlp.c_proj.weight.T, mlp.c_proj.bias)

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        rounded = hidden_BTD.bfloat16()
        if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            inner = torch.ops.mkldnn._linear_pointwise(rounded, self.weight, self.bias, "gelu", [], "tanh")
        else:
            product = linear(rounded, self.weight, self.bias)
            inner = torch.nn.functional.gelu(product, approximate="tanh")
        output: torch.Tensor = self.c_proj(inner)
        return output


def _rounded(weight: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(weight.detach().bfloat16().contiguous(), requires_grad=False)
