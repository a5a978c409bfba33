"""Runs `siftlm mix --train`: reads texts, trains the models that a method needs, and writes its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from siftlm import filesystem
from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.mixtures.bench import Load, TrainingPlan, TrainSettings
from siftlm.mixtures.learning import LearnerSettings, TrainableSettings, one_domain
from siftlm.mixtures.methods.sample import sampled
from siftlm.mixtures.mix import provenance
from siftlm.mixtures.problem import BoundsSettings
from siftlm.mixtures.protocol import MixOutcome, MixSettings
from siftlm.mixtures.runs import RunsSettings
from siftlm.mixtures.settings import MixConfig
from siftlm.mixtures.trained.bench import Bench
from siftlm.mixtures.trained.texts import NAME
from siftlm.proxies.training.device import opened_device
from siftlm.stages import publish
from siftlm.stages.registry import register
from siftlm.store import digest, mended

RUNS = "runs.csv"
SAMPLER = (0.5, 15.0, 2e-4)  # temperature, times the prior, smallest share, as RegMix has them


def train_mix(config: MixConfig, progress: Progress) -> MixOutcome:
    """Returns what a method finds by training, after writing it to the output file; raises UserError."""
    settings, train = config.settings, checked(config)
    settings.check_packages()
    with publish.workspace(train.folder, NAME, f"{train.folder}/store") as store:
        made, used, told = mended(lambda: _found(settings, Bench.begin(train, store, progress)))
    made.write(config.written, {**provenance(used), "train": told})
    return made


def say_cost(config: MixConfig, progress: Progress) -> None:
    """Reads the texts of a training, and says what would be trained and how long that takes; raises UserError."""
    settings, train = config.settings, checked(config)
    with publish.workspace(train.folder, NAME, f"{train.folder}/store") as store:
        bench = mended(lambda: Bench.begin(train, store, progress))
        if len(bench.domains) == 1:
            progress.say(one_domain(bench.domains[0]).warnings[0])
            return
        _check(settings, bench)
        progress.say(bench.cost_line(_loads(settings, bench)))


def checked(config: MixConfig) -> TrainSettings:
    """Returns what models are trained on; raises UserError where a method trains none, or there are no texts."""
    settings, train = config.settings, config.train
    if not isinstance(settings, TrainableSettings | RunsSettings):
        raise UserError(f"mix.method: must be one that trains models where --train is given, got {settings.method!r}")
    if train is None or bool(train.input) == (train.run is not None):
        raise UserError("train: must have texts, either `input` or `run`, where models are trained")
    try:
        opened_device(train.training)
    except UserError as error:
        raise UserError(f"train.training.{error}") from None
    return train


def _check(settings: MixSettings, bench: Bench) -> None:
    bench.check(settings.observes if isinstance(settings, TrainableSettings) else None)


def _found(settings: MixSettings, bench: Bench) -> tuple[MixOutcome, MixSettings, Mapping[str, Any]]:
    """The result, the settings with what they read, and what the file says of the training."""
    if len(bench.domains) == 1:
        return one_domain(bench.domains[0]), settings, _told(bench)
    _check(settings, bench)
    bench.expected.extend(_loads(settings, bench))
    if isinstance(settings, TrainableSettings):
        made = settings.trained(bench)
    else:
        settings = with_runs(settings, bench)
        made = settings.result()
    identity = digest([(folder, sorted(keys)) for folder, keys in bench.needs.keys.items()])
    register(bench.store, NAME, bench.settings.folder, "mix", identity, bench.needs)
    return made, settings, _told(bench)


def _loads(settings: MixSettings, bench: Bench) -> list[Load]:
    """All that will be trained, the check included."""
    if not isinstance(settings, TrainableSettings):
        return [Load(bench.settings.runs, bench.steps)]
    loads = settings.loads(len(bench.domains), bench.steps)
    again = (
        replace(loads[-1], models=bench.settings.repeats - 1) if isinstance(settings, LearnerSettings) else Load(0, 0)
    )
    return [*loads, again, Load(2 * bench.settings.check, bench.steps)]


def _told(bench: Bench) -> dict[str, Any]:
    """What the result says of the texts and the trainings that it comes from."""
    texts = bench.texts
    return {
        "texts": [texts.trains.identity, texts.measures.identity],
        "tokens": {name: round(tokens) for name, tokens in zip(bench.domains, texts.tokens.tolist(), strict=True)},
        "steps": bench.steps,
        **bench.settings.model_dump(mode="json", exclude_defaults=True),
    }


def with_runs(settings: MixSettings, bench: Bench) -> MixSettings:
    """Trains models on drawn mixtures, and returns the settings of a method that reads these runs."""
    train = bench.settings
    others, _ = sampled(bench.prior, train.runs - 1, train.seed, *SAMPLER)
    shares = np.concatenate([bench.prior[None], others])
    models = bench.train([TrainingPlan(f"run {number}", row, bench.steps) for number, row in enumerate(shares)])
    columns = {"run": [f"run {number}" for number in range(len(models))]}
    columns |= {f"share_{name}": column for name, column in zip(bench.domains, shares.T, strict=True)}
    losses = np.stack([model.losses for model in models])
    columns |= {f"loss_{name}": column for name, column in zip(bench.targets, losses.T, strict=True)}
    path = f"{train.folder}/{RUNS}"
    with filesystem.open_write(path) as stream:
        pa.csv.write_csv(pa.table(columns), stream)
    changes: dict[str, Any] = {"runs": path, "losses": None, "run": "run"}
    if "parameters" in type(settings).model_fields:
        changes["parameters"] = models[0].parameters
    if isinstance(settings, BoundsSettings) and not settings.prior and not settings.tokens:
        changes["prior"] = dict(zip(bench.domains, bench.prior.tolist(), strict=True))
    return settings.model_copy(update=changes)
