"""Defines the base class of all settings, which are immutable and strictly typed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

End = Literal["highest", "lowest"]
"""Which values of a column are the good ones."""
FOLDER = "folder"
"""What validators find the folder of the configuration's file by, in pydantic's context."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
"""The name of a source, a model or a column."""


class Settings(BaseModel):
    """Holds one table of the configuration, immutable and strictly typed.

    The path of a field is its key path in TOML, and its place in an error. An unknown key is an error. Text is never
    turned into a number, nor a number into text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)
