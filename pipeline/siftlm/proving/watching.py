"""Counts the tokens that models in training have seen, for a line of progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from siftlm.engine.progress import StageCounts, duration
from siftlm.proxies.training.steps_file import steps_done
from siftlm.store import Store


@dataclass
class TrainingCounts(StageCounts):
    """Counts finished models and the tokens of all, of trainings of `steps` steps of `step_tokens` tokens each."""

    steps: int = 1
    step_tokens: int = 1
    unit: ClassVar[str] = "models"
    _steps_of: dict[str, int] = field(default_factory=dict)
    _first: int | None = None  # steps that were done when somebody first looked

    def look(self, store: Store) -> None:
        """Adds what has been trained since the last call."""
        super().look(store)
        for key in self.wanted - self.done:
            known = steps_done(Path(store.path(self.stage, key, "")))
            self._steps_of[key] = max(self._steps_of.get(key, 0), known or 0)
        for key in self.done:
            self._steps_of[key] = self.steps
        self._first = self.trained_steps if self._first is None else self._first

    @property
    def trained_steps(self) -> int:
        """Returns the steps of all models together that are done."""
        return sum(self._steps_of.values())

    def status(self, seconds: float) -> str:
        """Returns a line such as `proof: 5/28 models, 2,096,128 of 8,372,224 tokens, 38,000 tokens/s, 2 min 45 s left`.

        Until a step is done, the line has the time so far instead of a rate.
        """
        every, now = self.steps * len(self.wanted), self.trained_steps
        text = f"{self.stage}: {len(self.done)}/{len(self.wanted)} models, "
        text += f"{now * self.step_tokens:,} of {every * self.step_tokens:,} tokens"
        fresh = now - (self._first or 0)
        if fresh <= 0 or seconds <= 0:
            return f"{text}, {duration(seconds)} so far"
        rate = fresh / seconds
        return f"{text}, {rate * self.step_tokens:,.0f} tokens/s, {duration((every - now) / rate)} left"
