"""Computes GPT-2 and Llama in plain operations of torch, on weights that are views of one flat vector.

What transformers' modules compute, without their overhead on small steps, and with the products of a block that share
an input made at once. The names and forms of the weights are transformers' own, but for Llama's joined projections.

Shapes: B windows, T tokens of a window, N = B * T, D width, H heads, F hidden units of a block, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from siftlm.proxies.training.settings import ModelShape

Weights = Mapping[str, Tensor]
STANDARD_DEVIATION = 0.02  # of initial weights: GPT-2, section 2.3, and transformers' default for both shapes
LAYER_NORM_EPSILON = 1e-5  # GPT-2's
RMS_NORM_EPSILON = 1e-6  # transformers' default of LlamaConfig
ROTARY_BASE = 10_000.0  # Su et al. 2021 (arXiv 2104.09864), section 3.2.2


@dataclass(frozen=True)
class WeightForm:
    """Describes one weight: its name, its form, and how it begins (normal with `deviation`, or a constant)."""

    name: str
    size: tuple[int, ...]
    deviation: float = 0.0
    constant: float = 0.0


def forms(shape: ModelShape, vocabulary: int) -> list[WeightForm]:
    """Returns all weights of a model in their order; the head is the embedding, as in GPT-2."""
    return list(_gpt2_forms(shape, vocabulary) if shape.shape == "gpt2" else _llama_forms(shape, vocabulary))


def hidden_units(shape: ModelShape) -> int:
    """Returns F: 4 D in GPT-2, 8 D / 3 in Llama.

    So both have as many weights, in spite of the gate (Shazeer 2020, arXiv 2002.05202).
    """
    return 4 * shape.width if shape.shape == "gpt2" else shape.width * 8 // 3


def _gpt2_forms(shape: ModelShape, vocabulary: int) -> Iterator[WeightForm]:
    D, normal = shape.width, STANDARD_DEVIATION
    onto_residual = normal / math.sqrt(2 * shape.layers)  # GPT-2, section 2.3
    yield WeightForm("transformer.wte.weight", (vocabulary, D), normal)
    yield WeightForm("transformer.wpe.weight", (shape.context_tokens, D), normal)
    for layer in range(shape.layers):
        for name, inner, outer, deviation in (
            ("attn.c_attn", D, 3 * D, normal),
            ("attn.c_proj", D, D, onto_residual),
            ("mlp.c_fc", D, 4 * D, normal),
            ("mlp.c_proj", 4 * D, D, onto_residual),
        ):
            yield WeightForm(f"transformer.h.{layer}.{name}.weight", (inner, outer), deviation)
            yield WeightForm(f"transformer.h.{layer}.{name}.bias", (outer,))
        for name in ("ln_1", "ln_2"):
            yield WeightForm(f"transformer.h.{layer}.{name}.weight", (D,), constant=1.0)
            yield WeightForm(f"transformer.h.{layer}.{name}.bias", (D,))
    yield WeightForm("transformer.ln_f.weight", (D,), constant=1.0)
    yield WeightForm("transformer.ln_f.bias", (D,))


def _llama_forms(shape: ModelShape, vocabulary: int) -> Iterator[WeightForm]:
    D, inner, normal = shape.width, hidden_units(shape), STANDARD_DEVIATION
    yield WeightForm("model.embed_tokens.weight", (vocabulary, D), normal)
    for layer in range(shape.layers):
        place = f"model.layers.{layer}"
        yield WeightForm(f"{place}.self_attn.qkv_proj.weight", (3 * D, D), normal)
        yield WeightForm(f"{place}.self_attn.o_proj.weight", (D, D), normal)
        yield WeightForm(f"{place}.mlp.gate_up_proj.weight", (2 * inner, D), normal)
        yield WeightForm(f"{place}.mlp.down_proj.weight", (D, inner), normal)
        yield WeightForm(f"{place}.input_layernorm.weight", (D,), constant=1.0)
        yield WeightForm(f"{place}.post_attention_layernorm.weight", (D,), constant=1.0)
    yield WeightForm("model.norm.weight", (D,), constant=1.0)


def embedding(shape: ModelShape, weights: Weights) -> Tensor:
    """Returns the embedding [V, D] that is the head, too."""
    return weights["transformer.wte.weight" if shape.shape == "gpt2" else "model.embed_tokens.weight"]


def hidden_states(shape: ModelShape, weights: Weights, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
    """Returns the hidden states [B, T, D] before the head, of tokens int64 [B, T].

    With `documents`, int64 [B, T], a token attends only to those before it that have its number.
    """
    mask = None if documents is None else _document_mask(documents)
    return _gpt2(shape, weights, tokens, mask) if shape.shape == "gpt2" else _llama(shape, weights, tokens, mask)


def _document_mask(documents: Tensor) -> Tensor:
    """True where a query [rows] may look at a key [columns], bool [B, 1, T, T]."""
    same = documents[:, None, :, None] == documents[:, None, None, :]
    return same.tril()


def _gpt2(shape: ModelShape, weights: Weights, tokens: Tensor, mask: Tensor | None) -> Tensor:
    B, T = tokens.shape
    D = shape.width
    x = functional.embedding(tokens, weights["transformer.wte.weight"]) + weights["transformer.wpe.weight"][:T]
    for layer in range(shape.layers):
        place = f"transformer.h.{layer}."

        def projected(x: Tensor, name: str, place: str = place) -> Tensor:
            return torch.addmm(weights[f"{place}{name}.bias"], x, weights[f"{place}{name}.weight"])

        def normed(x: Tensor, name: str, place: str = place) -> Tensor:
            scale, offset = weights[f"{place}{name}.weight"], weights[f"{place}{name}.bias"]
            return functional.layer_norm(x, (D,), scale, offset, LAYER_NORM_EPSILON).view(B * T, D)

        q, k, v = projected(normed(x, "ln_1"), "attn.c_attn").view(B, T, 3, shape.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + projected(attended(q, k, v, mask), "attn.c_proj").view(B, T, D)
        inner = functional.gelu(projected(normed(x, "ln_2"), "mlp.c_fc"), approximate="tanh")
        x = x + projected(inner, "mlp.c_proj").view(B, T, D)
    scale, offset = weights["transformer.ln_f.weight"], weights["transformer.ln_f.bias"]
    return functional.layer_norm(x, (D,), scale, offset, LAYER_NORM_EPSILON)


def _llama(shape: ModelShape, weights: Weights, tokens: Tensor, mask: Tensor | None) -> Tensor:
    B, T = tokens.shape
    D, inner = shape.width, hidden_units(shape)
    x = functional.embedding(tokens, weights["model.embed_tokens.weight"])
    cosine, sine = rotary(T, D // shape.heads, x.device)
    for layer in range(shape.layers):
        place = f"model.layers.{layer}."
        y = functional.rms_norm(x, (D,), weights[f"{place}input_layernorm.weight"], RMS_NORM_EPSILON)
        qkv = functional.linear(y.view(B * T, D), weights[f"{place}self_attn.qkv_proj.weight"])
        q, k, v = qkv.view(B, T, 3, shape.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = attended(rotated(q, cosine, sine), rotated(k, cosine, sine), v, mask)
        x = x + functional.linear(mixed, weights[f"{place}self_attn.o_proj.weight"]).view(B, T, D)
        y = functional.rms_norm(x, (D,), weights[f"{place}post_attention_layernorm.weight"], RMS_NORM_EPSILON)
        both = functional.linear(y.view(B * T, D), weights[f"{place}mlp.gate_up_proj.weight"])
        gate, up = both[:, :inner], both[:, inner:]
        x = x + functional.linear(functional.silu(gate) * up, weights[f"{place}mlp.down_proj.weight"]).view(B, T, D)
    return functional.rms_norm(x, (D,), weights["model.norm.weight"], RMS_NORM_EPSILON)


def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Returns softmax(q k^T / sqrt(D / H)) v over earlier keys.

    Takes q, k, v [B, H, T, D / H], and returns [B * T, D]. `mask` says which keys count instead, bool [B, 1, T, T].
    """
    B, T = q.shape[0], q.shape[2]
    if q.device.type == "cpu":
        mixed = _attended_in_full(q, k, v, mask)
    elif mask is None:
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.transpose(1, 2).reshape(B * T, -1)


def _attended_in_full(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The same with all scores in memory: on CPUs faster than torch's fused form for windows of small models."""
    B, H, T, width = q.shape
    q, k, v = (part.reshape(B * H, T, width) for part in (q, k, v))
    if mask is None:
        hidden = torch.full((T, T), -torch.inf, dtype=q.dtype).triu(1)
        scores = torch.baddbmm(hidden, q, k.transpose(1, 2), alpha=width**-0.5)
    else:
        scores = torch.bmm(q, k.transpose(1, 2)).mul(width**-0.5).view(B, H, T, T)
        scores = scores.masked_fill(~mask, -torch.inf).view(B * H, T, T)
    return torch.bmm(torch.softmax(scores, -1), v).view(B, H, T, width)


def rotary(tokens: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns the cosines and sines of the rotary positions, each [T, D / H], halves alike as in transformers."""
    frequencies = ROTARY_BASE ** (-torch.arange(0, width, 2, dtype=torch.float32, device=device) / width)
    angles = torch.outer(torch.arange(tokens, dtype=torch.float32, device=device), frequencies)
    doubled = torch.cat([angles, angles], -1)
    return doubled.cos(), doubled.sin()


def rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Returns x [B, H, T, D / H] turned by its positions' angles."""
    first, second = x.chunk(2, -1)
    return (x * cosine + torch.cat([-second, first], -1) * sine).to(x.dtype)
