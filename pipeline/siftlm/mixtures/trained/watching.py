"""Shows a method what it observes of a model in training: losses, excess losses, held-out losses or gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from siftlm.errors import UserError
from siftlm.mixtures.learning import LearnerSettings
from siftlm.mixtures.methods.bilevel import WeighedWindows
from siftlm.mixtures.methods.doge import DomainGradients
from siftlm.mixtures.methods.doremi import clipped_excess
from siftlm.mixtures.methods.odm import StepLosses
from siftlm.mixtures.online import Floats
from siftlm.proxies.training import FrozenModel, GroupShares, Job, ModelView, Observation, TokenFile, WindowBatch

MOST_GRADIENT_BYTES = 6 << 30  # of the gradients of all domains and targets


class StepSignal(Protocol):
    """Reads from a step what a method observes; None where it observes nothing of this step."""

    def __call__(self, seen: Observation) -> Any: ...


class Watching:
    """Changes the shares and loss weights of a training as a method says, one step after another."""

    def __init__(self, learner: Any, signal: StepSignal, identity: object) -> None:
        self._learner, self._signal, self._identity = learner, signal, identity

    def identity(self) -> object:
        return self._identity

    def observe(self, seen: Observation) -> GroupShares | None:
        """Returns what changes after a step; raises UserError where losses are no numbers any more."""
        if not np.isfinite(seen.token_nats).all():
            raise UserError(
                f"train.training.learning_rate: must be one at which losses stay finite, got other losses in step "
                f"{seen.step} of {seen.steps}; lower it"
            )
        observed = self._signal(seen)
        if observed is None:
            return None
        self._learner.observe(observed)
        return GroupShares(self._learner.shares, self._learner.loss_weights)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._learner.state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        self._learner.restore(state)


class WatchingWindows(Watching):
    """Does the same for a method that weighs the windows of a step before it is taken."""

    def __init__(self, learner: Any, signal: WindowSignal, identity: object) -> None:
        super().__init__(learner, signal, identity)
        self._windows = signal

    def weigh(self, batch: WindowBatch) -> Floats:
        """Returns the weights of a step's windows, whose mean is 1."""
        self._windows.features = window_features(batch)
        weights: Floats = self._learner.weigh(self._windows.features)
        return weights


def watching(
    settings: LearnerSettings, plan: Mapping[str, Any], job: Job, reference: FrozenModel | None = None
) -> Watching:
    """Returns a method at its beginning, that watches a training.

    Args:
        settings: Of the method.
        plan: What a `LearnerPlan` has.
        job: The training.
        reference: The model whose losses are compared, where the method needs one.
    """
    domains = len(job.tokens.groups)
    learner, held_out = settings.learner(domains, plan["arrays"]), job.evaluate
    assert held_out is not None, "a mixture is measured on held-out text"
    identity = [dict(plan["method"]), plan["reference"], dict(plan["arrays"])]
    match settings.observes:
        case "losses":
            return Watching(learner, step_losses, identity)
        case "excess":
            assert reference is not None, "an excess is over a reference model's losses"
            return Watching(learner, ExcessSignal(reference), identity)
        case "held_out":
            marks = settings.marks(job.training.steps, domains)
            return Watching(learner, HeldOutSignal(held_out, frozenset(marks)), identity)
        case "gradients":
            return Watching(learner, GradientSignal(held_out, *settings.pace()), identity)
        case "windows":
            return WatchingWindows(learner, WindowSignal(held_out, *settings.pace()), identity)


def step_losses(seen: Observation) -> StepLosses:
    """Returns the losses of a step's tokens by domain, and their shares of the tokens."""
    windows = np.bincount(seen.window_groups, minlength=len(seen.shares))
    return StepLosses(seen.group_nats, windows / windows.sum())


class ExcessSignal:
    """Compares every token's loss with that of a reference model."""

    def __init__(self, reference: FrozenModel) -> None:
        self._reference = reference

    def __call__(self, seen: Observation) -> Floats:
        reference = self._reference.token_nats(seen.file, seen.window_groups, seen.window_numbers)
        domains = np.repeat(seen.window_groups, seen.token_nats.shape[1])
        proxy, other = (nats.astype(np.float64).ravel() for nats in (seen.token_nats, reference))
        return clipped_excess(proxy, other, domains, len(seen.shares))


class HeldOutSignal:
    """Gives the nats per token of held-out text by target, after the steps that a method asked for."""

    def __init__(self, held_out: TokenFile, steps: frozenset[int]) -> None:
        self._held_out, self._steps = held_out, steps

    def __call__(self, seen: Observation) -> Floats | None:
        if seen.step not in self._steps or seen.evaluation is None:
            return None
        return domain_nats(self._held_out, seen.evaluation.nll_sums)


class GradientSignal:
    """Gives the gradients of some windows of every domain and of every target, every so many steps."""

    def __init__(self, held_out: TokenFile, every: int, windows: int) -> None:
        self._held_out, self._every, self._windows = held_out, every, windows

    def __call__(self, seen: Observation) -> DomainGradients | None:
        if (seen.step - 1) % self._every:
            return None
        turn, context = (seen.step - 1) // self._every, seen.token_nats.shape[1]
        parts = [
            [gradient(seen.model, file, group, turn, self._windows, context) for group in range(len(file.groups))]
            for file in (seen.file, self._held_out)
        ]
        train, target = (np.stack(rows) for rows in parts)
        return DomainGradients(train, target, seen.learning_rate)


class WindowSignal:
    """Gives the features of a step's windows, and every so many steps how they align with held-out text."""

    def __init__(self, held_out: TokenFile, every: int, windows: int) -> None:
        self._held_out, self._every, self._windows = held_out, every, windows
        self.features: Floats = np.zeros((0, 3))

    def __call__(self, seen: Observation) -> WeighedWindows:
        alignments = None if seen.step % self._every else self._alignments(seen)
        return WeighedWindows(seen.window_groups, self.features, alignments, seen.learning_rate)

    def _alignments(self, seen: Observation) -> Floats:
        turn, context = seen.step // self._every, seen.token_nats.shape[1]
        groups = range(len(self._held_out.groups))
        target = np.mean(
            [gradient(seen.model, self._held_out, g, turn, self._windows, context) for g in groups], axis=0, dtype=float
        )
        own = (
            seen.model.gradient(seen.file, seen.window_groups[n : n + 1], seen.window_numbers[n : n + 1])
            for n in range(len(seen.window_groups))
        )
        return np.array([row.astype(np.float64) @ target for row in own])


def gradient(model: ModelView, file: TokenFile, group: int, turn: int, count: int, context: int) -> np.ndarray:
    """Returns the gradient of some windows of a group, others in every turn until all were taken."""
    windows = int(file.windows(context).counts[group])
    numbers = (turn * count + np.arange(min(count, windows))) % windows
    return model.gradient(file, np.full(len(numbers), group), numbers.astype(np.int64))


def domain_nats(file: TokenFile, nll_sums: Floats) -> Floats:
    """Returns the nats per token of every target of a held-out file, float64[targets]."""
    sums = np.bincount(file.document_groups, nll_sums, len(file.groups))
    return np.asarray(sums / np.maximum(1, np.bincount(file.document_groups, file.token_counts, len(file.groups))))


def window_features(batch: WindowBatch) -> Floats:
    """Returns the loss of every window, the logarithm to base 2 of its documents' mean tokens, and its passes.

    The loss is that before the step; passes are those of its domain's text. float64[windows, 3].
    """
    groups, numbers = batch.window_groups, batch.window_numbers
    nats = batch.model.token_nats(batch.file, groups, numbers)
    windows = batch.file.windows(nats.shape[1])
    documents = (windows.take(groups, numbers)[:, :-1] == batch.file.separator).sum(1) + 1
    passes = batch.windows_drawn[groups] / windows.counts[groups]
    return np.stack([nats.mean(1, dtype=np.float64), np.log2(nats.shape[1] / documents), passes], axis=1)


def check_gradients(groups: int, parameters: int) -> None:
    """Raises UserError where the gradients of all domains and targets would not fit."""
    if (needed := groups * parameters * 4) > MOST_GRADIENT_BYTES:
        raise UserError(
            f"train.model: must be small enough that gradients of {groups} domains and targets fit in "
            f"{MOST_GRADIENT_BYTES >> 30} GiB, got {needed / (1 << 30):.1f} GiB; choose a smaller model"
        )


def check_windows(tokens: TokenFile, held_out: TokenFile | None, context: int) -> None:
    """Raises UserError where a domain has too little text for one window."""
    files = {"texts": tokens, "held-out texts": held_out}
    for what, file in ((what, file) for what, file in files.items() if file is not None):
        counts = file.windows(context).counts
        if not counts.all():
            name = file.groups[int(np.argmin(counts))]
            raise UserError(
                f"train: every domain must have {what} of {context + 1} tokens at least, got fewer of {name!r}; "
                "leave it out, join it with another, or shorten train.model.context_tokens"
            )
