"""The GPU kernels compiled for devices that are not here: nothing spills, and what they need is there."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("needs triton as a compiler", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from siftlm_kernels.linear_nll_triton import _split_sums_by_pointers, tiling
from siftlm_kernels.packed_attention_triton import BLOCK_K, BLOCK_Q, STAGES, WARPS, _attend

DEVICES = {80: 163, 86: 99, 89: 99}  # A100, A10, L4: KiB of shared memory that a block may have


def compiled(kernel: Any, types: dict[str, str], constants: dict[str, Any], capability: int, **options: int) -> Any:
    """A kernel for a device; pointers and strides are multiples of 16, as those of real models are."""
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    aligned = {(at,): [["tt.divisibility", 16]] for at, name in enumerate(names) if signature[name] != "constexpr"}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def spilled(kernel: Any, capability: int, folder: Path) -> bool:
    """Whether registers spill to memory."""
    path = folder / "kernel.ptx"
    path.write_text(kernel.asm["ptx"])
    command = [triton.knobs.nvidia.ptxas.path, "-v", "--gpu-name", f"sm_{capability}", str(path), "-o", os.devnull]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return "0 bytes spill stores" not in told


@pytest.mark.parametrize("capability", DEVICES)
def test_the_head_fits_devices_of_compute_capability_8(capability: int, tmp_path: Path) -> None:
    """Its products run on matrix units, its loads do not wait, and its tiles fit."""
    chosen = tiling((capability // 10, capability % 10), DEVICES[capability] << 10, 2)
    types = {"hidden": "*bf16", "classifier": "*bf16", "bias": "*fp32", "target_logits": "*fp32", "sums": "*fp32"}
    flags = {"WIDTH": 768, "HAS_BIAS": False, "HAS_SCALE": False, "HAS_SOFTCAP": False}
    blocks = {"BLOCK_R": chosen.rows, "BLOCK_V": chosen.tokens, "BLOCK_D": chosen.step, "STAGES": chosen.stages}
    types |= {"scale": "fp32", "softcap": "fp32"}
    kernel = compiled(_split_sums_by_pointers, types, flags | blocks, capability, num_warps=chosen.warps)
    assert kernel.metadata.shared <= DEVICES[capability] << 10
    assert "mma.sync" in kernel.asm["ptx"]
    assert "cp.async" in kernel.asm["ptx"]
    assert not spilled(kernel, capability, tmp_path)


@pytest.mark.parametrize("size", [64, 128])
def test_attention_fits_the_smallest_of_them(size: int, tmp_path: Path) -> None:
    """An L4, heads of the usual sizes."""
    types = {**dict.fromkeys(("query", "key", "value", "output"), "*bf16"), "blocks": "*i32", "scale_log2": "fp32"}
    constants = {"HEADS_A_GROUP": 1, "BLOCK_E": size, "BLOCK_Q": BLOCK_Q, "BLOCK_K": BLOCK_K}
    kernel = compiled(_attend, types, constants, 89, num_warps=WARPS, num_stages=STAGES)
    assert kernel.metadata.shared <= DEVICES[89] << 10
    assert "mma.sync" in kernel.asm["ptx"]
    assert not spilled(kernel, 89, tmp_path)
