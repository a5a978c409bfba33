"""Tells which matrix units this machine's CPU has."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

BFLOAT16_UNITS = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}
"""Flags of the processor, as `torch.cpu.get_capabilities` names them, and what their makers call the instructions."""


@cache
def bfloat16_units() -> list[str]:
    """Returns the names of the instructions for products of bfloat16 matrices that torch uses on this CPU.

    It is empty where there are none, or where torch was built without oneDNN, which is what uses them: products of
    bfloat16 matrices are right there, but slower than those of float32.
    """
    onednn: Any = torch.backends.mkldnn
    if not onednn.is_available():
        return []
    flags = torch.cpu.get_capabilities()
    return [name for flag, name in BFLOAT16_UNITS.items() if flags.get(flag)]
