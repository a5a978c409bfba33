"""Finds how many pools of text to keep, best first, for a training of given length.

Goyal et al. 2024 (Scaling Laws for Data Filtering, arXiv 2404.07177): the longer a training, the more often it repeats
a small good pool, and the more of the worse ones it should read instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from siftlm.correlate.tables import read_table
from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.mixtures.fitted import trust_of
from siftlm.mixtures.protocol import MixSettings, Trust
from siftlm.mixtures.rates import RateOption, RateResult
from siftlm.mixtures.runs import read_columns
from siftlm.paths import ReadPath
from siftlm.scaling.data_constrained import DataConstrainedLaw
from siftlm.scaling.data_filtering import Curve, Pool, fit_pools, predicted_error

Floats = npt.NDArray[np.float64]

RESAMPLES = 20
LEFT_OUT = 4  # one point in so many, the last ones, is predicted by a fit to the others


class DataFilteringSettings(MixSettings):
    """Finds how many pools of text to keep, best first, by how their use falls when they are repeated."""

    paper: ClassVar = "Goyal et al. 2024 (arXiv 2404.07177)"
    needs: ClassVar = "errors of models that read one pool each, after several lengths; or the pools' coefficients"
    cost: ClassVar = "minutes"
    unchecked: ClassVar = "that the law holds for text: it was found on pairs of images and texts"
    default_output: ClassVar = "rate.json"
    example: ClassVar[Mapping[str, Any]] = {
        "method": "data_filtering", "pools": "pools.csv", "train_tokens": 128_000_000, "scale": 0.02,
    }  # fmt: skip

    method: Literal["data_filtering"] = "data_filtering"
    pools: ReadPath = Field(
        description="CSV or Parquet, a row a pool with pool and tokens (of one epoch), and its coefficients utility "
        "(b) and halving (tau) unless curves has errors."
    )
    curves: ReadPath | None = Field(
        None, description="CSV or Parquet with pool, seen (tokens) and error, a row a measurement of a model that read "
        "this pool alone.",
    )  # fmt: skip
    train_tokens: int = Field(ge=1, description="Tokens of the training.")
    floor: float = Field(0.1, ge=0, description="d, the error that no text lowers.")
    scale: float | None = Field(None, gt=0, description="a, one for all pools; by default fitted to the curves.")
    objective: Literal["utility", "data"] = Field(
        "utility", description="What repeats lessen: the utility of text, or the amount that it counts as."
    )
    multiplied: bool = Field(
        False, description="Whether repeats lower the floor too, as in the published code and not in the formula."
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the resamples.")

    @model_validator(mode="after")
    def _scale_or_curves(self) -> Self:
        if self.scale is None and self.curves is None:
            raise ValueError("must have scale beside the coefficients of pools, or curves to fit it to")
        return self

    def reads(self) -> Sequence[str]:
        return [self.pools, *([self.curves] if self.curves else [])]

    def result(self) -> RateResult:
        """Returns the rate, the epochs, and what the law predicts of every number of pools."""
        names, sizes = _names(self.pools), read_columns(self.pools, ("tokens",))[:, 0]
        if not (np.isfinite(sizes) & (sizes > 0)).all():
            raise UserError(f"{self.pools}: tokens must be above 0 for every pool, got {sizes.min():g}")
        if self.curves is None:
            numbers = read_columns(self.pools, ("utility", "halving"))
            assert self.scale is not None, "checked above"
            pools = _given(self.pools, names, sizes, numbers)
            return self._chosen(pools, self.scale, [], ())
        curves = _curves(self.curves, names, sizes)
        pools, scale = self._fitted(curves, self.scale)
        again = [self._resampled(curves, scale, number) for number in range(RESAMPLES)]
        return self._chosen(pools, scale, again, tuple(self._trust(curve, scale) for curve in curves))

    def _chosen(self, pools: list[Pool], scale: float, again: list[int], trust: tuple[Trust, ...]) -> RateResult:
        ordered, errors = self._errors(pools, scale)
        law, total, options = DataConstrainedLaw(), sum(pool.size for pool in pools), []
        for number, error in enumerate(errors, 1):
            kept = sum(pool.size for pool in ordered[:number])
            share = float(np.mean([other == number for other in again])) if again else None
            name = " + ".join(pool.name for pool in ordered[:number])
            worth = float(law.effective_tokens(self.train_tokens, min(kept, self.train_tokens)))
            options.append(RateOption(name, kept / total, self.train_tokens / kept, worth, error, share))
        best = options[int(np.argmin(errors))]
        return RateResult(
            tuple(self._warnings(best, trust)),
            best.keep_rate, best.epochs, self.train_tokens, best.effective_tokens, tuple(options), trust,
        )  # fmt: skip

    def _errors(self, pools: list[Pool], scale: float) -> tuple[list[Pool], list[float]]:
        """The pools, the best first, and the error of the first, the first two and so on."""
        ordered = sorted(pools, key=lambda pool: pool.utility)
        sizes = range(1, len(ordered) + 1)
        return ordered, [
            predicted_error(ordered[:n], self.train_tokens, scale, self.floor, self.objective, self.multiplied)
            for n in sizes
        ]

    def _fitted(self, curves: list[Curve], scale: float | None) -> tuple[list[Pool], float]:
        return fit_pools(curves, self.floor, scale, self.objective, self.multiplied)

    def _trust(self, curve: Curve, scale: float) -> Trust:
        """How well the last points of a curve are predicted by a fit to the others."""
        count = max(len(curve.seen) // LEFT_OUT, 1)
        if len(curve.seen) - count < 2:
            return Trust(curve.name, 0, None, float("nan"))
        (pool,), _ = self._fitted([Curve(curve.name, curve.size, curve.seen[:-count], curve.errors[:-count])], scale)
        predicted = [
            predicted_error([pool], seen, scale, self.floor, self.objective, self.multiplied)
            for seen in curve.seen[-count:].tolist()
        ]
        return trust_of(curve.name, np.array(predicted), curve.errors[-count:])

    def _resampled(self, curves: list[Curve], scale: float, number: int) -> int:
        """How many pools are the best by points drawn with replacement."""
        generator, made = np.random.default_rng([self.seed, number]), []
        for curve in curves:
            rows = np.sort(generator.integers(len(curve.seen), size=len(curve.seen)))
            made.append(Curve(curve.name, curve.size, curve.seen[rows], curve.errors[rows]))
        pools, _ = self._fitted(made, scale)
        return int(np.argmin(self._errors(pools, scale)[1])) + 1

    def _warnings(self, best: RateOption, trust: Sequence[Trust]) -> Iterator[str]:
        if best.chosen is not None and best.chosen < 0.8:
            yield f"other numbers of pools are best in {1 - best.chosen:.0%} of the resamples"
        if unsure := [one.target for one in trust if one.error > 0.05]:
            yield f"the law misses the last errors of {name_some(unsure)} by more than .05"
        yield "the law was found on pairs of images and texts; that it holds for text alone is an assumption"


def _names(path: str) -> list[str]:
    table = read_table(path)
    if "pool" not in table.column_names:
        raise UserError(f"{path}: must have the column 'pool', got {name_some(table.column_names)}")
    names = [str(name) for name in table["pool"].to_pylist()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}: must have a row a pool, got the pool {twice!r} twice")
    if not names:
        raise UserError(f"{path}: must have a row a pool, got none")
    return names


def _given(path: str, names: Sequence[str], sizes: Floats, numbers: Floats) -> list[Pool]:
    for name, (utility, halving) in zip(names, numbers.tolist(), strict=True):
        if not (utility < 0 and halving > 0):
            raise UserError(
                f"{path}: utility must be below 0 and halving above it, got {utility:g} and {halving:g} of {name!r}"
            )
    return [Pool(n, s, b, tau) for n, s, (b, tau) in zip(names, sizes.tolist(), numbers.tolist(), strict=True)]


def _curves(path: str, names: Sequence[str], sizes: Floats) -> list[Curve]:
    table, made = read_table(path), []
    if "pool" not in table.column_names:
        raise UserError(f"{path}: must have the column 'pool', got {name_some(table.column_names)}")
    of = np.array([str(name) for name in table["pool"].to_pylist()])
    seen, errors = read_columns(path, ("seen", "error")).T
    known = np.isfinite(seen) & np.isfinite(errors)
    for name, size in zip(names, sizes.tolist(), strict=True):
        rows = np.flatnonzero((of == name) & known)
        rows = rows[np.argsort(seen[rows], kind="stable")]
        if len(rows) < 2:
            raise UserError(f"{path}: must have two errors or more of every pool, got {len(rows)} of {name!r}")
        made.append(Curve(name, size, seen[rows], errors[rows]))
    return made
