"""Tells other processes how far a training is, by a small file in its folder."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

STEPS_DONE = "steps_done.bin"
SECONDS = 1.0  # between two writings
_FORM = struct.Struct("<q")


@dataclass
class StepsFile:
    """Writes the steps that are done to a file now and then, which goes when the model is there."""

    folder: Path
    seconds: float = SECONDS
    _written: float = field(default=float("-inf"))

    def __call__(self, step: int, steps: int) -> None:
        now = time.monotonic()
        if step == steps or now - self._written >= self.seconds:
            (self.folder / STEPS_DONE).write_bytes(_FORM.pack(step))
            self._written = now


def steps_done(folder: Path) -> int | None:
    """Returns the steps that a training in a folder was last known to have done; None where nothing tells."""
    try:
        content = (folder / STEPS_DONE).read_bytes()
    except OSError:
        return None
    return int(_FORM.unpack(content)[0]) if len(content) == _FORM.size else None
