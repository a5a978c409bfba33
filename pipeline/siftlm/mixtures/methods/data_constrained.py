"""Finds how much of a corpus to keep for a training of given length, by what repeated text is worth.

Muennighoff et al. 2023 (Scaling Data-Constrained Language Models, arXiv 2305.16264).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from siftlm.mixtures.protocol import MixSettings
from siftlm.mixtures.rates import RateOption, RateResult
from siftlm.scaling.data_constrained import FLOPS, DataConstrainedLaw

EPOCHS = 4.0
OPTIONS = (1.0, 2.0, 4.0, 8.0, 16.0, 40.0)
MANY = 16.0  # epochs, beyond which a repeat is worth less than 1 / e of new text


class DataConstrainedSettings(MixSettings):
    """Finds how much of a corpus to keep for a training, by what repeated text is worth in new text."""

    paper: ClassVar = "Muennighoff et al. 2023 (arXiv 2305.16264)"
    needs: ClassVar = "the tokens at hand and those of the training, or its floating-point operations"
    default_output: ClassVar = "rate.json"
    example: ClassVar[Mapping[str, Any]] = {
        "method": "data_constrained", "tokens_at_hand": 100_000_000_000, "train_tokens": 200_000_000_000,
    }  # fmt: skip

    method: Literal["data_constrained"] = "data_constrained"
    tokens_at_hand: int = Field(ge=1, description="Tokens of the corpus.")
    train_tokens: int | None = Field(None, ge=1, description="Tokens of the training.")
    flops: float | None = Field(
        None, gt=0, description="Floating-point operations of the training, in the place of its tokens: the law then "
        "says how many tokens and parameters are best for all the text at hand. With `parameters` they are the tokens "
        "times six of these.",
    )  # fmt: skip
    epochs: float = Field(
        EPOCHS, ge=1, description="How often text may be read, where there is enough; up to 4 epochs are worth nearly "
        "as much as new text.",
    )  # fmt: skip
    parameters: int | None = Field(None, ge=1, description="Parameters of the model, for predicted losses.")

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.train_tokens is None) == (self.flops is None):
            raise ValueError("must have one of train_tokens and flops")
        return self

    def result(self) -> RateResult:
        """Returns the rate, the epochs, and what other rates are worth."""
        law = DataConstrainedLaw()
        parameters, tokens = self._sizes(law)
        kept = min(tokens / self.epochs, self.tokens_at_hand)
        made = _option(law, self.tokens_at_hand, tokens, kept, parameters)
        tried = [tokens / epochs for epochs in OPTIONS if tokens / epochs <= self.tokens_at_hand]
        options = [_option(law, self.tokens_at_hand, tokens, size, parameters) for size in sorted({*tried, kept})]
        return RateResult(
            tuple(_warnings(made.epochs, self.epochs, parameters)),
            made.keep_rate, made.epochs, tokens, made.effective_tokens, tuple(options), parameters=parameters,
        )  # fmt: skip

    def _sizes(self, law: DataConstrainedLaw) -> tuple[int | None, int]:
        """The parameters of the model, where they are known, and the tokens of the training."""
        if self.flops is None:
            assert self.train_tokens is not None, "checked above"
            return self.parameters, self.train_tokens
        if self.parameters:
            return self.parameters, max(1, round(self.flops / (FLOPS * self.parameters)))
        parameters, tokens, _ = law.best_allocation(self.flops, self.tokens_at_hand)
        return max(1, round(parameters)), max(1, round(tokens))


def _option(law: DataConstrainedLaw, at_hand: int, tokens: int, kept: float, parameters: int | None) -> RateOption:
    worth = float(law.effective_tokens(tokens, kept))
    loss = law.loss(parameters, tokens, min(kept, tokens)) if parameters else None
    return RateOption(f"{kept:.4g} tokens", kept / at_hand, tokens / kept, worth, loss)


def _warnings(epochs: float, wanted: float, parameters: int | None) -> Iterator[str]:
    if epochs > wanted * (1 + 1e-9):
        yield f"the tokens at hand are read {epochs:.3g} times, more often than the {wanted:g} epochs asked for"
    if epochs > MANY:
        yield f"a further epoch is worth less than 1 / e of new text, after {epochs:.3g}: find more text, or train less"
    if parameters:
        yield "losses are those of models of C4 with the tokenizer of GPT-2: compare them with each other only"
    yield "the law knows no quality: it says how much to keep, and not whether what is left out is worse"
