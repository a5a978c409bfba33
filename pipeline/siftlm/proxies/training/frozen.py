"""Shows a trained model that is trained no more, such as the reference model of a method that compares two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siftlm.proxies.training.mixer import Singles
from siftlm.proxies.training.saved import SavedWeights
from siftlm.proxies.training.settings import ModelShape, Optimisation, Training
from siftlm.proxies.training.tokens import Ints, TokenFile

if TYPE_CHECKING:
    from siftlm.proxies.training.learner import Learner


@dataclass(frozen=True)
class FrozenModel:
    """Computes losses under the weights of a trained model."""

    learner: Learner

    def token_nats(self, file: TokenFile, groups: Ints, numbers: Ints) -> Singles:
        """Returns the nats of every token of some windows, [windows, context]."""
        windows = file.windows(self.learner.shape.context_tokens).take(groups, numbers)
        return self.learner.window_nats(windows).cpu().numpy()


@contextmanager
def frozen_model(
    saved: SavedWeights, shape: ModelShape, settings: Optimisation, file: TokenFile
) -> Iterator[FrozenModel]:
    """Yields a trained model for windows of files with the tokenizer of `file`.

    Raises:
        UserError: the weights are of another shape or vocabulary, or the device is not there.
    """
    from siftlm.proxies.training.device import lanes, opened_device
    from siftlm.proxies.training.export import joined_weights
    from siftlm.proxies.training.learner import Learner

    device = opened_device(settings)
    with lanes(settings) as pool:
        learner = Learner(Training(shape, settings, 1), file.vocabulary, file.separator, device, pool)
        learner.weights.load(joined_weights(shape, saved.tensors()))
        yield FrozenModel(learner)
