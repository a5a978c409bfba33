"""What mixers see and do beside shares: weights of single windows, frozen models, and the state that is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.proxies.training.toys import job, shape

from siftlm.proxies.training import (
    MIXER,
    FrozenModel,
    GroupShares,
    Observation,
    Optimisation,
    WindowBatch,
    frozen_model,
    train_into,
)
from siftlm.proxies.training.saved import SavedWeights


class Doubling:
    """Doubles the losses of the first group after the first step, by its windows or by the group."""

    def __init__(self) -> None:
        self.steps = 0
        self.last: Any = None

    def identity(self) -> object:
        return type(self).__name__

    def observe(self, seen: Observation) -> GroupShares | None:
        self.steps += 1
        places = seen.window_groups, seen.window_numbers
        self.last = (*places, seen.model.token_nats(seen.file, *places))
        return GroupShares(loss_weights=np.array([2.0, 1.0])) if seen.step == 1 else None

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


class DoublingWindows(Doubling):
    def observe(self, seen: Observation) -> GroupShares | None:
        super().observe(seen)
        return None

    def weigh(self, batch: WindowBatch) -> Any:
        assert batch.windows_drawn.sum() == (self.steps + 1) * len(batch.window_groups)
        return np.where(batch.window_groups == 0, 2.0 if self.steps else 1.0, 1.0)


def test_weights_of_windows_are_weights_of_their_losses(tmp_path: Path) -> None:
    """As those of groups are, to the bit; and they change what is trained."""
    made = {}
    for mixer in (Doubling(), DoublingWindows(), None):
        folder = tmp_path / type(mixer).__name__
        train_into(folder, job(tmp_path, mixer=mixer))
        made[type(mixer).__name__] = (folder / "model.safetensors").read_bytes()
    assert made["Doubling"] == made["DoublingWindows"]
    assert made["Doubling"] != made["NoneType"]
    assert not (tmp_path / "NoneType" / MIXER).exists()


def test_the_state_of_a_mixer_stays_with_the_model(tmp_path: Path) -> None:
    train_into(tmp_path / "model", job(tmp_path, mixer=Doubling()))
    assert json.loads((tmp_path / "model" / MIXER).read_text()) == {"steps": 12}


def test_a_frozen_model_is_the_one_that_was_trained(tmp_path: Path) -> None:
    """Its losses are those that a mixer saw after the last step, for any number of threads."""
    mixer = Doubling()
    made = job(tmp_path, mixer=mixer, optimisation={"batch_tokens": 1024})
    train_into(tmp_path / "model", made)
    groups, numbers, expected = mixer.last
    for threads in (1, 3):
        settings = Optimisation(threads=threads)
        with frozen_model(SavedWeights.of(str(tmp_path / "model")), shape(), settings, made.tokens) as model:
            assert isinstance(model, FrozenModel)
            assert model.token_nats(made.tokens, groups, numbers).tolist() == expected.tolist()
