"""Tells before anything is trained how long it will take, from measured steps or finished trainings."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from siftlm import filesystem
from siftlm.engine.drive import Context
from siftlm.engine.progress import duration
from siftlm.engine.shards import Task
from siftlm.proving.replicates import PACE, STAGE, a_core_each, chosen, one_thread, run_replicates, stored_tokens
from siftlm.proving.vocabulary import read_tokenizer
from siftlm.proxies.training.settings import ModelShape, Optimisation, Training
from siftlm.proxies.training.tokenizer import DocumentTokenizer
from siftlm.proxies.training.tokens import TokenFile
from siftlm.store import Marker, Store, digest

PACES = "proof_pace"  # what a few steps took; removed when it has been read
WARM_UP = 3  # steps that load, allocate and compile
STEPS = 20
LONGEST_SECONDS = 8.0  # of the steps that are measured
MEASURED_TOKENS = 20_000  # of held-out documents whose losses are timed
MEANS = ("step", "measure", "steps", "spent")
FEWEST = 2  # finished trainings that say more than measured steps


@dataclass(frozen=True)
class Trainings:
    """Holds models of one shape that are to be trained alike, and what they have cost where some are done.

    Attributes:
        training: Of each, but for its seeds.
        pace: A digest of all that their time depends on, but for the machine.
        models: How many there are.
        left: How many of them the store does not have.
    """

    training: Training
    pace: str
    models: int
    left: int


@dataclass(frozen=True)
class MeasurePace:
    """Times a few steps of training, and losses of some held-out documents, after loading what a training loads.

    The facts of a task are `held_out` (key of a token file) and `tokenizer` (a path), those of its marker what
    `measured_pace` returns.
    """

    model: ModelShape
    training: Optimisation
    name: str = PACES

    def run(self, task: Task, store: Store) -> Marker:
        file = stored_tokens(task.facts["held_out"], store)
        facts = measured_pace(Training(self.model, one_thread(self.training), 1), file)
        _load_all(self.model, read_tokenizer(task.facts["tokenizer"], store))
        return Marker(PACES, task.key, task.name, 0, 0, facts=facts)


def measured_pace(training: Training, file: TokenFile) -> dict[str, float]:
    """Times steps of training, and the losses of a sample of a held-out file.

    Returns:
        `step`, the seconds of a step; `measure`, those of the losses of the whole file; `steps`, how many were
        measured; `spent`, the seconds of all steps and losses that were computed.
    """
    from siftlm.proxies.training.device import lanes, opened_device
    from siftlm.proxies.training.learner import Learner

    size, context = training.batch_windows, training.shape.context_tokens
    windows = np.resize(file.tokens, (size, context + 1)).astype(np.int64)
    factors = np.full(size, 1 / training.step_tokens)
    with lanes(training.optimisation) as pool:
        learner = Learner(training, file.vocabulary, file.separator, opened_device(training.optimisation), pool)
        spent: list[float] = []
        while len(spent) < WARM_UP + STEPS and sum(spent[WARM_UP:]) < LONGEST_SECONDS:
            started = time.monotonic()
            float(learner.step(windows, factors, 1e-4).mean())
            spent.append(time.monotonic() - started)
        sample = chosen(file, _sample(file))
        started = time.monotonic()
        learner.document_nats(sample)
        of_sample = time.monotonic() - started
    steps = spent[WARM_UP:]
    measure = of_sample * len(file.tokens) / max(1, len(sample.tokens))
    told = {"step": sum(steps) / len(steps), "measure": measure, "steps": len(steps)}
    return {**told, "spent": sum(spent) + of_sample}


def _load_all(shape: ModelShape, tokenizer: DocumentTokenizer) -> None:
    """Writes a model to nowhere, for which every process loads packages once."""
    import torch

    from siftlm.proxies.training.export import save_model
    from siftlm.proxies.training.weights import FlatWeights

    weights = FlatWeights(shape, tokenizer.vocabulary, 0, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), shape, weights.by_name, tokenizer)


def _sample(file: TokenFile) -> np.ndarray:
    """Documents of the file at even distances, of about so many tokens that are enough to be timed."""
    every = max(1, len(file.tokens) // MEASURED_TOKENS)
    return np.arange(0, len(file.byte_counts), every)


def cost_line(every: Sequence[Trainings], measures: int, given: Mapping[str, str], context: Context, cores: int) -> str:
    """Returns a sentence with the time that trainings will take on this machine.

    Args:
        every: The trainings, the models whose arms are compared first.
        measures: How often else the held-out documents are measured, as averaged models are.
        given: `held_out`, the key of the token file of the held-out documents, and `tokenizer`, a path.
        context: The store, and the runner on this machine.
        cores: Of this machine.
    """
    models, left = sum(of.models for of in every), sum(of.left for of in every)
    if not left and not measures:
        return f"all {models} are in the store"
    lanes = _at_once(every[0], context, cores)
    seconds, origins = 0.0, list[str]()
    pace: dict[str, float] = {}
    for of in (of for of in every if of.left):
        known = finished(of.pace, context.store)
        if len(known) < FEWEST:
            pace = _pace(of, given, lanes, context, cores)
            one = of.training.steps * pace["step"] + len(of.training.marks or (0,)) * pace["measure"]
            origins.append(f"{pace['steps']:.0f} measured steps")
        else:
            one = median(known)
            origins.append(f"{len(known)} finished trainings")
        seconds += math.ceil(of.left / lanes) * one + pace.get("start", 0.0)
    if measures:
        if not pace:
            pace = _pace(every[0], given, lanes, context, cores)
            origins.append(f"{pace['steps']:.0f} measured steps")
        seconds += math.ceil(measures / lanes) * pace["measure"] + pace["start"]
    there = f"{models - left} of {models} are in the store, the others take" if left < models else "they take"
    return f"{there} about {duration(seconds)} on this machine, from {' and '.join(dict.fromkeys(origins))}"


def finished(pace: str, store: Store) -> list[float]:
    """Returns the seconds of the trainings of a pace that the store has."""
    markers = (store.marker(STAGE, key) for key in sorted(store.done(STAGE)))
    return [float(m.facts["seconds"]) for m in markers if m.facts.get(PACE) == pace and "seconds" in m.facts]


def _at_once(of: Trainings, context: Context, cores: int) -> int:
    """How many models are trained side by side."""
    stage = MeasurePace(of.training.shape, of.training.optimisation)
    return a_core_each(context.runner, stage, cores).processes


def _pace(of: Trainings, given: Mapping[str, str], lanes: int, context: Context, cores: int) -> dict[str, float]:
    """The mean pace of as many processes as will train, side by side, and `start`: the seconds to start them."""
    stage = MeasurePace(of.training.shape, of.training.optimisation)
    keys = [digest(PACES, of.pace, number, time.time_ns()) for number in range(lanes)]
    tasks = [Task(number, f"pace {number}", key, facts=dict(given)) for number, key in enumerate(keys)]
    started = time.monotonic()
    markers = run_replicates(stage, tasks, context, cores)
    seconds = time.monotonic() - started
    for key in keys:
        filesystem.remove(context.store.path(PACES, key, ".done"))
    means = {name: float(np.mean([marker.facts[name] for marker in markers])) for name in MEANS}
    return {**means, "start": max(0.0, seconds - means["spent"])}
