"""Compares corpora by curves of loss against compute, and says which is better at the compute of a training.

Nezhurina et al. 2025 (Scaling laws for robust comparison, arXiv 2506.04598).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from siftlm.correlate.tables import read_table
from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.mixtures.fitted import trust_of
from siftlm.mixtures.protocol import MixOutcome, MixSettings, Shown, Trust
from siftlm.mixtures.runs import read_columns
from siftlm.paths import ReadPath
from siftlm.scaling.curves import FEWEST, ComputeCurve, Crossing, crossing, fit_compute_curve

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CorpusCurve:
    """Holds the curve of one corpus, and the loss that it predicts at the compute of a training."""

    corpus: str
    curve: ComputeCurve
    predicted: float


@dataclass(frozen=True)
class CurvesResult(MixOutcome):
    """Holds a comparison of corpora.

    Attributes:
        corpora: The best at the compute of the training first.
        crossings: By the names of two corpora.
        trust: By corpus, how well runs of more compute are predicted by a curve through the others.
    """

    corpora: tuple[CorpusCurve, ...]
    crossings: dict[str, Crossing]
    trust: tuple[Trust, ...]

    def tables(self) -> Iterator[Shown]:
        """Yields the curves, the crossings and how well the curves predict."""
        rows = [
            (
                of.corpus,
                f"{of.predicted:.4f}",
                f"{of.curve.scale:.4g}",
                f"{of.curve.exponent:.4f}",
                f"{of.curve.floor:.4f}",
            )
            for of in self.corpora
        ]
        yield Shown(("corpus", "predicted loss", "A", "alpha", "E_inf"), rows)
        told = [
            (names, f"{of.compute:.3g}", f"{of.low:.3g} to {of.high:.3g}", of.crossed)
            for names, of in self.crossings.items()
        ]
        if told:
            yield Shown(("corpora", "cross at", "90 % of resamples", "that cross"), told)
        trust = [(one.target, one.runs, one.rank_correlation, f"{one.error:.4f}") for one in self.trust]
        yield Shown(("corpus", "runs left out", "rank correlation", "error"), trust)

    def verdict(self) -> str:
        return f"{self.corpora[0].corpus} has the lowest predicted loss, {self.corpora[0].predicted:.4f}"


class CorpusCurvesSettings(MixSettings):
    """Compares corpora by curves of loss against compute: which is best for a training, and where they cross."""

    paper: ClassVar = "Nezhurina et al. 2025 (arXiv 2506.04598)"
    needs: ClassVar = "losses of models of several sizes on every corpus, with the compute of each"
    unchecked: ClassVar = "how the paper fits its curves; here by a grid of the floor and a line in logarithms"
    default_output: ClassVar = "curves.json"
    example: ClassVar[Mapping[str, Any]] = {
        "method": "corpus_curves", "runs": "corpora.csv", "train_compute": 1e22, "resamples": 10,
    }  # fmt: skip

    method: Literal["corpus_curves"] = "corpus_curves"
    runs: ReadPath = Field(description="CSV or Parquet with corpus, compute (operations) and loss, a row a model.")
    train_compute: float = Field(gt=0, description="Floating-point operations of the training.")
    fit_up_to: float | None = Field(
        None, gt=0, description="Compute up to which curves are fitted for the judgement; by default what leaves the "
        "upper third of the runs of every corpus out.",
    )  # fmt: skip
    resamples: int = Field(100, ge=2, description="Resamples of the runs, of which the intervals are made.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the resamples.")

    def reads(self) -> Sequence[str]:
        return [self.runs]

    def result(self) -> CurvesResult:
        """Returns the curves, where they cross, and how well they predict runs of more compute."""
        points = _points(self.runs)
        made = []
        for corpus, (compute, losses) in points.items():
            curve = fit_compute_curve(compute, losses)
            made.append(CorpusCurve(corpus, curve, float(curve.predict(self.train_compute))))
        crossings = {
            f"{a} and {b}": crossing(points[a], points[b], self.resamples, self.seed)
            for a, b in combinations(points, 2)
        }
        trust = tuple(self._trust(corpus, *of) for corpus, of in points.items())
        ordered = tuple(sorted(made, key=lambda of: of.predicted))
        return CurvesResult(tuple(self._warnings(ordered, crossings, points)), ordered, crossings, trust)

    def _trust(self, corpus: str, compute: Floats, losses: Floats) -> Trust:
        limit = self.fit_up_to or float(np.sort(compute)[max(len(compute) * 2 // 3 - 1, 0)])
        inside = compute <= limit
        if len(np.unique(compute[inside])) < FEWEST or inside.all():
            return Trust(corpus, 0, None, float("nan"))
        curve = fit_compute_curve(compute[inside], losses[inside])
        return trust_of(corpus, curve.predict(compute[~inside]), losses[~inside])

    def _warnings(
        self,
        ordered: Sequence[CorpusCurve],
        crossings: Mapping[str, Crossing],
        points: Mapping[str, tuple[Floats, Floats]],
    ) -> Iterator[str]:
        largest = min(float(compute.max()) for compute, _ in points.values())
        if self.train_compute > 100 * largest:
            yield f"the training has more than a hundred times the compute of the runs of a corpus ({largest:.3g})"
        for names, of in crossings.items():
            if of.low <= self.train_compute <= of.high:
                yield f"{names} may cross at the compute of the training: which is better is not known"
        if len(ordered) == 1:
            yield "there is one corpus, so there is nothing to compare"


def _points(path: str) -> dict[str, tuple[Floats, Floats]]:
    table = read_table(path)
    if "corpus" not in table.column_names or not table.num_rows:
        raise UserError(f"{path}: must have rows and the column 'corpus', got {name_some(table.column_names)}")
    names = np.array([str(name) for name in table["corpus"].to_pylist()])
    compute, losses = read_columns(path, ("compute", "loss")).T
    known = np.isfinite(compute) & np.isfinite(losses)
    made = {}
    for corpus in dict.fromkeys(names.tolist()):
        rows = (names == corpus) & known
        if len(np.unique(compute[rows])) < FEWEST:
            raise UserError(f"{path}: must have {FEWEST} models of different compute a corpus, got fewer of {corpus!r}")
        made[corpus] = (compute[rows], losses[rows])
    return made
