"""Defines the configuration of `siftlm mix`; a new method is a file and a name here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, get_args

from pydantic import Field, TypeAdapter

from siftlm.mixtures.bench import TrainSettings
from siftlm.mixtures.learning import LearnerSettings
from siftlm.mixtures.methods.aioli import AioliSettings
from siftlm.mixtures.methods.bilevel import BilevelSettings
from siftlm.mixtures.methods.corpus_curves import CorpusCurvesSettings
from siftlm.mixtures.methods.data_constrained import DataConstrainedSettings
from siftlm.mixtures.methods.data_filtering import DataFilteringSettings
from siftlm.mixtures.methods.doge import DogeSettings
from siftlm.mixtures.methods.doremi import DoremiSettings
from siftlm.mixtures.methods.loss_to_loss import LossToLossSettings
from siftlm.mixtures.methods.merged import MergedSettings
from siftlm.mixtures.methods.meta_rater import MetaRaterSettings
from siftlm.mixtures.methods.mixing_laws import MixingLawsSettings
from siftlm.mixtures.methods.odm import OdmSettings
from siftlm.mixtures.methods.olmix import OlmixSettings
from siftlm.mixtures.methods.optimal_mixtures import OptimalMixturesSettings
from siftlm.mixtures.methods.regmix import RegmixSettings
from siftlm.mixtures.methods.sample import SampleMixturesSettings
from siftlm.mixtures.methods.skill_it import SkillItSettings
from siftlm.mixtures.protocol import MixSettings
from siftlm.paths import WrittenPath
from siftlm.settings import Settings

FromRuns: TypeAlias = (
    RegmixSettings
    | OlmixSettings
    | MixingLawsSettings
    | OptimalMixturesSettings
    | DataFilteringSettings
    | DataConstrainedSettings
    | CorpusCurvesSettings
    | LossToLossSettings
    | MetaRaterSettings
    | SampleMixturesSettings
)
ByTraining: TypeAlias = (
    DoremiSettings | DogeSettings | SkillItSettings | AioliSettings | OdmSettings | BilevelSettings | MergedSettings
)
MixMethod: TypeAlias = FromRuns | ByTraining
AnyMix = Annotated[MixMethod, Field(discriminator="method")]
METHODS: dict[str, type[MixSettings]] = {kind.model_fields["method"].default: kind for kind in get_args(MixMethod)}


class MixConfig(Settings):
    """Configures how shares of domains are found, and the file that they are written to."""

    mix: AnyMix = Field(description="The method, and what it reads.")
    train: TrainSettings | None = Field(None, description="What the models of `siftlm mix --train` are trained on.")
    output: WrittenPath | None = Field(
        None, description="The file of the result; by default mixture.json, or what the page on mixtures says."
    )

    @property
    def written(self) -> str:
        """Returns the path of the file of the result."""
        return self.output or self.settings.default_output

    @property
    def settings(self) -> MixSettings:
        """Returns the settings of the method."""
        return self.mix


def learner_settings(tree: Mapping[str, Any]) -> LearnerSettings:
    """Returns the settings of a method that learns shares, from their JSON."""
    made: MixMethod = TypeAdapter(AnyMix).validate_python(dict(tree))
    assert isinstance(made, LearnerSettings), f"{made.method} changes shares in a training"
    return made
