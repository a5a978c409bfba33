"""Trains a small reference model on given texts: a byte-level BPE tokenizer and a GPT-2 or Llama."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from siftlm.errors import UserError
from siftlm.settings import Settings
from siftlm.statistics.units import bits_per_byte

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

SEPARATOR = "<|endoftext|>"  # before every document, as in GPT-2's training
HELD_OUT_EVERY = 20  # every 20th text is not trained on, but measured


class ReferenceSettings(Settings):
    """Configures the shape and training of a small causal language model."""

    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")

    shape: Literal["gpt2", "llama"] = Field("gpt2", description="Architecture.")
    layers: int = Field(2, ge=1, le=128, description="Transformer blocks.")
    width: int = Field(128, ge=8, le=16_384, description="Size of a hidden state; a multiple of heads.")
    heads: int = Field(4, ge=1, le=256, description="Attention heads.")
    context_tokens: int = Field(256, ge=16, le=1 << 20, description="Tokens of a window.")
    vocabulary: int = Field(2048, ge=300, le=1 << 20, description="Tokens of the vocabulary.")
    epochs: float = Field(4.0, gt=0, description="Passes over the training texts.")
    max_bytes: int = Field(256 << 20, ge=1, description="Text that is read at most, from the start.")
    batch_tokens: int = Field(1024, ge=16, description="Tokens of an optimisation step.")
    learning_rate: float = Field(4e-3, gt=0, description="Peak of the cosine schedule.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the weights and of the order of training.")
    threads: int = Field(1, ge=1, description="CPU threads; another number may give other weights.")


def train_reference(texts: Iterable[str], settings: ReferenceSettings, folder: str) -> dict[str, Any]:
    """Trains a model on `texts`, saves it to `folder` in transformers' format, and returns its figures.

    It is saved as a whole or not at all.
    The same texts, settings, packages and machine give the same bytes.

    Returns:
        `documents`, `tokens` (seen in training), `steps`, `nats_per_token` (last steps) and
        `held_out_bits_per_byte`, over every 20th text, which is not trained on.

    Raises:
        UserError: the texts are too few to fill one window.
    """
    import torch
    from transformers.utils import logging

    bars: Any = logging
    bars.disable_progress_bar()
    kept = list(_limited(texts, settings.max_bytes))
    held_out, training = kept[::HELD_OUT_EVERY], [t for n, t in enumerate(kept) if n % HELD_OUT_EVERY]
    tokenizer = train_tokenizer(training, settings.vocabulary)
    rows = packed_rows(tokenizer, training, settings.context_tokens)
    if len(rows) == 0:
        raise UserError(
            f"reference: must have texts for at least one window of {settings.context_tokens} tokens, "
            f"got {len(kept)} documents"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        model = _new_model(settings, tokenizer)
        facts = _train(model, rows, settings)
        bits = _bits_per_byte(model, tokenizer, held_out, settings.context_tokens)
    finally:
        torch.set_num_threads(threads)
    _save(model, tokenizer, settings.context_tokens, folder)
    return {"documents": len(kept), **facts, "held_out_bits_per_byte": bits}


def _limited(texts: Iterable[str], max_bytes: int) -> Iterator[str]:
    read = 0
    for text in texts:
        read += len(text.encode("utf-8", "replace"))
        if text:
            yield text
        if read >= max_bytes:
            return


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Returns a byte-level BPE tokenizer with the separator as its only special token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def packed_rows(tokenizer: Tokenizer, texts: list[str], context: int) -> torch.Tensor:
    """Returns all texts, each after a separator, in int64 [rows, context + 1] that overlap by one token."""
    import torch

    separator: int = tokenizer.encode(SEPARATOR).ids[0]
    stream: list[int] = []
    remaining = iter(texts)
    while batch := list(islice(remaining, 1000)):
        for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):
            stream += [separator, *encoding.ids]
    rows = max(0, len(stream) - 1) // context
    if not rows:
        return torch.zeros((0, context + 1), dtype=torch.int64)
    return torch.tensor(stream, dtype=torch.int64)[: rows * context + 1].unfold(0, context + 1, context)


def _new_model(settings: ReferenceSettings, tokenizer: Tokenizer) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    separator, size = tokenizer.token_to_id(SEPARATOR), tokenizer.get_vocab_size()
    ends: dict[str, Any] = {"bos_token_id": separator, "eos_token_id": separator}
    torch.manual_seed(settings.seed)
    if settings.shape == "gpt2":
        shape: dict[str, Any] = {"n_embd": settings.width, "n_layer": settings.layers, "n_head": settings.heads}
        shape |= dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), 0.0)  # few passes: nothing to regularise
        return GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=settings.context_tokens, **shape, **ends))
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=settings.width,
        intermediate_size=settings.width * 8 // 3,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.context_tokens,
        tie_word_embeddings=True,
        **ends,
    )
    return LlamaForCausalLM(config)


def _train(model: Any, rows: torch.Tensor, settings: ReferenceSettings) -> dict[str, Any]:
    """AdamW with a short warm-up and a cosine schedule; decay on matrices only (as in GPT-3, appendix B)."""
    import torch

    batch = max(1, settings.batch_tokens // settings.context_tokens)
    steps = max(1, round(settings.epochs * len(rows) / batch))
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    generator = torch.Generator().manual_seed(settings.seed)
    order = _orders(len(rows), generator)
    model.train()
    recent: list[float] = []
    for _ in range(steps):
        chosen = rows[torch.tensor(list(islice(order, batch)))]
        logits = model(input_ids=chosen[:, :-1], use_cache=False).logits
        nats: Any = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), chosen[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        nats.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent = [*recent[-19:], nats.item()]
    seen = steps * batch * settings.context_tokens
    return {"tokens": seen, "steps": steps, "nats_per_token": round(sum(recent) / len(recent), 4)}


def _rate(step: int, steps: int) -> float:
    """The share of the peak rate: linear over the first twentieth, then half a cosine down to a tenth."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _orders(rows: int, generator: torch.Generator) -> Iterator[int]:
    """Row numbers without end, every pass in an order of its own."""
    import torch

    while True:
        yield from torch.randperm(rows, generator=generator).tolist()


def _bits_per_byte(model: Any, tokenizer: Tokenizer, texts: list[str], context: int) -> float | None:
    """Bits per byte of texts, in disjoint windows; None without any."""
    import torch

    rows = packed_rows(tokenizer, texts, context)
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    if not len(rows) or not size:
        return None
    tokens = sum(len(e.ids) + 1 for e in tokenizer.encode_batch(texts, add_special_tokens=False))
    model.eval()
    nats = 0.0
    with torch.no_grad():
        for row in rows:
            logits = model(input_ids=row[None, :-1], use_cache=False).logits[0].float()
            nats += float(torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum"))
    of_all = nats / (rows.shape[0] * context) * tokens
    return round(float(bits_per_byte(pa.scalar(of_all), pa.scalar(size)).as_py()), 4)


def _save(model: Any, tokenizer: Tokenizer, context: int, folder: str) -> None:
    import transformers

    fast_tokenizer: Any = transformers.PreTrainedTokenizerFast
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".train-") as temporary:
        made = Path(temporary) / "model"
        model.save_pretrained(made, safe_serialization=True)
        ends = dict.fromkeys(("bos_token", "eos_token", "unk_token"), SEPARATOR)
        fast_tokenizer(tokenizer_object=tokenizer, model_max_length=context, **ends).save_pretrained(made)
        if not target.exists():
            os.replace(made, target)
