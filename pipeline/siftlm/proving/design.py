"""Lays out the replicates of a proof: what each model is trained on, with which seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from siftlm.errors import UserError
from siftlm.proving.draws import Documents, Indices, draw, matched
from siftlm.proving.settings import MATCHED, RANDOM, ProveSettings
from siftlm.report.proof import Kind

LEAST_TOKENS = 1000


@dataclass(frozen=True)
class Replicate:
    """Describes one training: its arm, its documents in order, and its seed.

    Attributes:
        arm: Name of the arm or null.
        kind: What the arm is.
        number: Of the replicate within its arm, from 0.
        library: Name of the library whose rows `rows` are.
        rows: int64[n], the drawn documents, a copy a row.
        seed: Of the weights and of the order of windows, the same for the replicates of one number.
        share: Share of the selection that was drawn.
    """

    arm: str
    kind: Kind
    number: int
    library: str
    rows: Indices
    seed: int
    share: float

    @property
    def name(self) -> str:
        return f"{self.arm} {self.number}"


def fair_tokens(settings: ProveSettings, arms: Mapping[str, Documents]) -> int:
    """Returns the tokens that every arm is trained on: those wanted, or what the smallest arm has for its epochs.

    Raises:
        UserError: an arm selects no text, or too little for a thousand tokens.
    """
    most = settings.tokens
    for name, documents in arms.items():
        size = documents.expected_size * settings.draw_share
        if size * settings.max_epochs < LEAST_TOKENS:
            raise UserError(
                f"prove.arms: must select text for {LEAST_TOKENS:,} tokens, got about {size:,.0f} tokens in a draw of "
                f"{name!r}, which max_epochs = {settings.max_epochs:g} allows to repeat"
            )
        most = min(most, int(size * settings.max_epochs))
    return most


def replicates(
    settings: ProveSettings, pool: Documents, arms: Mapping[str, Documents], tokens: int, seed: int
) -> list[Replicate]:
    """Returns all trainings, the random draws first, for these show the noise.

    Args:
        settings: How many there are, and the share of a draw.
        pool: All eligible documents, with their sizes in tokens.
        arms: The documents of every arm by name, with the sources numbered as in the pool.
        tokens: To draw of each, where there are as many.
        seed: Of all draws.
    """
    made = [
        _drawn(RANDOM, "random", number, pool, tokens, settings.draw_share, seed)
        for number in range(settings.null_replicates)
    ]
    for name, documents in arms.items():
        for number in range(settings.replicates):
            arm = _drawn(name, "selection", number, documents, tokens, settings.draw_share, seed)
            null = f"{MATCHED}{name}"
            rows = matched(pool, documents, arm.rows, tokens, _seed(seed, null, number))
            if not len(rows):
                raise UserError(f"prove.arms: must be of sources that the inputs have, got none of those of {name!r}")
            share = min(1.0, float(pool.sizes(np.unique(rows)).sum() / pool.expected_size))
            made += [arm, Replicate(null, "matched", number, RANDOM, rows, arm.seed, share)]
    return made


def _drawn(name: str, kind: Kind, number: int, documents: Documents, tokens: int, share: float, seed: int) -> Replicate:
    rows = draw(documents, tokens, share, _seed(seed, name, number))
    of_all = min(1.0, float(documents.sizes(rows).sum() / documents.expected_size))
    return Replicate(name, kind, number, name, rows, _seed(seed, "weights", number), of_all)


def _seed(seed: int, name: str, number: int) -> int:
    """A seed below 2^63 for a draw of an arm."""
    return xxhash.xxh3_64_intdigest(f"{seed}:{name}:{number}".encode()) >> 1


def matched_pairs(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Returns every arm with the null that has its sources and lengths."""
    return [(name, f"{MATCHED}{name}") for name in arms]


def random_pairs(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Returns every arm with the random draw."""
    return [(name, RANDOM) for name in arms]
