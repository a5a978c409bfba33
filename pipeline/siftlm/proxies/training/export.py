"""Writes trained weights as a model that transformers reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from siftlm.proxies.training.model import LAYER_NORM_EPSILON, RMS_NORM_EPSILON, ROTARY_BASE, hidden_units
from siftlm.proxies.training.settings import ModelShape
from siftlm.proxies.training.tokenizer import DocumentTokenizer
from siftlm.proxies.training.weights import pieces


def save_model(folder: Path, shape: ModelShape, weights: Mapping[str, Tensor], tokenizer: DocumentTokenizer) -> None:
    """Writes config.json, model.safetensors and the tokenizer's files into a folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    _config(shape, tokenizer).save_pretrained(folder)
    saved = {name: part.detach().cpu().contiguous().clone() for name, part in transformers_weights(shape, weights)}
    save_file(saved, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(folder, shape.context_tokens)


def transformers_weights(shape: ModelShape, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yields the weights by the names of transformers, Llama's joined projections taken apart."""
    parts = {
        "self_attn.qkv_proj": (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), shape.width),
        "mlp.gate_up_proj": (("mlp.gate_proj", "mlp.up_proj"), hidden_units(shape)),
    }
    for name, weight in weights.items():
        joined = next((part for part in parts if part in name), None)
        if joined is None:
            yield name, weight
            continue
        names, rows = parts[joined]
        yield from zip((name.replace(joined, part) for part in names), pieces(weight, [rows] * len(names)), strict=True)


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
