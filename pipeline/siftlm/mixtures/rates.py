"""Defines the result of methods that say how much of a corpus to keep, and how often to read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from siftlm.mixtures.protocol import MixOutcome, Shown, Trust


@dataclass(frozen=True)
class RateOption:
    """Holds one way to spend a training on a corpus.

    Attributes:
        name: What is kept.
        keep_rate: Its share of the tokens at hand.
        epochs: How often a training reads it.
        effective_tokens: What that is worth in tokens read once, by the data-constrained law.
        predicted: The loss or error that a law predicts; None where no law does.
        chosen: The share of resamples in which it is the best; None where there are none.
    """

    name: str
    keep_rate: float
    epochs: float
    effective_tokens: float
    predicted: float | None = None
    chosen: float | None = None


@dataclass(frozen=True)
class RateResult(MixOutcome):
    """Holds how much of a corpus to keep for a training; a rule `top` takes it by path.

    Attributes:
        keep_rate: Share of the tokens at hand.
        epochs: How often the training reads what is kept.
        train_tokens: Tokens of the training.
        effective_tokens: What they are worth in tokens read once, by the data-constrained law.
        options: What else could be kept, the least first.
        trust: How well the law predicts what it was not fitted to; a row a pool.
        parameters: Of the model, where they are given or the law says how many are best.
    """

    keep_rate: float
    epochs: float
    train_tokens: int
    effective_tokens: float
    options: tuple[RateOption, ...]
    trust: tuple[Trust, ...] = ()
    parameters: int | None = None

    def tables(self) -> Iterator[Shown]:
        """Yields the options, and how well the law predicts."""
        rows = [
            (
                one.name,
                f"{one.keep_rate:.4f}",
                f"{one.epochs:.2f}",
                f"{one.effective_tokens:.4g}",
                one.predicted,
                one.chosen,
            )
            for one in self.options
        ]
        yield Shown(("kept", "rate", "epochs", "effective tokens", "predicted", "best in resamples"), rows)
        if self.trust:
            told = [(one.target, one.runs, one.rank_correlation, f"{one.error:.4f}") for one in self.trust]
            yield Shown(("pool", "points left out", "rank correlation", "error"), told)

    def verdict(self) -> str:
        model = f" a model of {self.parameters:,} parameters" if self.parameters else ""
        return (
            f"keep {self.keep_rate:.4g} of the tokens and read them {self.epochs:.3g} times: {self.train_tokens:,} "
            f"tokens of training{model} are worth {self.effective_tokens:.4g} read once"
        )
