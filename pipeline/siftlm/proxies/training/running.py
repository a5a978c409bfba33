"""Runs the steps of a training: draws windows, trains, measures at marks, asks the mixer, and keeps checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from siftlm.proxies.training.checkpoint import Checkpoints, TrainingState
from siftlm.proxies.training.device import lanes, opened_device
from siftlm.proxies.training.export import joined_weights, save_model
from siftlm.proxies.training.job import MIXER, Job, Progress
from siftlm.proxies.training.learner import Learner
from siftlm.proxies.training.marks import Evaluation
from siftlm.proxies.training.mixer import GroupShares, Observation, Singles, WindowBatch, WindowWeigher
from siftlm.proxies.training.record import TrainingRecord
from siftlm.proxies.training.sampler import Floats, Sampler, initial_shares
from siftlm.proxies.training.tokens import Ints, TokenFile
from siftlm.proxies.training.weights import Average


def run(
    job: Job, folder: Path, made: Path, checkpoint_seconds: float, progress: Progress | None = None
) -> dict[str, Any]:
    """Trains a model from its last checkpoint in `folder` on, writes it to `made`, and returns its figures."""
    device = opened_device(job.training.optimisation)
    checkpoints = Checkpoints(folder, job.identity(), checkpoint_seconds)
    with lanes(job.training.optimisation) as pool:
        learner = Learner(job.training, job.tokens.vocabulary, job.tokens.separator, device, pool)
        running = RunningTraining(job, learner, checkpoints)
        running.resume()
        while running.step < job.training.steps:
            running.advance()
            if progress is not None:
                progress(running.step, job.training.steps)
        running.finish()
    save_model(made, job.training.shape, learner.weights.by_name, job.tokenizer)
    running.record.save(made)
    if job.mixer is not None:
        (made / MIXER).write_bytes(orjson.dumps(job.mixer.state(), option=orjson.OPT_SERIALIZE_NUMPY))
    return running.facts()


class RunningTraining:
    """Holds a training between two steps; `step` of them are done."""

    def __init__(self, job: Job, learner: Learner, checkpoints: Checkpoints) -> None:
        training, settings = job.training, job.training.optimisation
        self._job, self._learner, self._checkpoints = job, learner, checkpoints
        self._windows = job.tokens.windows(training.shape.context_tokens)
        shares = initial_shares(job.tokens.groups, self._windows.counts, training.shares)
        counts = self._windows.counts
        self.sampler = Sampler(job.tokens.groups, counts, training.seeds.order, shares, settings.max_epochs)
        if job.mixer is None:  # which may give shares to other groups in time
            self.sampler.require(training.steps * training.batch_windows)
        self._loss_weights = np.ones(len(counts))
        self._average = Average(training.steps, settings.average_last, settings.average_every)
        if job.start is not None:
            learner.weights.load(joined_weights(training.shape, job.start.tensors()))
        self.record = TrainingRecord(job, learner.device)
        self.step = 0

    def advance(self) -> None:
        """Takes one step, and what is due after it."""
        if self.step == 0:
            self.record.turned(0, self.sampler, self._loss_weights)
            self._measure(averaged=False)
        training = self._job.training
        rate = self._job.learning_rate(self.step)
        groups, numbers = self.sampler.draw(self.step, training.batch_windows)
        factors = self._loss_weights[groups] * self._window_weights(groups, numbers) / training.step_tokens
        nats = self._learner.step(self._windows.take(groups, numbers), factors, rate)
        self.record.losses[self.step] = nats.mean()
        self.step += 1
        if self.step in self._average.steps:
            self._average.add(self._learner.weights.flat)
        evaluation = self._measure(averaged=False)
        if self._job.mixer is not None:
            self._ask(rate, groups, numbers, nats.cpu().numpy(), evaluation)
        if self._checkpoints.due and self.step < training.steps:
            self._checkpoints.write(self.state())

    def finish(self) -> None:
        """Ends with the mean of the last weights, where it was asked for, and measures that too."""
        if self._average.steps:
            self._learner.weights.flat.copy_(self._average.mean())
            if self._job.evaluate is not None:
                self._evaluate(averaged=True)
        self.record.turned(self.step, self.sampler, self._loss_weights)

    def _window_weights(self, groups: Ints, numbers: Ints) -> Floats:
        """What the losses of each window are multiplied by, where the mixer weighs windows; else 1."""
        mixer: object = self._job.mixer
        if not isinstance(mixer, WindowWeigher):
            return np.ones(len(groups))
        drawn = self.sampler.drawn.copy()
        batch = WindowBatch(self._job.tokens, groups, numbers, drawn, LearnerView(self._learner))
        return np.asarray(mixer.weigh(batch), np.float64)

    def _measure(self, averaged: bool) -> Evaluation | None:
        return self._evaluate(averaged) if self.step in self._job.marks else None

    def _evaluate(self, averaged: bool) -> Evaluation:
        assert self._job.evaluate is not None, "marks are of a held-out file"
        sums = self._learner.document_nats(self._job.evaluate)
        made = Evaluation(self.step, self.step * self._job.training.step_tokens, averaged, sums)
        self.record.evaluations.append(made)
        return made

    def _ask(self, rate: float, groups: Ints, numbers: Ints, nats: Singles, evaluation: Evaluation | None) -> None:
        """Shows the step to the mixer, and does as it says."""
        assert self._job.mixer is not None, "somebody is asked"
        seen = Observation(
            step=self.step,
            steps=self._job.training.steps,
            learning_rate=rate,
            file=self._job.tokens,
            shares=self.sampler.shares,
            window_groups=groups,
            window_numbers=numbers,
            token_nats=nats,
            windows_drawn=self.sampler.drawn.copy(),
            evaluation=evaluation,
            model=LearnerView(self._learner),
        )
        mixture = self._job.mixer.observe(seen)
        if mixture is not None:
            self._turn(mixture)

    def _turn(self, mixture: GroupShares) -> None:
        if mixture.shares is not None:
            self.sampler.turn_to(mixture.shares)
        if mixture.loss_weights is not None:
            self._loss_weights = np.asarray(mixture.loss_weights, np.float64)
        self.record.turned(self.step, self.sampler, self._loss_weights)

    def state(self) -> TrainingState:
        """Returns all that the next steps depend on."""
        learner = self._learner
        tensors = {"weights": learner.weights.flat}
        tensors |= {f"optimizer.{name}": part for name, part in learner.optimizer.state().items()}
        tensors |= {f"sampler.{name}": torch.as_tensor(of) for name, of in self._arrays().items()}
        tensors |= self.record.tensors(self.step)
        if self._average.total is not None:
            tensors["average"] = self._average.total
        mixer = self._job.mixer.state() if self._job.mixer else None
        facts = {"step": self.step, "averaged": self._average.count, "mixer": mixer, "record": self.record.told()}
        return TrainingState(tensors, facts)

    def _arrays(self) -> dict[str, Any]:
        return {"drawn": self.sampler.drawn, "shares": self.sampler.shares, "loss_weights": self._loss_weights}

    def resume(self) -> None:
        """Goes on from the last checkpoint, where there is one."""
        state = self._checkpoints.read()
        if state is None:
            return
        tensors, learner = state.tensors, self._learner
        with torch.no_grad():
            learner.weights.flat.copy_(tensors["weights"])
        prefix = "optimizer."
        learner.optimizer.restore(
            {name.removeprefix(prefix): part for name, part in tensors.items() if name.startswith(prefix)}
        )
        self.sampler.drawn = tensors["sampler.drawn"].numpy()
        self.sampler.shares = tensors["sampler.shares"].numpy()
        self._loss_weights = tensors["sampler.loss_weights"].numpy()
        if "average" in tensors:
            self._average.total = tensors["average"].to(learner.device)
            self._average.count = state.facts["averaged"]
        if self._job.mixer is not None:
            self._job.mixer.restore(state.facts["mixer"])
        self.record.restore(tensors, state.facts["record"])
        self.step = state.facts["step"]

    def facts(self) -> dict[str, Any]:
        """Returns the figures of a training that is done."""
        training, groups = self._job.training, self._job.tokens.groups
        tokens = (self.sampler.drawn * training.shape.context_tokens).tolist()
        return {
            "steps": self.step,
            "tokens": self.step * training.step_tokens,
            "parameters": len(self._learner.weights.flat),
            "nats_per_token": self.record.last_nats(),
            "tokens_by_group": dict(zip(groups, tokens, strict=True)),
            "epochs_by_group": dict(zip(groups, self.sampler.epochs.round(4).tolist(), strict=True)),
        }


class LearnerView:
    """Shows the model of a learner to a mixer."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def token_nats(self, file: TokenFile, groups: Ints, numbers: Ints) -> Singles:
        """Returns the nats of every token of some windows, [windows, context]."""
        return self._learner.window_nats(self._taken(file, groups, numbers)).cpu().numpy()

    def gradient(self, file: TokenFile, groups: Ints, numbers: Ints) -> Singles:
        """Returns the gradient of the mean nats per token over some windows, [parameters], always in one order."""
        return self._learner.gradient(self._taken(file, groups, numbers)).cpu().numpy().copy()

    def _taken(self, file: TokenFile, groups: Ints, numbers: Ints) -> Ints:
        return file.windows(self._learner.shape.context_tokens).take(groups, numbers)
