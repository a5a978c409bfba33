"""Averages of models: a mean of state dicts, and trainings that go on from given weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.proxies.training.toys import job, shape, tokenizer
from transformers import AutoModelForCausalLM

from siftlm.errors import UserError
from siftlm.proxies.training import STEPS, Job, SavedWeights, Seeds, Trained, last_sums, train_into
from siftlm.proxies.training.export import joined_weights, save_model
from siftlm.proxies.training.merging import average, document_nats
from siftlm.proxies.training.weights import FlatWeights

CPU = torch.device("cpu")


def begun(folder: Path, seed: int, **changes: Any) -> SavedWeights:
    """A new model, as a training would have left it."""
    made = shape(**changes)
    save_model(folder, made, FlatWeights(made, tokenizer().vocabulary, seed, CPU).by_name, tokenizer())
    return SavedWeights.of(str(folder))


@pytest.fixture
def models(tmp_path: Path) -> list[SavedWeights]:
    return [begun(tmp_path / str(seed), seed) for seed in range(3)]


@pytest.mark.parametrize("shares", [(1, 2, 3), (0.2, 0, 0.8), (5.0, 0.0, 0.0)])
def test_an_average_is_the_weighed_mean_of_state_dicts(models: list[SavedWeights], shares: Sequence[float]) -> None:
    """Against transformers' own state dicts, in float64; the last bit may differ."""
    states = [AutoModelForCausalLM.from_pretrained(m.folder, dtype=torch.float32).state_dict() for m in models]
    made = average(models, shares)
    for name, part in made.items():
        weighed = [share / sum(shares) * state[name].double() for share, state in zip(shares, states, strict=True)]
        assert torch.allclose(part, sum(weighed[1:], weighed[0]).float(), rtol=1e-6, atol=1e-9), name
    assert states[0].keys() - made.keys() <= {"lm_head.weight"}


def test_a_mean_of_equal_models_is_that_model_and_one_share_is_that_model(models: list[SavedWeights]) -> None:
    first = models[0].tensors()
    for made in (average([models[0]] * 3, [1, 1, 1]), average([models[0]] * 2, [0.1, 0.7]), average(models, [2, 0, 0])):
        assert all(torch.equal(made[name], part) for name, part in first.items())


def test_a_model_without_a_share_is_not_read(models: list[SavedWeights]) -> None:
    """What is not a number in it does no harm, either."""
    shutil.rmtree(models[1].folder)
    assert average(models, [1, 0, 1]).keys() == models[0].tensors().keys()


@pytest.mark.parametrize("shares", [[0, 0, 0], [1, -1, 1], [1, 1], [1, float("nan"), 1]])
def test_wrong_shares_are_refused(models: list[SavedWeights], shares: list[float]) -> None:
    with pytest.raises(UserError, match="average: shares must be numbers of 0 or more, one for each of 3 models"):
        average(models, shares)


def test_models_of_other_shapes_have_no_mean(models: list[SavedWeights], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"models must have the same weights, got others in .*wide"):
        average([models[0], begun(tmp_path / "wide", 0, width=64)], [1, 1])
    with pytest.raises(UserError, match=r"must be a folder of a trained model with model\.safetensors"):
        SavedWeights.of(str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_saved_weights_come_back_as_they_were(tmp_path: Path, name: Any) -> None:
    """Llama's joined projections too."""
    made = shape(shape=name)
    weights = FlatWeights(made, tokenizer().vocabulary, 3, CPU)
    save_model(tmp_path, made, weights.by_name, tokenizer())
    other = FlatWeights(made, tokenizer().vocabulary, 4, CPU)
    other.load(joined_weights(made, SavedWeights.of(str(tmp_path)).tensors()))
    assert torch.equal(other.flat, weights.flat)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_losses_of_saved_weights_are_those_of_the_last_mark(tmp_path: Path, name: Any) -> None:
    made = job(tmp_path, 6, shape={"shape": name})
    train_into(tmp_path / "model", made)
    assert made.evaluate is not None
    weights = SavedWeights.of(str(tmp_path / "model")).tensors()
    sums = document_nats(weights, made.training.shape, made.training.optimisation, made.evaluate)
    assert np.array_equal(sums, last_sums(tmp_path / "model"))


def continued(folder: Path, made: Job, start: Path, **changes: Any) -> Job:
    training = replace(made.training, **changes)
    return replace(made, start=SavedWeights.of(str(start)), training=training)


def test_a_training_goes_on_from_given_weights_at_a_constant_rate(tmp_path: Path) -> None:
    """The first mark is the start's last, and the rate does not change."""
    made = job(tmp_path, 8)
    train_into(tmp_path / "first", made)
    again = continued(tmp_path, made, tmp_path / "first", seeds=Seeds(7, 8))
    train_into(tmp_path / "second", again)
    assert made.evaluate is not None
    marks = Trained(str(tmp_path / "second"), {}).table("marks.parquet")
    begun = marks.filter(marks["step"].to_numpy() == 0)["nll_sum"].to_numpy()
    assert np.array_equal(begun, last_sums(tmp_path / "first"))
    assert last_sums(tmp_path / "second").sum() < begun.sum()
    rates = Trained(str(tmp_path / "second"), {}).table(STEPS)["learning_rate"].unique().to_pylist()
    assert rates == [made.training.optimisation.learning_rate]


def test_the_weights_to_go_on_from_are_part_of_the_key(tmp_path: Path) -> None:
    """Their content, not their place."""
    made = job(tmp_path, 4)
    first, second = (begun(tmp_path / f"start{n}", n) for n in range(2))
    shutil.copytree(first.folder, tmp_path / "elsewhere")
    moved = SavedWeights.of(str(tmp_path / "elsewhere"))
    identities = [replace(made, start=start).identity() for start in (None, first, second, moved)]
    assert len(set(identities)) == 3
    assert identities[1] == identities[3]


class StoppedError(Exception):
    """Ends a training from within."""


def test_an_interrupted_continuation_ends_with_the_same_bytes(tmp_path: Path) -> None:
    start = begun(tmp_path / "start", 5)
    made = replace(job(tmp_path, 9), start=start)
    train_into(tmp_path / "whole", made)

    def interrupt(step: int, _: int) -> None:
        if step == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_into(tmp_path / "parts", made, checkpoint_seconds=0, progress=interrupt)
    train_into(tmp_path / "parts", made)
    whole, parts = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "parts")
    )
    assert whole == parts


def test_weights_of_another_shape_are_not_gone_on_from(tmp_path: Path) -> None:
    made = replace(job(tmp_path, 4), start=begun(tmp_path / "wide", 0, width=64))
    with pytest.raises(UserError, match="weights to go on from must be those of the model's shape and vocabulary"):
        train_into(tmp_path / "model", made)
