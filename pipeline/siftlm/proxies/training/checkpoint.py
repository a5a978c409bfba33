"""Keeps the state of a training in one sealed file, so that it goes on where it was interrupted.

Bits that were trained after an interruption are those that would have been trained without: the state is all that the
next steps depend on. Random numbers are drawn from keys, and have none.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor

from siftlm import filesystem
from siftlm.store import Store

CHECKPOINT = "checkpoint.bin"
_LENGTH = 8  # bytes that hold how long the facts are


@dataclass(frozen=True)
class TrainingState:
    """Holds tensors by name, and facts that JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@dataclass
class Checkpoints:
    """Reads and writes the checkpoint of one training in a folder.

    `identity` is a digest of all that the training depends on: a checkpoint of another is not taken over.
    """

    folder: Path
    identity: str
    seconds: float  # between two checkpoints
    _written: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        return str(self.folder / CHECKPOINT)

    @property
    def due(self) -> bool:
        """Tells whether the last checkpoint, or the start, is long enough ago."""
        return time.monotonic() - self._written >= self.seconds

    def write(self, state: TrainingState) -> None:
        """Replaces the checkpoint."""
        from safetensors.torch import save

        facts = orjson.dumps({"identity": self.identity, **state.facts}, option=orjson.OPT_SERIALIZE_NUMPY)
        tensors = {name: part.detach().cpu().clone().contiguous() for name, part in state.tensors.items()}
        content = len(facts).to_bytes(_LENGTH, "little") + facts + save(tensors)
        Store(str(self.folder)).write_sealed(self.path, content)
        self._written = time.monotonic()

    def read(self) -> TrainingState | None:
        """Returns the last state; None where there is none of this training, or it is damaged, which is logged."""
        from safetensors.torch import load

        store = Store(str(self.folder))
        if not store.holds_sealed(self.path):
            return None
        content = store.read_sealed(self.path)
        start = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
        facts = orjson.loads(content[_LENGTH:start])
        if facts.pop("identity") != self.identity:
            return None
        return TrainingState(load(content[start:]), facts)

    def remove(self) -> None:
        """Removes the checkpoint of a training that is done."""
        filesystem.remove(self.path)


def as_tensor(values: Any) -> Tensor:
    """Returns an array as a tensor of its own."""
    return torch.as_tensor(values).clone()
