"""What trainings will take is counted from the seconds of one, and these are those of its steps and measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.proxies.training.toys import job

from siftlm.engine.drive import Context
from siftlm.engine.runner import RunnerSettings
from siftlm.proving.cost import Trainings, cost_line, measured_pace
from siftlm.proving.replicates import STAGE
from siftlm.proxies.training import ModelShape, Optimisation, Training
from siftlm.store import Marker, Store

GIVEN = {"held_out": "none", "tokenizer": "none"}


def trainings(models: int, left: int, steps: int = 100, pace: str = "p") -> Trainings:
    shape = ModelShape.model_validate({})
    return Trainings(Training(shape, Optimisation.model_validate({}), steps, marks=(50, 100)), pace, models, left)


def said(monkeypatch: pytest.MonkeyPatch, store: Store, every: list[Trainings], measures: int = 0) -> str:
    """With steps of half a second, and two models at a time."""
    pace = {"step": 0.5, "measure": 4.0, "steps": 20.0, "spent": 1.0, "start": 3.0}
    monkeypatch.setattr("siftlm.proving.cost._pace", lambda *_: pace)
    return cost_line(every, measures, GIVEN, Context(store, RunnerSettings.model_validate({})), 2)


def test_models_are_trained_two_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """14 * (50 + 8) s and 3 to start; then 3 * (10 + 8) and 3, and 5 * 4 and 3 for nine averages."""
    store = Store(str(tmp_path))
    told = said(monkeypatch, store, [trainings(28, 28)])
    assert told == "they take about 13 min 35 s on this machine, from 20 measured steps"
    both = said(monkeypatch, store, [trainings(28, 28), trainings(5, 5, steps=20)], measures=9)
    assert both == "they take about 14 min 55 s on this machine, from 20 measured steps"


def test_finished_trainings_say_more_than_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The median of those of the same pace; the others count for nothing."""
    store = Store(str(tmp_path))
    for number, seconds in enumerate((10.0, 12.0, 50.0)):
        facts: dict[str, Any] = {"seconds": seconds, "pace": "p"}
        store.commit(Marker(STAGE, f"{number}" * 32, "", 0, 0, facts=facts))
    store.commit(Marker(STAGE, "9" * 32, "", 0, 0, facts={"seconds": 1000.0, "pace": "q"}))
    told = said(monkeypatch, store, [trainings(28, 25)])
    assert (
        told == "3 of 28 are in the store, the others take about 2 min 36 s on this machine, from 3 finished trainings"
    )
    assert said(monkeypatch, store, [trainings(28, 0)]) == "all 28 are in the store"


def test_a_pace_is_of_steps_and_of_all_held_out_documents(tmp_path: Path) -> None:
    made = job(tmp_path, 4)
    assert made.evaluate is not None
    pace = measured_pace(made.training, made.evaluate)
    assert pace["steps"] == 20
    assert 0 < pace["step"] * 20 < pace["spent"]
    assert pace["measure"] > 0
