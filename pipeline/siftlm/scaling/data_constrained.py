"""Predicts losses of models that read their text several times.

Muennighoff et al. 2023 (Scaling Data-Constrained Language Models, arXiv 2305.16264): L = E + A / N'^alpha +
B / D'^beta with D' = U_D + U_D R_D* (1 - exp(-R_D / R_D*)), R_D = D / U_D - 1 the repeats of U_D tokens; and N' alike,
where what is more than the U_N parameters that are best for U_D tokens counts as repeats. Constants:
huggingface/datablations, README.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError

Floats = npt.NDArray[np.float64]

FLOPS = 6.0  # of a parameter and token of training
FACTORS = np.linspace(1.0001, 3.0, 500)  # more tokens or fewer than without repetition, that are tried


@dataclass(frozen=True)
class DataConstrainedLaw:
    """Holds the law's coefficients; by default those published for C4, in nats of the GPT-2 tokenizer."""

    log_a: float = 6.255414
    log_b: float = 7.3049974
    log_e: float = 0.6254804
    alpha: float = 0.3526596
    beta: float = 0.3526596
    decay_repeats: float = 15.387756  # R_D*
    decay_parameters: float = 5.309743  # R_N*

    @property
    def ratio(self) -> float:
        """Returns G = (alpha A / (beta B))^(1 / (alpha + beta))."""
        rise = self.alpha * np.exp(self.log_a) / (self.beta * np.exp(self.log_b))
        return float(rise ** (1 / (self.alpha + self.beta)))

    def best_parameters(self, tokens: float) -> float:
        """Returns how many parameters are best for new text of so many tokens."""
        return float((tokens * self.ratio) ** (self.beta / self.alpha) * self.ratio)

    def effective_tokens(self, tokens: npt.ArrayLike, unique: npt.ArrayLike) -> Floats:
        """Returns how many new tokens it is worth to read `tokens`, of which `unique` are different ones."""
        read, new = np.asarray(tokens, np.float64), np.asarray(unique, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            repeats = np.where(new > 0, np.maximum(read / new - 1, 0), 0.0)
        worth = new + new * self.decay_repeats * (1 - np.exp(-repeats / self.decay_repeats))
        return np.asarray(np.minimum(worth, read))

    def loss(self, parameters: float, tokens: float, unique: float) -> float:
        """Returns the loss in nats; raises UserError for more different tokens than are read."""
        if not 0 < unique <= tokens or parameters <= 0:
            raise UserError(
                "data_constrained: parameters and unique tokens must be above 0, and these at most the tokens read, "
                f"got {parameters:g}, {unique:g} and {tokens:g}"
            )
        best = min(parameters, self.best_parameters(unique))
        surplus = max(parameters / best - 1, 0)
        worth = best + best * self.decay_parameters * (1 - np.exp(-surplus / self.decay_parameters))
        read = float(self.effective_tokens(tokens, unique))
        return float(np.exp(self.log_e) + np.exp(self.log_a) / worth**self.alpha + np.exp(self.log_b) / read**self.beta)

    def best_allocation(self, flops: float, unique: float) -> tuple[float, float, float]:
        """Returns (parameters, tokens, loss) of the best training with so many operations and different tokens.

        As published: tokens up to three times more or fewer than the best without repetition, in 500 steps each.
        """
        power = self.beta / (self.alpha + self.beta)
        parameters, tokens = self.ratio * (flops / FLOPS) ** power, (flops / FLOPS) ** (1 - power) / self.ratio
        tried = np.concatenate([FACTORS, 1 / FACTORS])
        losses = [self.loss(parameters / f, tokens * f, min(unique, tokens * f)) for f in tried.tolist()]
        factor = float(tried[int(np.argmin(losses))])
        return parameters / factor, tokens * factor, min(losses)
