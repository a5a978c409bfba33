"""Tiny language models of every family: random weights, a tokenizer trained on a few sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.models import Models

CONTEXT = 64
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": CONTEXT}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}),
    "gpt_neox": ("GPTNeoXConfig", {**SHAPE, "intermediate_size": 64}),
    "llama": ("LlamaConfig", {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 2}),
    "opt": ("OPTConfig", {**SHAPE, "ffn_dim": 64, "word_embed_proj_dim": 32}),
}
PADDED_VOCABULARY = 328  # rows of the embedding, more than there are tokens
SENTENCES = (
    "The committee met on Tuesday to discuss the budget for the coming year.",
    "Rain is expected in the north; the south will stay dry, with sunny spells.",
    "She opened the window, looked at the sea, and said nothing for a while.",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))",
)


@pytest.fixture(scope="session")
def language_models(tiny_model: Models) -> dict[str, Path]:
    """A folder for each family, which tests copy before they change it.

    Weights at their usual size predict all tokens alike, and a wrong mask would not show: these are larger.
    """
    shared = {"texts": SENTENCES, "tokens": 320, "vocab_size": PADDED_VOCABULARY, "scale": 4.0}
    return {name: tiny_model.kept(config=config, **shape, **shared) for name, (config, shape) in FAMILIES.items()}
