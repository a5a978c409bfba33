"""The body as it runs on CUDA, traced and run on a CPU: one graph without breaks, the variable-length kernel imitated.

What this does not show is the kernel itself; tests marked `gpu` do.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from siftlm.scorers import lm_attention
from siftlm.scorers.lm_files import find_model
from siftlm.scorers.lm_model import LanguageModel, load_model
from siftlm.scorers.lm_packing import Packing, Row, build_row, windows
from siftlm_kernels.packed_attention import packed_attention


@pytest.fixture
def imitated_kernel(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """torch's operator computed by the reference; the offsets of every call."""
    from torch.nn.attention import varlen

    calls: list[torch.Tensor] = []

    def by_reference(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, offsets: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        calls.append(offsets.clone())
        scale = kwargs.get("scale") or next(a for a in args if isinstance(a, float))
        output = packed_attention(query, key, value, offsets, scale=scale, impl="reference")
        return output, torch.zeros(query.shape[1], len(query)), torch.zeros(2, dtype=torch.uint64)

    if not hasattr(varlen, "_varlen_attn"):
        pytest.skip("this torch names the operator otherwise")
    monkeypatch.setattr(lm_attention, "packed_attention", partial(packed_attention, impl="varlen"))
    varlen._varlen_attn.register_kernel("cpu")(by_reference)
    return calls


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama"])
def test_the_body_compiles_to_one_graph_and_gives_the_same_states(
    language_models: dict[str, Path], family: str, imitated_kernel: list[torch.Tensor]
) -> None:
    """fullgraph=True raises at a break; offsets keep one length and cover the whole row, filler included."""
    packing = Packing(row_tokens=128, alignment=1, max_documents=8, fill_stretch=32)
    model = loaded(language_models[family])
    compiled = torch.compile(model.body, dynamic=False, fullgraph=True, backend="eager")
    for lengths in ([40, 30, 7], [50, 2]):
        row = row_of(lengths, packing)
        plain, traced = states(model.body, row), states(compiled, row)
        torch.testing.assert_close(traced, plain)
        assert torch.isfinite(plain).all()
    assert {len(offsets) for offsets in imitated_kernel} == {8 + 4 + 1}
    assert {int(offsets[-1]) for offsets in imitated_kernel} == {128}


def loaded(folder: Path) -> LanguageModel:
    """A packed model on the CPU."""
    files = find_model("model", str(folder), None, None, allow_pickle=False)
    return load_model("model", files, torch.device("cpu"), "fp32", pack=True, compiled=False, trust=False)


def row_of(lengths: list[int], packing: Packing) -> Row:
    """A row of documents with these numbers of tokens."""
    sizes = np.array(lengths) + 1
    tokens = np.concatenate([np.arange(1, size + 1, dtype=np.int32) for size in sizes])
    return build_row(windows(np.cumsum(sizes) - sizes, sizes, 64, 48), tokens, packing, fill=0)


@torch.inference_mode()
def states(body: Any, row: Row) -> torch.Tensor:
    """The hidden states of a row."""
    hidden: torch.Tensor = body(
        torch.from_numpy(row.tokens)[None],
        position_ids=torch.from_numpy(row.positions)[None],
        cu_seq_lens_q=torch.from_numpy(row.offsets),
        max_length_q=64,
        use_cache=False,
    ).last_hidden_state[0]
    return hidden
