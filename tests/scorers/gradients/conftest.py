"""What tests of gradients share: a scorer of texts, and the gradient of one text by autograd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import cross_entropy

TEXTS = [
    "A sieve keeps the coarse and lets the fine fall through.",
    "The quick brown fox jumps over the lazy dog.",
    "x",
    "",
    "Zweiter Text: größer. 第三の文章です。",
    "again and again, " * 20,
    "no",
]


def batch(texts: list[Any]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def opened(kind: Any, folder: Path, **settings: Any) -> Any:
    """A scorer with its model loaded."""
    scorer = kind.model_validate({"name": "g", "model": str(folder), "device": "cpu", **settings}).scorer()
    scorer.load(scorer.digest())
    return scorer


def column(scorer: Any, texts: list[Any], suffix: str = "") -> list[float | None]:
    return list(scorer.score(batch(texts))[f"g{suffix}"].to_pylist())


def windows(scorer: Any, text: str) -> list[torch.Tensor]:
    """The tokens of a text with the one before it, in windows that share a token, which the first alone predicts."""
    model = scorer.loaded()
    (ids,) = model.tokenizer.encode([text]).texts()
    whole = torch.tensor([*([] if model.tokenizer.prefix is None else [model.tokenizer.prefix]), *ids.tolist()])
    return [whole[start : start + model.context + 1] for start in range(0, max(len(whole) - 1, 0), model.context)]


def by_autograd(scorer: Any, text: str, wanted: Any) -> dict[str, np.ndarray] | None:
    """The gradient of a text's mean nll, by `backward()` under a model of its own; None without a token."""
    model = scorer.loaded().read().requires_grad_(True)
    parts = windows(scorer, text)
    predicted = sum(len(part) - 1 for part in parts)
    if not predicted:
        return None
    losses = [cross_entropy(model(part[None, :-1]).logits[0], part[1:], reduction="sum") for part in parts]
    (torch.stack(losses).sum() / predicted).backward()
    named = {name: parameter.grad for name, parameter in model.named_parameters() if wanted(name)}
    return {name: grad.double().numpy() for name, grad in named.items() if grad is not None}


def square(gradient: dict[str, np.ndarray]) -> float:
    return float(sum((of**2).sum() for of in gradient.values()))
