"""Lists the edits that a configuration can name; a new one must be added to the union here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from siftlm.edits.pii import PiiSettings
from siftlm.edits.repair import RepairSettings

AnyEdit = Annotated[RepairSettings | PiiSettings, Field(discriminator="kind")]
