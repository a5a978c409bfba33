"""Reads what trained models have measured, as the arrays that comparisons take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from siftlm.proving.comparison import Floats, Losses, Measures
from siftlm.proving.design import Replicate
from siftlm.proving.held_out import Measuring
from siftlm.proving.replicates import STAGE
from siftlm.proving.soups import STAGE as SOUPS
from siftlm.store import Marker, Store

MARKS = "/marks.parquet"


@dataclass(frozen=True)
class Readings:
    """Reads the losses of trained models on the held-out documents that no model was trained on.

    Attributes:
        store: Where the models are.
        measuring: All held-out documents.
        clean: bool[measures], False where a document or an item stands in training documents.
    """

    store: Store
    measuring: Measuring
    clean: npt.NDArray[np.bool_]

    @cached_property
    def held_out(self) -> Measures:
        """Returns the documents that count; raises UserError where a domain has fewer than two."""
        left = self.left
        return Measures(left.domains, left.domain, left.sizes)

    @cached_property
    def left(self) -> Measuring:
        """Returns the measures that count."""
        return self.measuring.only(self.clean)

    def nats(self, marker: Marker) -> tuple[npt.NDArray[np.int64], Floats]:
        """Returns the tokens at every mark, int64[marks], and the nats of every text, float64[marks, texts].

        Where the last weights were averaged, the nats at the end are those of the mean.
        """
        table = self.store.table(STAGE, marker.key, ["tokens", "document", "nll_sum", "averaged"], MARKS)
        if pc.any(table["averaged"]).as_py():
            last = pc.equal(table["tokens"], pc.max(table["tokens"]))
            table = table.filter(pc.or_(pc.invert(last), table["averaged"]))
        order = pc.sort_indices(table, sort_keys=[("tokens", "ascending"), ("document", "ascending")])
        tokens = np.unique(table["tokens"].to_numpy())
        return tokens, table["nll_sum"].take(order).to_numpy().reshape(len(tokens), -1)

    def soup_nats(self, marker: Marker) -> Floats:
        """Returns the nats of every text under an averaged model, float64[texts]."""
        return np.asarray(self.store.table(SOUPS, marker.key)["nll_sum"], np.float64)

    def by_domain(self, nats: Floats) -> dict[str, float]:
        """Returns the bits per byte of every domain, from the nats of every text, float64[texts]."""
        rates = self.held_out.bits_per_byte(self.left.bits(nats))
        return dict(zip(self.held_out.domains, rates.tolist(), strict=True))

    def accuracies(self, markers: Sequence[Marker]) -> list[dict[str, float]]:
        """Returns the accuracy of every model on every benchmark, at the end of training."""
        return [self.left.accuracies(self.nats(marker)[1][-1]) for marker in markers]

    def losses(self, made: Sequence[Replicate], markers: Sequence[Marker]) -> dict[str, Losses]:
        """Returns the losses at the end of training by arm, of replicates and their markers in the same order."""
        by_arm: dict[str, list[Floats]] = {}
        shares: dict[str, float] = {}
        for replicate, marker in zip(made, markers, strict=True):
            by_arm.setdefault(replicate.arm, []).append(self.left.bits(self.nats(marker)[1][-1]))
            shares[replicate.arm] = max(replicate.share, shares.get(replicate.arm, 0.0))
        return {name: Losses(np.array(bits), shares[name]) for name, bits in by_arm.items()}

    def curves(self, markers: Sequence[Marker]) -> tuple[npt.NDArray[np.int64], Floats]:
        """Returns the tokens at the marks and the mean bits per byte of all domains, float64[replicates, marks]."""
        read = [self.nats(marker) for marker in markers]
        means = [self.held_out.bits_per_byte(self.left.bits(nats)).mean(axis=1) for _, nats in read]
        return read[0][0], np.array(means)
