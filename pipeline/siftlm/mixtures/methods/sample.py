"""Draws the mixtures that small models are trained on, for a law to be fitted to their losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from pydantic import Field

from siftlm import filesystem
from siftlm.correlate.tables import read_table, write_table
from siftlm.errors import UserError
from siftlm.mixtures.protocol import MixOutcome, MixSettings, Shown
from siftlm.mixtures.simplex import AT_A_TIME, STRENGTHS, bounded, drawn

Floats = npt.NDArray[np.float64]

OVERSAMPLED = 100  # draws a mixture that is chosen
SAME = 1e-5  # sum of absolute differences, up to which two mixtures are one
LARGEST_DRAW = 20_000_000  # shares that are drawn in all; at a thousand domains fewer than 100 draws a mixture


@dataclass(frozen=True)
class SampledMixtures(MixOutcome):
    """Holds mixtures to train small models on.

    Attributes:
        domains: Their names.
        shares: float64[mixtures, domains].
        prior: float64[domains], around which they were drawn.
    """

    domains: tuple[str, ...]
    shares: Floats
    prior: Floats

    def tables(self) -> Iterator[Shown]:
        """Yields the spread of the shares of every domain."""
        ends = self.shares.min(axis=0), np.median(self.shares, axis=0), self.shares.max(axis=0)
        rows = [
            (name, *(f"{number:.4f}" for number in numbers))
            for name, *numbers in zip(self.domains, self.prior, *ends, strict=True)
        ]
        yield Shown(("domain", "prior", "least", "median", "most"), rows)

    def verdict(self) -> str:
        return f"{len(self.shares)} mixtures; train a small model on each, and add its losses as columns loss_*"

    def write(self, path: str, provenance: Mapping[str, Any]) -> None:
        """Writes a table with `run` and a column share_* a domain, and beside it where it comes from, as JSON.

        Raises:
            UserError: a file is there that holds something else, such as losses that were added to a table of these.
        """
        _check_replaceable(path)
        columns = {"run": [f"r{number}" for number in range(len(self.shares))]}
        columns |= {f"share_{name}": shares for name, shares in zip(self.domains, self.shares.T.tolist(), strict=True)}
        write_table(pa.table(columns), path)
        filesystem.write_bytes(f"{path}.json", orjson.dumps(dict(provenance), option=orjson.OPT_INDENT_2))


def _check_replaceable(path: str) -> None:
    """Raises UserError where a file holds more than drawn mixtures."""
    if not filesystem.exists(path):
        return
    if more := [name for name in read_table(path).column_names if name != "run" and not name.startswith("share_")]:
        raise UserError(
            f"{path}: must hold mixtures alone where new ones replace them, got the column {more[0]!r} too; move it, "
            "or give another output"
        )


class SampleMixturesSettings(MixSettings):
    """Draws mixtures around the shares that domains have by themselves, to train small models on."""

    paper: ClassVar = "Liu et al. 2024 (RegMix, arXiv 2407.01492)"
    needs: ClassVar = "the tokens at hand by domain"
    default_output: ClassVar = "runs.csv"
    example: ClassVar[Mapping[str, Any]] = {
        "method": "sample", "count": 16, "tokens": {"web": 900_000_000, "wiki": 40_000_000, "code": 200_000_000},
    }  # fmt: skip

    method: Literal["sample"] = "sample"
    count: int = Field(512, ge=1, description="Mixtures.")
    tokens: dict[str, int] = Field(default_factory=dict, description="Tokens at hand by domain.")
    prior: dict[str, float] = Field(
        default_factory=dict, description="Shares that the domains have by themselves; by default those of `tokens`."
    )
    temperature: float = Field(0.5, gt=0, le=1, description="Shares of the prior are raised to it: below 1 more even.")
    times: float = Field(
        15.0, gt=0, description="The most that a domain may have, as a multiple of its share of the prior."
    )
    smallest: float = Field(2e-4, gt=0, lt=0.5, description="Shares are multiples of it; smaller ones are 0.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the draw.")

    def result(self) -> SampledMixtures:
        """Returns the mixtures; raises UserError where the settings leave too few."""
        names = tuple(self.prior or self.tokens)
        given = np.array(list((self.prior or self.tokens).values()), np.float64)
        if not len(names) or (given < 0).any() or not 0 < given.sum() < np.inf:
            raise UserError(
                f"mix.tokens: must hold the tokens of every domain, or mix.prior its shares, got {dict(self.tokens)}"
            )
        prior = given / given.sum()
        if self.smallest * len(names) > 1:
            raise UserError(f"mix.smallest: must leave {len(names)} domains room, got {self.smallest:g}")
        shares, moved = sampled(prior, self.count, self.seed, self.temperature, self.times, self.smallest)
        told = (
            f"{moved} mixtures had more than {self.times:g} times the prior of a domain, and were moved to the nearest"
        )
        return SampledMixtures((told,) if moved else (), names, shares, prior)


def sampled(
    prior: Floats, count: int, seed: int, temperature: float, times: float, smallest: float
) -> tuple[Floats, int]:
    """Returns random mixtures, float64[count, domains], as RegMix's small models are trained on, and those moved.

    A hundred times as many are drawn from Dirichlet(s * p), p the prior raised to `temperature` and s one of 15 from
    .1 to 5. Those with more than `times` the prior of a domain are thrown away, shares below `smallest` are 0, the
    others are rounded to multiples of it, and what is the same is one; `count` of these are chosen
    (sail-sg/regmix, mixture_config/synthesize_mixture.py). Where the published code lets the rounded shares miss a sum
    of 1, the largest remainders are rounded up here, so that they do not. Where too few draws are left, as of hundreds
    of domains, others are moved to the nearest mixture with at most `times` the prior; their number is returned.

    Raises:
        UserError: `times` times the prior is below 1, or fewer different mixtures are left than are wanted.
    """
    generator = np.random.default_rng(seed)
    tempered = prior**temperature
    tempered /= tempered.sum()
    most, made, left = np.minimum(times * prior, 1.0), [], []
    if most.sum() < 1:
        raise UserError(f"mix.times: must let the shares add up to 1, got {times:g}")
    draws = max(2 * count, min(count * OVERSAMPLED, LARGEST_DRAW // len(prior)))
    for start in range(0, draws, AT_A_TIME):
        shares = drawn(tempered, min(AT_A_TIME, draws - start), generator, STRENGTHS)
        inside = (shares <= most).all(axis=1)
        made.append(rounded(shares[inside], smallest))
        left.append(shares[~inside][: 2 * count])
    different, moved = _different(np.concatenate(made)), 0
    if len(different) < count:
        near = bounded(np.concatenate(left)[: 2 * count], np.zeros_like(prior), most)
        moved, different = count - len(different), _different(np.concatenate([different, rounded(near, smallest)]))
    if len(different) < count:
        raise UserError(
            f"mix.count: must be at most the {len(different)} different mixtures that are left of {draws} draws, got "
            f"{count}; raise mix.times or lower mix.smallest"
        )
    return different[generator.choice(len(different), count, replace=False)], moved


def rounded(shares: Floats, smallest: float) -> Floats:
    """Returns shares, float64[mixtures, domains], as multiples of `smallest` that add up to 1, or nearly so."""
    kept = np.where(shares < smallest, 0.0, shares)
    kept = np.where(kept.any(axis=1, keepdims=True), kept, shares)  # of very many domains all may be small
    steps = kept / kept.sum(axis=1, keepdims=True) / smallest
    whole = np.floor(steps)
    missing = np.round(1 / smallest) - whole.sum(axis=1)
    place = np.argsort(np.argsort(whole - steps, axis=1, kind="stable"), axis=1, kind="stable")
    return np.asarray((whole + (place < missing[:, None])) * smallest)


def _different(shares: Floats) -> Floats:
    """The mixtures in the order of their shares, without those that are as the one before."""
    ordered = shares[np.lexsort(shares.T)]
    new = np.ones(len(ordered), bool)
    new[1:] = np.abs(np.diff(ordered, axis=0)).sum(axis=1) > SAME
    return ordered[new]
