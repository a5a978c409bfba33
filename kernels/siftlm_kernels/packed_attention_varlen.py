"""torch's variable-length attention behind one call, whichever signature the installed torch gives it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch


@lru_cache(maxsize=1)
def _varlen() -> tuple[Callable[..., Any], frozenset[str]]:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn, frozenset(inspect.signature(varlen_attn).parameters)


def causal_arguments(names: frozenset[str], scale: float, grouped: bool) -> dict[str, object]:
    """The keyword arguments that ask for causal, batch-invariant attention under a signature with these names.

    torch 2.10 has `is_causal`; later versions express it as `window_size=(-1, 0)`. `num_splits=1` switches split-KV
    off, which is what makes a document's output independent of its neighbours.
    """
    arguments: dict[str, object] = {"window_size": (-1, 0)} if "window_size" in names else {"is_causal": True}
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
    """`packed_attention` by torch's kernel: CUDA, float16 or bfloat16."""
    attention, names = _varlen()
    grouped = query_THE.shape[1] != key_TGE.shape[1]
    if grouped and "enable_gqa" not in names:
        repeats = query_THE.shape[1] // key_TGE.shape[1]
        key_TGE, value_TGE = (states.repeat_interleave(repeats, dim=1) for states in (key_TGE, value_TGE))
    if "scale" not in names:  # the kernel multiplies by E ** -0.5 itself
        query_THE = query_THE * (scale * query_THE.shape[-1] ** 0.5)
    arguments = causal_arguments(names, scale, grouped)
    output: torch.Tensor = attention(
        query_THE, key_TGE, value_TGE, offsets, offsets, max_length, max_length, **arguments
    )
    return output
