"""Defines the configuration of `siftlm mix`; a new method must be added to the union here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from siftlm.mixtures.regmix import RegmixSettings
from siftlm.paths import WrittenPath
from siftlm.settings import Settings

AnyMix = Annotated[RegmixSettings, Field(discriminator="method")]
METHODS = ("regmix",)


class MixConfig(Settings):
    """Configures how shares of domains are found, and the file that they are written to."""

    mix: RegmixSettings
    output: WrittenPath = Field("mixture.json", description="The file of shares, for a factor `mixture` by its `path`.")
