"""Planted texts of domains: one that a model can learn by and by, one of noise, one that it knows at once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TINY: dict[str, Any] = {
    "tokens": 24_000,
    "vocabulary": 320,
    "documents": 12,
    "model": {"layers": 2, "width": 32, "heads": 2, "context_tokens": 32},
    "training": {"batch_tokens": 256, "learning_rate": 1e-2},
}
"""A training of two seconds."""


def learnable(seed: int, count: int, words: int = 40) -> Iterator[str]:
    """Texts in which every word is followed by one of two others."""
    draw = random.Random(f"learnable {seed}")
    known = ["".join(draw.choices(LETTERS, k=4)) for _ in range(40)]
    follow = {word: draw.sample(known, 2) for word in known}
    for _ in range(count):
        text = [draw.choice(known)]
        for _ in range(words):
            text.append(draw.choice(follow[text[-1]]))
        yield " ".join(text)


def noise(seed: int, count: int, letters: int = 200) -> Iterator[str]:
    """Texts of random letters, of which nothing can be learnt but their frequency."""
    draw = random.Random(f"noise {seed}")
    return ("".join(draw.choices(LETTERS + " ", k=letters)) for _ in range(count))


def trivial(seed: int, count: int) -> Iterator[str]:
    """Texts that say one thing, each with its number."""
    return (f"{seed + number} " + "again and again " * 12 for number in range(count))


def planted(folder: Path, count: int = 120) -> list[dict[str, Any]]:
    """Writes the three domains, and returns the tables of their inputs."""
    made = {"hard": learnable(0, count), "noise": noise(0, count), "trivial": trivial(0, count)}
    return [written(folder, name, texts) for name, texts in made.items()]


def written(folder: Path, name: str, texts: Iterator[str], **more: str) -> dict[str, Any]:
    """Writes a domain as JSON lines, and returns the table of its input."""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": text, **more}) + "\n" for text in texts))
    return {"source": name, "paths": [str(path)]}
