"""Names the weights of trained models, for trainings that go on from them and for averages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siftlm import filesystem
from siftlm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class SavedWeights:
    """Names the weights of a trained model: its folder, and a digest of what is in their file."""

    folder: str
    digest: str

    @classmethod
    def of(cls, folder: str) -> SavedWeights:
        """Returns the weights of a folder that a training wrote; raises UserError where there are none."""
        path = f"{folder}/{WEIGHTS}"
        if not Path(path).is_file():
            raise UserError(f"{folder}: must be a folder of a trained model with {WEIGHTS}, got one without")
        return cls(folder, filesystem.hash_bytes(path))

    def tensors(self) -> dict[str, Tensor]:
        """Returns the weights by the names of transformers, float32."""
        from safetensors.torch import load_file

        return load_file(f"{self.folder}/{WEIGHTS}")
