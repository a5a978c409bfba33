"""Calls torch's variable-length attention, whichever signature the installed torch gives it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn

NAMES = frozenset(inspect.signature(varlen_attn).parameters)  # once, so that a compiler has nothing to look into


def causal_arguments(names: frozenset[str], scale: float, grouped: bool) -> dict[str, Any]:
    """Returns the keyword arguments that ask for causal, batch-invariant attention under a signature with these names.

    torch 2.10 has `is_causal`; later versions express it as `window_size=(-1, 0)`. `num_splits=1` switches split-KV
    off, which is what makes a document's output independent of its neighbours.
    """
    arguments: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in names else {"is_causal": True}
    if "scale" in names:
        arguments["scale"] = scale
    if grouped and "enable_gqa" in names:
        arguments["enable_gqa"] = True
    if "num_splits" in names:
        arguments["num_splits"] = 1
    return arguments


def causal_varlen(
    query_THE: torch.Tensor,
    key_TGE: torch.Tensor,
    value_TGE: torch.Tensor,
    offsets: torch.Tensor,
    scale: float,
    max_length: int,
) -> torch.Tensor:
    """Returns `packed_attention` by torch's kernel: CUDA, float16 or bfloat16."""
    grouped = query_THE.shape[1] != key_TGE.shape[1]
    if grouped and "enable_gqa" not in NAMES:
        repeats = query_THE.shape[1] // key_TGE.shape[1]
        key_TGE, value_TGE = (states.repeat_interleave(repeats, dim=1) for states in (key_TGE, value_TGE))
    if "scale" not in NAMES:  # the kernel multiplies by E ** -0.5 itself
        query_THE = query_THE * (scale * query_THE.shape[-1] ** 0.5)
    arguments = causal_arguments(NAMES, scale, grouped)
    output = varlen_attn(query_THE, key_TGE, value_TGE, offsets, offsets, max_length, max_length, **arguments)
    assert isinstance(output, torch.Tensor), "a second output comes on request only"
    return output
