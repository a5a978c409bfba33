"""Writes trained weights as a model that transformers reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siftlm.proxies.training.model import LAYER_NORM_EPSILON, RMS_NORM_EPSILON, ROTARY_BASE, hidden_units
from siftlm.proxies.training.saved import WEIGHTS
from siftlm.proxies.training.settings import ModelShape
from siftlm.proxies.training.tokenizer import DocumentTokenizer
from siftlm.proxies.training.weights import pieces

JOINED: Mapping[str, Sequence[str]] = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
"""Llama's weights that are one matrix here, and what transformers calls their rows."""


def save_model(folder: Path, shape: ModelShape, weights: Mapping[str, Tensor], tokenizer: DocumentTokenizer) -> None:
    """Writes config.json, model.safetensors and the tokenizer's files into a folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    _config(shape, tokenizer).save_pretrained(folder)
    saved = {name: part.detach().cpu().contiguous().clone() for name, part in transformers_weights(shape, weights)}
    save_file(saved, folder / WEIGHTS, metadata={"format": "pt"})
    tokenizer.save(folder, shape.context_tokens)


def transformers_weights(shape: ModelShape, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yields the weights by the names of transformers, Llama's joined projections taken apart."""
    for name, weight in weights.items():
        joined = next((part for part in JOINED if part in name), None)
        if joined is None:
            yield name, weight
            continue
        names = [name.replace(joined, part) for part in JOINED[joined]]
        rows = shape.width if "qkv" in joined else hidden_units(shape)
        yield from zip(names, pieces(weight, [rows] * len(names)), strict=True)


def joined_weights(shape: ModelShape, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights by the names of `model.forms`, from those by the names of transformers."""
    made = dict(weights)
    for joined, parts in JOINED.items() if shape.shape == "llama" else ():
        for first in [name for name in made if parts[0] in name]:
            names = [first.replace(parts[0], part) for part in parts]
            made[first.replace(parts[0], joined)] = torch.cat([made.pop(name) for name in names])
    return made


def _config(shape: ModelShape, tokenizer: DocumentTokenizer) -> Any:
    from transformers import GPT2Config, LlamaConfig

    ends: dict[str, Any] = {"bos_token_id": tokenizer.separator_id, "eos_token_id": tokenizer.separator_id}
    if shape.shape == "gpt2":
        # few passes: there is nothing to regularise
        without_dropout: dict[str, Any] = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), 0.0)
        return GPT2Config(
            vocab_size=tokenizer.vocabulary,
            n_positions=shape.context_tokens,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=shape.heads,
            layer_norm_epsilon=LAYER_NORM_EPSILON,
            architectures=["GPT2LMHeadModel"],
            dtype="float32",
            **without_dropout,
            **ends,
        )
    return LlamaConfig(
        vocab_size=tokenizer.vocabulary,
        hidden_size=shape.width,
        intermediate_size=hidden_units(shape),
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.context_tokens,
        rms_norm_eps=RMS_NORM_EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE},
        tie_word_embeddings=True,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        **ends,
    )
