"""Defines scorers that hold a transformers model, found by folder, file or hub id."""

from __future__ import annotations

from typing import Any, TypeVar

from siftlm.errors import UserError
from siftlm.scorers.files import Held
from siftlm.scorers.lm_files import ModelFiles

T = TypeVar("T")


class HeldModel(Held[T]):
    """Holds a model that is loaded at the first document, and by every worker for itself."""

    files: ModelFiles  # a cached property, which downloads a hub model at the first call

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def reads(self) -> list[str]:
        return self.paths_of(self.files)

    @staticmethod
    def paths_of(files: ModelFiles) -> list[str]:
        """Returns the files of a model, or its folder where that is gone."""
        try:
            return [str(path) for path in files.paths]
        except OSError:
            return [str(files.folder)]

    def content(self) -> str:
        try:
            return self.files.digest()
        except OSError as error:
            place, folder = f"{self.settings.place}.model", str(self.files.folder)  # type: ignore[attr-defined]
            raise UserError(f"{place}: must be a model that can be read, got {folder!r}: {error.strerror}") from None
