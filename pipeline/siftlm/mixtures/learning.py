"""Defines methods that learn shares while a small model is trained, and what they say when they are done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.mixtures.bench import LearnerPlan, Load, TrainedModel, TrainingBench, TrainingPlan
from siftlm.mixtures.fitted import SMALL_MODELS
from siftlm.mixtures.online import ShareLearner, uniform_shares
from siftlm.mixtures.protocol import MixOutcome, MixResult, MixSettings, Shown, Trust, interval_words

Floats = npt.NDArray[np.float64]
Observes = Literal["losses", "excess", "held_out", "gradients", "windows"]
"""What a learner observes: a step's losses by domain, their clipped excess over a reference model's, losses on
held-out text at marks, gradients of domains and targets, or single windows."""

MANY_EPOCHS = 4.0  # from there on repeated text teaches less than new text (Muennighoff et al. 2023, arXiv 2305.16264)


@dataclass(frozen=True)
class Checked:
    """Holds the losses of a target, bits per byte, of models on the prior and on the mixture."""

    target: str
    prior: float
    mixture: float


@dataclass(frozen=True)
class LearntMixture(MixResult):
    """Holds a mixture that was found by training, and what models that were trained on it say of it.

    `intervals` has the least and the greatest share of a domain in several trainings, where there were several.

    Attributes:
        losses: By target, of models on the prior and on the mixture; none without such a check.
        parameters: Of the models.
        tokens: That every model was trained on.
        models: Keys of the models in the store that the mixture comes from.
    """

    losses: tuple[Checked, ...]
    parameters: int
    tokens: int
    models: tuple[str, ...]

    def tables(self) -> Iterator[Shown]:
        """Yields the shares, the largest first, and the losses of the check by target."""
        rows = []
        for name, share in sorted(self.shares.items(), key=lambda item: (-item[1], item[0])):
            row: tuple[object, ...] = (name, f"{share:.4f}", f"{self.prior[name]:.4f}")
            if self.intervals:
                row = (*row, self._interval(name))
            rows.append(row)
        more = ("range",) if self.intervals else ()
        yield Shown(("domain", "share", "prior", *more), rows)
        if self.losses:
            told = [(of.target, f"{of.prior:.4f}", f"{of.mixture:.4f}") for of in self.losses]
            yield Shown(("held-out text", "bits per byte on the prior", "on the mixture"), told)
        yield from self.trust_tables()

    def verdict(self) -> str:
        if self.gain is None:
            return ""
        gain, low, high = self.gain
        return (
            f"models on the mixture have {gain:+.4f} bits per byte less than on the prior, by target "
            f"(90 % of draws of held-out documents: {interval_words(low, high)})"
        )


class TrainableSettings(MixSettings):
    """Configures a method that trains the models that it needs, by `siftlm mix METHOD --train`."""

    observes: ClassVar[Observes | None] = None

    def loads(self, domains: int, steps: int) -> Sequence[Load]:
        """Returns what will be trained for so many domains, beside the check."""
        raise NotImplementedError(f"{self.method} must say what it trains")

    def trained(self, bench: TrainingBench) -> MixOutcome:
        """Returns what the method finds by training."""
        raise NotImplementedError(f"{self.method} must train")

    def not_trained(self, place: str, what: str) -> UserError:
        """Returns the error of a method that is neither given a table nor asked to train."""
        return UserError(f"mix.{place}: must name {what} where nothing is trained; or call siftlm mix with --train")


class LearnerSettings(TrainableSettings):
    """Configures a method that changes shares while one model is trained.

    Attributes:
        observes: What it observes.
        tables: Its settings that name tables to read, which no training depends on.
    """

    observes: ClassVar[Observes]
    tables: ClassVar[frozenset[str]] = frozenset({"log"})

    def learner(self, domains: int, arrays: Mapping[str, Any]) -> ShareLearner[Any]:
        """Returns the method at its beginning; `arrays` are those of its `LearnerPlan`."""
        raise NotImplementedError(f"{self.method} must learn shares")

    def marks(self, steps: int, domains: int) -> tuple[int, ...]:  # noqa: ARG002
        """Returns the steps after which a learner of held-out losses observes them."""
        return ()

    def starting_shares(self, prior: Floats, arrays: Mapping[str, Any]) -> Floats:  # noqa: ARG002
        """Returns the shares that the first step is drawn by; `arrays` are those of its `LearnerPlan`."""
        return uniform_shares(len(prior))

    def pace(self) -> tuple[int, int]:
        """Returns after how many steps each a learner of gradients observes, and how many windows of a domain."""
        return 1, 1

    def trained(self, bench: TrainingBench) -> MixOutcome:
        return learnt(self, bench, LearnerPlan(self.plan()))

    def plan(self) -> dict[str, Any]:
        """Returns the settings that decide what is learnt."""
        return self.model_dump(mode="json", exclude=set(self.tables))


def learnt(settings: LearnerSettings, bench: TrainingBench, plan: LearnerPlan) -> LearntMixture:
    """Trains models whose shares the method changes, and returns the mean of the shares that it learnt."""
    domains = len(bench.domains)
    start, marks = settings.starting_shares(bench.prior, plan.arrays), settings.marks(bench.steps, domains)
    plans = [
        TrainingPlan(f"{settings.method} {seed}", start, bench.steps, seed=seed, learner=plan, marks=marks)
        for seed in range(bench.settings.repeats)
    ]
    models = bench.train(plans)
    shares = np.stack([_result(settings.learner(domains, plan.arrays), model) for model in models])
    made = judged(bench, np.asarray(shares.mean(axis=0)), models)
    if len(models) == 1:
        return made
    ends = zip(shares.min(axis=0).tolist(), shares.max(axis=0).tolist(), strict=True)
    return replace(made, intervals=dict(zip(bench.domains, ends, strict=True)))


def _result(learner: ShareLearner[Any], model: TrainedModel) -> Floats:
    """The shares that a learner ended with."""
    assert model.state is not None, "a learner has a state"
    learner.restore(model.state)
    return learner.result()


def replayed(
    learner: ShareLearner[Any], steps: Iterable[Any], domains: Sequence[str], warnings: Sequence[str] = ()
) -> MixResult:
    """Returns the shares that a method learns from what was logged of a training; its prior are equal shares."""
    for seen in steps:
        learner.observe(seen)
    shares = dict(zip(domains, learner.result().tolist(), strict=True))
    line = "a replay cannot know what the model would have learnt on the mixtures that the method asks for"
    return MixResult((*warnings, line), shares, equal(domains), {}, None, ())


def equal(domains: Sequence[str]) -> dict[str, float]:
    """Returns equal shares by domain."""
    return dict.fromkeys(domains, 1 / len(domains))


def judged(
    bench: TrainingBench,
    shares: Floats,
    models: Sequence[TrainedModel],
    warnings: Sequence[str] = (),
    trust: Sequence[Trust] = (),
) -> LearntMixture:
    """Returns a mixture after its check: pairs of models on the prior and on the mixture, from the same seeds.

    Args:
        bench: What trains models.
        shares: float64[domains], of the mixture.
        models: Those that it comes from.
        warnings: What a user should know of it.
        trust: How well its method predicts losses.
    """
    prior, mixture = _checks(bench, shares)
    gain = _gain(bench, prior, mixture) if prior else None
    every = [*models, *prior, *mixture]
    unsure = ["the mixture does not surely beat the prior: its gain may be 0 or less"] if gain and gain[1] <= 0 else []
    return LearntMixture(
        warnings=(*warnings, *bench.notes, *unsure, *_warnings(bench, every)),
        shares=dict(zip(bench.domains, shares.tolist(), strict=True)),
        prior=dict(zip(bench.domains, bench.prior.tolist(), strict=True)),
        intervals={},
        gain=gain,
        trust=tuple(trust),
        losses=tuple(map(Checked, bench.targets, _losses(prior), _losses(mixture))),
        parameters=max(model.parameters for model in every),
        tokens=bench.settings.tokens,
        models=tuple(model.key for model in models),
    )


def _checks(bench: TrainingBench, shares: Floats) -> tuple[list[TrainedModel], list[TrainedModel]]:
    """Models on the prior, and those on the mixture."""
    pairs = [("prior", bench.prior), ("mixture", shares)]
    made = bench.train(
        [
            TrainingPlan(f"check of the {name} {seed}", of, bench.steps, seed=seed)
            for seed in range(bench.settings.check)
            for name, of in pairs
        ]
    )
    return made[0::2], made[1::2]


def _losses(models: Sequence[TrainedModel]) -> list[float]:
    """The mean loss of every target over models; none of none."""
    return [float(loss) for loss in np.mean([model.losses for model in models], axis=0)] if models else []


def _gain(
    bench: TrainingBench, prior: Sequence[TrainedModel], mixture: Sequence[TrainedModel]
) -> tuple[float, float, float]:
    """How much lower the mean of the targets' losses is on the mixture, with an interval."""
    gain = float(np.mean(_losses(prior)) - np.mean(_losses(mixture)))
    return (gain, *bench.gain_interval(prior, mixture))


def _warnings(bench: TrainingBench, models: Sequence[TrainedModel]) -> Iterator[str]:
    """What to know of small models, and of texts that were read often."""
    if (parameters := max(model.parameters for model in models)) < SMALL_MODELS:
        yield (
            f"the models have {parameters:,} parameters: what small models say of mixtures is known to hold for large "
            f"ones from about {SMALL_MODELS:,} on (Olmix, arXiv 2602.12237)"
        )
    epochs = np.max([model.epochs for model in models], axis=0)
    if often := [name for name, times in zip(bench.domains, epochs.tolist(), strict=True) if times > MANY_EPOCHS]:
        yield (
            f"a model has read the texts of {name_some(often)} up to {float(epochs.max()):.1f} times: their shares say "
            "as much of learning by heart as of learning"
        )


def one_domain(domain: str) -> LearntMixture:
    """Returns the only mixture of one domain, for which nothing is trained."""
    line = f"there is one domain only, {domain!r}, so that there is nothing to mix"
    return LearntMixture((line,), {domain: 1.0}, {domain: 1.0}, {}, None, (), (), 0, 0, ())
