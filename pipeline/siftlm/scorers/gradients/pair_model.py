"""Takes gradients of a model beside the way that its weights have to go to those of another one."""

from __future__ import annotations

from typing import Any

import torch

from siftlm.errors import UserError
from siftlm.scorers.gradients.model import GradientModel
from siftlm.scorers.gradients.pair_options import PairOptions
from siftlm.scorers.lm_files import ModelFiles
from siftlm.scorers.lm_model import causal_model


class PairModel(GradientModel):
    """Computes numbers of gradients with a direction in the space of weights at hand.

    Attributes:
        directions: The reference's weights less the model's, float64, for each chosen parameter.
        distance: The norm of all directions together.

    Raises:
        UserError: the models are of different architectures, or their chosen weights are the same.
    """

    def __init__(self, settings: PairOptions, files: ModelFiles, reference_files: ModelFiles) -> None:
        self._reference_files = reference_files
        self._apart: dict[str, torch.Tensor] = {}
        super().__init__(settings, files)
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        chosen = self.layers.parameters.items()
        self.directions = {name: self._apart[names[parameter]].double().to(self.device) for name, parameter in chosen}
        self._apart = {}
        self.distance = float(sum(of.square().sum() for of in self.directions.values()) ** 0.5)
        if not self.distance > 0:
            raise UserError(
                f"{self.place}.reference: must have other weights than the model in {settings.chosen_layers!r}, got "
                "the same"
            )

    def read(self) -> Any:
        """Returns the model, moved towards the reference by `at`; keeps the differences of all weights."""
        assert isinstance(self.settings, PairOptions), "of two models"
        model, place = super().read(), f"{self.place}.reference"
        reference = causal_model(place, self._reference_files, self.settings.trust_remote_code)
        check_architecture(place, model, reference)
        theirs = dict(reference.named_parameters())
        for name, parameter in model.named_parameters():
            self._apart[name] = theirs[name].data - parameter.data
            parameter.data.add_(self._apart[name], alpha=self.settings.at)
        return model

    def metadata(self) -> dict[str, str]:
        assert isinstance(self.settings, PairOptions), "of two models"
        mine = {"reference": self.settings.reference, "reference_digest": self._reference_files.digest()}
        return super().metadata() | mine | {"weight_distance": repr(self.distance)}


def check_architecture(place: str, model: Any, reference: Any) -> None:
    """Raises a UserError at `place` where two models differ in kind, or in name or shape of a parameter."""
    if type(model) is not type(reference):
        kinds = f"{reference.config.model_type} beside {model.config.model_type}"
        raise UserError(f"{place}: must be a model of the same architecture, got {kinds}")
    ours, theirs = ({name: tuple(of.shape) for name, of in each.named_parameters()} for each in (model, reference))
    for name in (*ours, *theirs):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"{place}: must be a model of the same architecture, got {name} of shape {theirs.get(name)} beside "
                f"{ours.get(name)}"
            )
