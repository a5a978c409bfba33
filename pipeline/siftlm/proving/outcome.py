"""Puts the result of a proof together: verdicts, curves, what arms are made of, and documents to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from siftlm.proving.comparison import Comparison, Effect, Losses, Noise, compare
from siftlm.proving.design import Replicate, matched_pairs, random_pairs
from siftlm.proving.draws import Indices, first_in_order
from siftlm.proving.libraries import Library, Places
from siftlm.proving.power import Power
from siftlm.proving.readings import Readings
from siftlm.proving.scales import decision_accuracy, token_multiplier
from siftlm.proving.selections import Selections
from siftlm.proving.settings import RANDOM, ProofPlan
from siftlm.proving.soups import Recipe, checked
from siftlm.proxies.training.settings import Training
from siftlm.report.proof import (
    CurvePoint,
    ProofAccuracy,
    ProofArm,
    ProofComparison,
    ProofDesign,
    ProofDocument,
    ProofDomain,
    ProofEffect,
    ProofReport,
    ProofSoup,
    ProofSoups,
    selection_digest,
)
from siftlm.stages.columns import DECISIONS
from siftlm.store import Marker, digest

SHOWN = 20  # documents of the best arm, and of those that it passed over
SHOWN_CHARACTERS = 400


@dataclass(frozen=True)
class Outcome:
    """Holds the trained replicates of a proof, from which its report is made.

    Attributes:
        plan: The configuration.
        chosen: The pool, the arms and the domains.
        made: The replicates.
        markers: Of their models, in the same order.
        measured: Their losses on held-out documents.
        small: Markers of the same replicates in another shape; empty where none was asked for.
    """

    plan: ProofPlan
    chosen: Selections
    made: Sequence[Replicate]
    markers: Sequence[Marker]
    measured: Readings
    small: Sequence[Marker] = ()

    def report(self, power: Power) -> ProofReport:
        """Returns everything that proof.json and the page show."""
        arms = [self._arm(name) for name in dict.fromkeys(made.arm for made in self.made)]
        names = list(self.chosen.arms)
        comparisons = [*self._comparisons(matched_pairs(names)), *self._comparisons(random_pairs(names))]
        best = self._best(comparisons)
        chosen, passed_over = self._documents(best) if best else ([], [])
        return ProofReport(
            self.plan.config.name,
            version("siftlm"),
            digest([marker.key for marker in self.markers]),
            self._design(power),
            self._domains(),
            arms,
            comparisons,
            self._accuracies(),
            self._remarks(arms, power),
            best,
            chosen,
            passed_over,
        )

    def soups(self, recipes: Sequence[Recipe], measured: Sequence[Marker], partitions: Sequence[str]) -> ProofSoups:
        """Returns what averaged models say of the arms and of other mixtures, and how far that is to be trusted."""
        held_out = self.measured.held_out
        trained = {name: float(held_out.bits_per_byte(of.bits).mean()) for name, of in self.losses.items()}
        soups = []
        for recipe, marker in zip(recipes, measured, strict=True):
            domains = self.measured.by_domain(self.measured.soup_nats(marker))
            shares = dict(zip(partitions, recipe.shares.tolist(), strict=True))
            predicted = float(np.mean(list(domains.values())))
            soups.append(ProofSoup(recipe.name, shares, recipe.outside, predicted, domains, trained.get(recipe.name)))
        noise = self.noise.deviation(RANDOM) / np.sqrt(self.plan.config.prove.replicates)
        return checked(soups, partitions, self.made[0].name, noise)

    @cached_property
    def losses(self) -> Mapping[str, Losses]:
        return self.measured.losses(self.made, self.markers)

    @cached_property
    def noise(self) -> Noise:
        nulls = {made.arm for made in self.made if made.kind != "selection"}
        return Noise.of(self.losses, nulls, self.measured.held_out)

    @cached_property
    def curves(self) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        """Returns by arm the tokens at the marks, and the bits per byte of every replicate there."""
        return {name: self.measured.curves(markers) for name, markers in self._by_arm.items()}

    @cached_property
    def _by_arm(self) -> Mapping[str, list[Marker]]:
        by_arm: dict[str, list[Marker]] = {}
        for made, marker in zip(self.made, self.markers, strict=True):
            by_arm.setdefault(made.arm, []).append(marker)
        return by_arm

    def _comparisons(self, pairs: Sequence[tuple[str, str]]) -> list[ProofComparison]:
        config = self.plan.config
        made = compare(pairs, self.losses, self.noise, level=config.prove.level, seed=config.seed)
        return [self._comparison(one) for one in made]

    def _comparison(self, made: Comparison) -> ProofComparison:
        tokens, null = self.curves[made.null]
        arm = self.curves[made.arm][1]
        multiplier, bound = token_multiplier(tokens.astype(np.float64), null.mean(axis=0), arm.mean(axis=0))
        domains = {name: _effect(effect) for name, effect in made.by_domain.items()}
        return ProofComparison(made.arm, made.null, _effect(made.overall), domains, multiplier, bound, made.own_noise)

    def _arm(self, name: str) -> ProofArm:
        made = [one for one in self.made if one.arm == name]
        library = self._library(made[0])
        places, rows = library.training, np.concatenate([one.rows for one in made])
        drawn = places.bytes[rows].astype(np.int64)
        bits = self.measured.held_out.bits_per_byte(self.losses[name].bits)
        selection = made[0].kind == "selection"
        tokens, curve = self.curves[name]
        return ProofArm(
            name,
            made[0].kind,
            selection_digest(task.inputs[DECISIONS] for task in library.tasks) if selection else "",
            len(places),
            round(float(places.weight.astype(np.float64) @ places.bytes)),
            round(float(np.mean([places.bytes[np.unique(one.rows)].sum() for one in made]))),
            float(np.mean([one.share for one in made])),
            float(np.mean([marker.facts["epochs_by_group"]["all"] for marker in self._by_arm[name]])),
            _source_shares(places, rows),
            int(np.median(drawn)),
            float(bits.mean()),
            [float(value) for value in bits.mean(axis=1)],
            dict(zip(self.measured.held_out.domains, bits.mean(axis=0).tolist(), strict=True)),
            _points(tokens, curve),
            float(sum(float(marker.facts.get("seconds", 0.0)) for marker in self._by_arm[name])),
        )

    def _library(self, made: Replicate) -> Library:
        return self.chosen.pool if made.library == RANDOM else self.chosen.arms[made.library]

    def _domains(self) -> list[ProofDomain]:
        held_out, measuring = self.measured.held_out, self.measured.measuring
        means = np.array([held_out.bits_per_byte(one.bits).mean(axis=0) for one in self.losses.values()])
        noise = np.sqrt(self.noise.variances(RANDOM)[1:])
        left_out = np.bincount(measuring.domain[~self.measured.clean], minlength=len(held_out.domains))
        return [
            ProofDomain(
                name,
                int((held_out.domain == number).sum()),
                int(held_out.sizes[held_out.domain == number].sum()),
                int(left_out[number]),
                float(np.ptp(means[:, number])),
                float(noise[number]),
            )
            for number, name in enumerate(held_out.domains)
        ]

    def _design(self, power: Power) -> ProofDesign:
        settings = self.plan.config.prove
        noise = self.noise.deviation(RANDOM)
        return ProofDesign(
            power.tokens,
            settings.tokens,
            settings.replicates,
            settings.null_replicates,
            len(self.made),
            int(self.markers[0].facts["parameters"]),
            settings.vocabulary,
            power.arms,
            settings.level,
            noise,
            power.smallest_difference(noise),
            self._agreement(),
        )

    def _agreement(self) -> float | None:
        """The share of pairs of arms, nulls included, that both shapes order the same way; None without a second."""
        if not self.small:
            return None
        shapes = (self.losses, self.measured.losses(self.made, self.small))
        held_out = self.measured.held_out
        small, large = (
            np.array([held_out.bits_per_byte(losses[name].bits).mean() for name in self.losses]) for losses in shapes
        )
        return decision_accuracy(small, large)

    def _accuracies(self) -> list[ProofAccuracy]:
        """The accuracies of every benchmark by arm, with the noise of the nulls."""
        by_arm = {name: self.measured.accuracies(markers) for name, markers in self._by_arm.items()}
        made = []
        for benchmark in next(iter(by_arm.values()))[0]:
            values = {name: np.array([one[benchmark] for one in of]) for name, of in by_arm.items()}
            means = {name: float(of.mean()) for name, of in values.items()}
            noise = np.sqrt(np.mean([values[name].var(ddof=1) for name in self.noise.nulls]))
            made.append(ProofAccuracy(benchmark, means, float(np.ptp(list(means.values()))), float(noise)))
        return made

    def _remarks(self, arms: Sequence[ProofArm], power: Power) -> list[str]:
        settings = self.plan.config.prove
        lines = []
        if power.tokens + Training(settings.model, settings.training, 1).step_tokens <= settings.tokens:
            lines.append(
                f"all models were trained on {power.tokens:,} tokens and not on {settings.tokens:,}, for the smallest "
                f"selection has no more in {settings.max_epochs:g} epochs"
            )
        lines += [
            f"{arm.name} was trained for {arm.epochs:.1f} epochs on its documents, the random draw for "
            f"{arms[0].epochs:.1f}: some of the difference may be repetition"
            for arm in arms
            if arm.kind == "selection" and arm.epochs > 1.5 * max(1.0, arms[0].epochs)
        ]
        lines += [
            f"replicates of {arm.name} share nearly all of their documents, so the noise of the choice of documents is "
            "not in its interval; lower prove.draw_share"
            for arm in arms
            if arm.drawn_share > 0.9
        ]
        return lines

    def _best(self, comparisons: Sequence[ProofComparison]) -> str | None:
        own = [made for made in comparisons if made.null != RANDOM]
        return max(own, key=lambda made: made.overall.effect).arm if own else None

    def _documents(self, arm: str) -> tuple[list[ProofDocument], list[ProofDocument]]:
        """Documents of an arm, and of the pool that it does not have, by keyed draws."""
        own, pool = self.chosen.arms[arm].training, self.chosen.pool.training
        return self._some(own), self._some(pool, np.isin(pool.hashes, own.hashes, invert=True))

    def _some(self, places: Places, allowed: npt.NDArray[np.bool_] | None = None) -> list[ProofDocument]:
        seed = self.plan.config.seed
        rows = np.sort(first_in_order(places.hashes, seed, "prove shown", SHOWN, allowed))
        sources = places.sources
        shards = np.searchsorted(places.starts, rows, "right") - 1
        return [
            ProofDocument(doc_id, sources[shard], text[:SHOWN_CHARACTERS], len(text) > SHOWN_CHARACTERS)
            for doc_id, shard, (_, text) in zip(places.doc_ids(rows), shards.tolist(), places.texts(rows), strict=True)
        ]


def _source_shares(places: Places, rows: Indices) -> dict[str, float]:
    """The share of the bytes of documents by source, of sources that have some."""
    shards = np.searchsorted(places.starts, rows, "right") - 1
    sums = np.bincount(shards, places.bytes[rows], len(places.tasks))
    shares = dict.fromkeys(sorted(set(places.sources)), 0.0)
    for source, size in zip(places.sources, sums.tolist(), strict=True):
        shares[source] += size / sums.sum()
    return {source: float(share) for source, share in shares.items() if share}


def _effect(made: Effect) -> ProofEffect:
    return ProofEffect(made.effect, made.low, made.high, made.error, made.verdict)


def _points(tokens: np.ndarray, curve: np.ndarray) -> list[CurvePoint]:
    """The mean of the replicates at every mark, with one standard error."""
    means, errors = curve.mean(axis=0), curve.std(axis=0, ddof=1) / np.sqrt(len(curve))
    return [
        CurvePoint(int(at), float(mean), float(mean - error), float(mean + error))
        for at, mean, error in zip(tokens, means, errors, strict=True)
    ]
