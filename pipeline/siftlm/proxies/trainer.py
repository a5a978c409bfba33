"""Trains a small reference model on given texts, with a tokenizer of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from siftlm.errors import UserError
from siftlm.proxies.training import (
    DocumentTokenizer,
    Job,
    ModelShape,
    Optimisation,
    Seeds,
    TextOfGroup,
    TokenFile,
    Training,
    train_into,
    train_tokenizer,
)
from siftlm.proxies.training.marks import group_bits_per_byte, last_sums
from siftlm.proxies.training.texts import TextFile
from siftlm.proxies.training.tokens import open_token_file, write_token_file
from siftlm.statistics.text_sketch import NAME, TextSketch, hash_texts
from siftlm.store import Store

HELD_OUT_EVERY = 20  # every 20th text is not trained on, but measured
TRAINING, HELD_OUT, TOKENIZER = "training", "held_out", "tokenizer.bin"


class ReferenceSettings(ModelShape, Optimisation):
    """Configures the shape and training of a small causal language model."""

    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers")

    vocabulary: int = Field(2048, ge=300, le=1 << 20, description="Tokens of the vocabulary.")
    epochs: float = Field(4.0, gt=0, description="Passes over the training texts.")
    max_bytes: int = Field(256 << 20, ge=1, description="Text that is read at most, from the start.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the weights and of the order of training.")

    def training(self, windows: int) -> Training:
        """Returns the training of `epochs` passes over so many windows."""
        shape = ModelShape(**{name: getattr(self, name) for name in ModelShape.model_fields})
        optimisation = Optimisation(**{name: getattr(self, name) for name in Optimisation.model_fields})
        one = Training(shape, optimisation, 1, Seeds(self.seed, self.seed))
        return Training(shape, optimisation, max(1, round(self.epochs * windows / one.batch_windows)), one.seeds)


def train_reference(texts: Iterable[str], settings: ReferenceSettings, folder: str) -> dict[str, Any]:
    """Trains a model on `texts`, saves it to `folder` in transformers' format, and returns its figures.

    It is saved as a whole or not at all, and where there is none yet. The same texts, settings, packages and machine
    give the same bytes.

    Returns:
        `documents`, `tokens` (seen in training), `steps`, `nats_per_token` (last steps) and
        `held_out_bits_per_byte`, over every 20th text, which is not trained on.

    Raises:
        UserError: the texts are too few to fill one window.
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".train-") as temporary:
        made = Path(temporary) / "model"
        facts = train_reference_into(made, texts, settings)
        if not target.exists():
            os.replace(made, target)
    return facts


def train_reference_into(folder: Path, texts: Iterable[str], settings: ReferenceSettings) -> dict[str, Any]:
    """Does the same in a folder that is the model's own, where an interrupted training goes on.

    So the folder must be one of the same texts and settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens, held_out, tokenizer = _prepared(folder, texts, settings)
    windows = int(tokens.windows(settings.context_tokens).counts.sum())
    documents = len(tokens.byte_counts) + len(held_out.byte_counts)
    if not windows:
        raise UserError(
            f"reference: must have texts for at least one window of {settings.context_tokens} tokens, "
            f"got {documents} documents"
        )
    facts = train_into(folder, Job(settings.training(windows), tokens, tokenizer, held_out))
    bits = group_bits_per_byte(held_out, last_sums(folder))
    told = {name: facts[name] for name in ("tokens", "steps", "nats_per_token")}
    return {"documents": documents, **told, "held_out_bits_per_byte": round(float(bits[0]), 4)}


def _prepared(
    folder: Path, texts: Iterable[str], settings: ReferenceSettings
) -> tuple[TokenFile, TokenFile, DocumentTokenizer]:
    """The tokens to train on, those held out, and the tokenizer, made in one pass over the texts if missing."""
    store = Store(str(folder))
    if store.holds_sealed(f"{folder}/{TOKENIZER}"):
        tokenizer = DocumentTokenizer.of(store.read_sealed(f"{folder}/{TOKENIZER}"))
        tokens, held_out = (open_token_file(folder, name) for name in (TRAINING, HELD_OUT))
        if tokens is not None and held_out is not None:
            return tokens, held_out, tokenizer
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".train-") as temporary:
        kept = TextFile(Path(temporary) / "texts", limited(texts, settings.max_bytes))
        trained_on = [number for number in range(len(kept)) if number % HELD_OUT_EVERY]
        tokenizer = train_tokenizer(kept.texts(trained_on), settings.vocabulary)
        sketch = TextSketch()
        sketch.add(hash_texts(text.encode() for text in kept.texts(trained_on)))
        sketch.write(f"{folder}/{NAME}")
        orders = {TRAINING: trained_on, HELD_OUT: range(0, len(kept), HELD_OUT_EVERY)}
        made = [
            write_token_file(folder, name, (TextOfGroup(name, text) for text in kept.texts(order)), tokenizer)
            for name, order in orders.items()
        ]
    store.write_sealed(f"{folder}/{TOKENIZER}", tokenizer.content())
    return made[0], made[1], tokenizer


def limited(texts: Iterable[str], max_bytes: int) -> Iterator[str]:
    """Yields the texts that are not empty, until they have `max_bytes` of UTF-8: the last one may go beyond."""
    read = 0
    for text in texts:
        read += len(text.encode("utf-8", "replace"))
        if text:
            yield text
        if read >= max_bytes:
            return
