"""Averages the weights of trained models, and measures the model that the mean makes.

The mean of models that were trained apart, from one start, on parts of a corpus stands for a model of those parts
together: its losses order mixtures as those of trained models do, where their weights have not moved far (Na et al.
2024, arXiv 2410.15661; Wortsman et al. 2022, arXiv 2203.05482). Whether they do is to be checked on trained models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from siftlm.errors import UserError
from siftlm.proxies.training.device import lanes, opened_device
from siftlm.proxies.training.export import joined_weights
from siftlm.proxies.training.learner import Learner
from siftlm.proxies.training.sampler import Floats
from siftlm.proxies.training.saved import SavedWeights
from siftlm.proxies.training.settings import ModelShape, Optimisation, Training
from siftlm.proxies.training.tokens import TokenFile


def average(models: Sequence[SavedWeights], shares: Sequence[float]) -> dict[str, Tensor]:
    """Returns sum(share * weights) / sum(share) of several models by the names of transformers, float32.

    It is summed in float64, one model in memory at a time, so that the mean of equal models is that model. A model
    without a share is not read.

    Raises:
        UserError: a share is negative or no number, all are 0, or the models have different weights.
    """
    weights = np.asarray(shares, np.float64)
    if weights.shape != (len(models),) or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise UserError(
            f"average: shares must be numbers of 0 or more, one for each of {len(models)} models and not all 0, got "
            f"{list(shares)}"
        )
    total: dict[str, Tensor] = {}
    for model, share in zip(models, weights / weights.sum(), strict=True):
        if share:
            _add(total, model, float(share))
    return {name: part.float() for name, part in total.items()}


def _add(total: dict[str, Tensor], model: SavedWeights, share: float) -> None:
    """Adds a model's weights to a sum, which begins empty."""
    own = model.tensors()
    if total and {name: part.shape for name, part in own.items()} != {name: p.shape for name, p in total.items()}:
        raise UserError(f"average: models must have the same weights, got others in {model.folder}")
    for name, part in own.items():
        total[name] = total[name].add_(part, alpha=share) if name in total else part.double().mul_(share)


def document_nats(weights: Mapping[str, Tensor], shape: ModelShape, settings: Optimisation, file: TokenFile) -> Floats:
    """Returns the sum of nats of every document of a file under weights, float64 [documents], as marks have them.

    Args:
        weights: By the names of transformers, as a trained model's file has them.
        shape: Of the model.
        settings: Say on which device and in which numbers to compute.
        file: The documents.
    """
    device = opened_device(settings)
    with lanes(settings) as pool, torch.no_grad():
        learner = Learner(Training(shape, settings, 1), file.vocabulary, file.separator, device, pool)
        learner.weights.load(joined_weights(shape, weights))
        return learner.document_nats(file)
