"""Computes the gradient of one document by autograd: what every faster way must equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import cross_entropy


def token_nll(model: Any, ids_BL: torch.Tensor, target_BL: torch.Tensor, **given: Any) -> torch.Tensor:
    """Returns the nats of every target under a model, float32 [B, L]."""
    logits_BLV = model(ids_BL, attention_mask=torch.ones_like(ids_BL), use_cache=False, **given).logits.float()
    return cross_entropy(logits_BLV.flatten(0, 1), target_BL.flatten(), reduction="none").view(target_BL.shape)


def document_gradient(
    model: Any, parameters: Mapping[str, torch.Tensor], ids_L: torch.Tensor, target_L: torch.Tensor, weight: float
) -> dict[str, torch.Tensor]:
    """Returns the gradient of `weight` times the summed nats of a window, float32, for each parameter.

    The parameters must require a gradient; nothing is written to their `grad`.
    """
    with torch.enable_grad():
        loss = weight * token_nll(model, ids_L[None], target_L[None]).sum()
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    pairs = zip(parameters.items(), found, strict=True)
    return {name: torch.zeros_like(of).float() if grad is None else grad.float() for (name, of), grad in pairs}
