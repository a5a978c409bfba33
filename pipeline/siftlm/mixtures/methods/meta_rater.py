"""Finds weights of quality scores from the losses of small models on what many weighings of them select.

Meta-rater (arXiv 2504.14194): a document is rated by the sum of w_j q_j over scores; small models read what different w
select, and the w with the lowest predicted loss is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from siftlm.mixtures.fitted import FittedMixture
from siftlm.mixtures.law import FittedLaw
from siftlm.mixtures.laws.linear import Roots
from siftlm.mixtures.methods.regmix import predicted_means
from siftlm.mixtures.problem import FittedSettings, Problem
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.runs import Runs, read_runs
from siftlm.mixtures.simplex import best_mixtures

Floats = npt.NDArray[np.float64]

BEST = 10  # draws whose mean is the result, as QuaDMix (arXiv 2504.16511) has it


class MetaRaterSettings(FittedSettings):
    """Finds weights of quality scores from the losses of small models on what weighings of them select."""

    paper: ClassVar = "Meta-rater (arXiv 2504.14194)"
    needs: ClassVar = "runs of small models on selections by many weighings of scores, with their losses"
    unchecked: ClassVar = "the law of the weights, the scale of scores (take percentile ranks) and the number averaged"
    default_output: ClassVar = "weights.json"
    example: ClassVar[Mapping[str, Any]] = {"method": "meta_rater", "runs": "runs.csv"}
    extrapolates: ClassVar = True

    method: Literal["meta_rater"] = "meta_rater"

    def result(self) -> MixResult:
        """Returns the weights as shares; the prior is their mean in the runs."""
        return meta_rater(self, read_runs(self))


def meta_rater(settings: MetaRaterSettings, runs: Runs) -> MixResult:
    """Returns the mean of the 10 of 100,000 draws of weights with the lowest predicted losses; raises UserError."""
    problem, law = Problem(settings, runs), Roots()
    scores = len(runs.domains)

    def find(fits: Sequence[FittedLaw]) -> Floats:
        predict = predicted_means(law, fits, problem.weights)
        even = np.full(scores, 1 / scores)
        return best_mixtures(predict, even, *problem.bounds, settings.seed, strength=scores, best=BEST)

    return FittedMixture(problem, law, find).result()
