"""Small corpora, tokenizers and jobs for the trainer's tests."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from siftlm.proxies.training import (
    DocumentTokenizer,
    Job,
    ModelShape,
    Optimisation,
    Seeds,
    TextOfGroup,
    TokenFile,
    Training,
    train_tokenizer,
)
from siftlm.proxies.training.tokens import write_token_file

WORDS = {
    "animals": ["cat", "dog", "paw", "fur", "tail", "purr", "meow", "claw", "nap", "bark"],
    "money": ["bond", "fund", "rate", "stock", "yield", "price", "bank", "trade", "share", "debt"],
}


def texts(group: str, count: int, seed: int = 0, words: int = 40) -> list[TextOfGroup]:
    """Documents of a group, each of random words of its own vocabulary."""
    draw = random.Random(f"{group}{seed}")
    return [TextOfGroup(group, " ".join(draw.choices(WORDS[group], k=words))) for _ in range(count)]


def mixed(count: int, seed: int = 0) -> list[TextOfGroup]:
    """Documents of both groups, one of each in turn."""
    pairs = zip(texts("animals", count, seed), texts("money", count, seed), strict=True)
    return [text for pair in pairs for text in pair]


@cache
def tokenizer() -> DocumentTokenizer:
    return train_tokenizer([text.text for text in mixed(50)], 320)


def token_file(folder: Path, name: str, documents: Sequence[TextOfGroup]) -> TokenFile:
    return write_token_file(folder, name, documents, tokenizer())


def shape(**changes: Any) -> ModelShape:
    return ModelShape(**{"layers": 2, "width": 32, "heads": 2, "context_tokens": 16, **changes})


def job(folder: Path, steps: int = 12, **changes: Any) -> Job:
    """A training of a second: two groups, a held-out file of both, marks in the middle."""
    optimisation = {"batch_tokens": 64, "learning_rate": 1e-2, **changes.pop("optimisation", {})}
    training = {
        "shape": shape(**changes.pop("shape", {})), "optimisation": Optimisation(**optimisation), "steps": steps,
        "seeds": Seeds(1, 2), "marks": (0, 5), **changes.pop("training", {}),
    }  # fmt: skip
    rest = {
        "tokens": token_file(folder, "training", mixed(30)),
        "evaluate": token_file(folder, "held_out", mixed(6, seed=1)),
        **changes,
    }
    return Job(Training(**training), tokenizer=tokenizer(), **rest)
