"""Defines the base class of all settings, which are immutable and strictly typed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)

End = Literal["highest", "lowest"]
"""Which values of a column are the good ones."""
CONTENT = "content"
"""The context in which settings are written without paths whose content counts."""
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

    def content(self, exclude: set[str] | None = None) -> dict[str, Any]:
        """Returns the settings as JSON for a key, without the paths of `FileSettings`."""
        return self.model_dump(mode="json", exclude=exclude, context=CONTENT)


class FileSettings(Settings):
    """Holds a table of the configuration with a `path`, whose content counts and whose place does not."""

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        tree: dict[str, Any] = write(self)
        return {key: value for key, value in tree.items() if key != "path"} if info.context == CONTENT else tree
