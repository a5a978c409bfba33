"""Defines the configuration of `siftlm mix`; a new method is a file and a name here."""

from __future__ import annotations

from typing import Annotated, TypeAlias, get_args

from pydantic import Field

from siftlm.mixtures.methods.regmix import RegmixSettings
from siftlm.mixtures.methods.sample import SampleMixturesSettings
from siftlm.mixtures.protocol import MixSettings
from siftlm.paths import WrittenPath
from siftlm.settings import Settings

MixMethod: TypeAlias = RegmixSettings | SampleMixturesSettings
AnyMix = Annotated[MixMethod, Field(discriminator="method")]
METHODS: dict[str, type[MixSettings]] = {kind.model_fields["method"].default: kind for kind in get_args(MixMethod)}


class MixConfig(Settings):
    """Configures how shares of domains are found, and the file that they are written to."""

    mix: AnyMix = Field(description="The method, and what it reads.")
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
