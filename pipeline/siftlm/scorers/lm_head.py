"""Computes the logits of any causal model from hidden states, for a few positions at a time.

What a family does to its logits (a bias, a scale, a soft cap) stands in the `forward` of its model class, behind the
call of the body. A copy of that class whose body hands on the hidden states that it is given is therefore its head.

Shapes: P positions, C positions of a block, D hidden size, V vocabulary, B rows, L tokens.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

BLOCK_LOGITS = 1 << 25  # float32 values: 128 MiB
BLOCK_POSITIONS = 256


class _GivenStates(BaseModelOutputWithPast):
    """What a body returns; all that a family may ask for beside the hidden states is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


class _NoBody(torch.nn.Module):
    """Stands where the body was."""

    @property
    def decoder(self) -> _NoBody:
        """What OPT and the decoders of BART's kin call."""
        return self

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> _GivenStates:
        return _GivenStates(last_hidden_state=inputs_embeds)


@dataclass(frozen=True)
class PartedHead:
    """Splits a model into its body, which computes hidden states, and its head, which computes logits from them."""

    model: Any
    head: Any
    body: str  # the name of the model's part

    @classmethod
    def of(cls, model: Any) -> PartedHead:
        """Returns a split of the model that shares its weights, and follows it to another device or dtype."""
        head, body = copy(model), _body_name(model)
        head._modules = {**model._modules, body: _NoBody()}
        return cls(model, head, body)

    def states(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """Returns the hidden states `[B, L, D]` of a batch that is padded on the right.

        Filler stands behind a window, where a causal model does not look, so nothing is masked: a mask that is not all
        ones has L^2 values for every row, 5 GiB for a window of 32,768 tokens.
        """
        mask_BL = torch.ones_like(ids_BL)
        body = getattr(self.model, self.body)
        states_BLD: torch.Tensor = body(ids_BL, attention_mask=mask_BL, use_cache=False)[0]
        return states_BLD

    def logits(self, states_CD: torch.Tensor) -> torch.Tensor:
        logits_1CV: torch.Tensor = self.head(inputs_embeds=states_CD[None], use_cache=False).logits
        return logits_1CV[0]


def _body_name(model: Any) -> str:
    """The name of the part that is the body; what Llama 4 says of itself is its name in a larger model."""
    bodies = [name for name, part in model.named_children() if isinstance(part, PreTrainedModel)]
    named = str(model.base_model_prefix)
    return named if named in model._modules or not bodies else bodies[0]


def block_positions(vocabulary: int) -> int:
    """Returns the size of a block: a power of two, for a row's bits must not depend on its place."""
    return min(BLOCK_POSITIONS, 1 << max(0, (BLOCK_LOGITS // vocabulary).bit_length() - 1))


def filled(values_CX: torch.Tensor, positions: int) -> torch.Tensor:
    """Returns the rows of `values_CX`, filled up with zeros to a block of exactly `positions` rows.

    A matrix library picks its kernel by shape, so a row's bits do not depend on how many there are.
    """
    missing = positions - len(values_CX)
    return torch.nn.functional.pad(values_CX, (0, 0, 0, missing)) if missing else values_CX
