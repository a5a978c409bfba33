"""Tiny language models with random weights and tokenizers of bytes, as transformers saves them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

END = "<|endoftext|>"
BYTES = 257  # tokens of a tokenizer that merges nothing: END and every byte
ENDS = {"bos_token_id": 0, "eos_token_id": 0}
SMALLEST = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}


@dataclass(frozen=True)
class Models:
    """Makes models in one folder, each once for all processes that share it."""

    root: Path

    def __call__(self, folder: Path, seed: int = 0, scale: float = 1.0, **settings: Any) -> Path:
        """Gives a copy of a model in a folder, for the caller to change as it likes; see `save_model`."""
        return Path(shutil.copytree(self.kept(seed=seed, scale=scale, **settings), folder, dirs_exist_ok=True))

    def kept(self, **settings: Any) -> Path:
        """Gives the folder that everybody shares, made by the first who asks."""
        folder = self.root / sha256(repr(sorted(settings.items())).encode()).hexdigest()[:16]
        if not folder.exists():
            made = Path(tempfile.mkdtemp(dir=self.root))
            save_model(made, **settings)
            try:
                made.rename(folder)
            except OSError:  # another process was first
                shutil.rmtree(made)
        return folder


def save_model(
    folder: Path, config: str = "GPT2Config", *, texts: Iterable[str] = (), tokens: int = BYTES, **settings: Any
) -> None:
    """Saves a model and a tokenizer of so many tokens, which are trained on the texts."""
    settings = {"vocab_size": tokens, **(SMALLEST if config == "GPT2Config" else {}), **settings}
    random_model(config, **settings).save_pretrained(folder)
    byte_tokenizer(texts, tokens).save_pretrained(folder)


def save_classifier(folder: Path, config: str, *, wrapped: bool = True, **settings: Any) -> Path:
    """Saves a sequence classification model and a tokenizer of bytes, which puts END before and behind a text."""
    settings = {"vocab_size": BYTES + 1, "pad_token_id": BYTES, **settings}
    random_model(config, loader="AutoModelForSequenceClassification", **settings).save_pretrained(folder)
    tokenizer = byte_tokenizer()
    if settings["pad_token_id"] is not None:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    if wrapped:
        from tokenizers.processors import TemplateProcessing

        wrapping = TemplateProcessing(f"{END} $A {END}", f"{END} $A {END} $B {END}", [(END, 0)])
        tokenizer.backend_tokenizer.post_processor = wrapping
    tokenizer.save_pretrained(folder)
    return folder


def random_model(
    config: str, *, seed: int = 0, scale: float = 1.0, loader: str = "AutoModelForCausalLM", **arguments: Any
) -> Any:
    """Makes the model of a configuration of transformers, by its name; matrices are `scale` times as large."""
    import torch
    import transformers

    torch.manual_seed(seed)
    settings = getattr(transformers, config)(**{**ENDS, **arguments})
    model = getattr(transformers, loader).from_config(settings).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale if weight.dim() > 1 else 1.0)
    return model


def byte_tokenizer(texts: Iterable[str] = (), tokens: int = BYTES) -> Any:
    """Makes a tokenizer of bytes and their commonest pairs in the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=tokens, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END)
