"""The statistics over recorded losses: models on random draws of one corpus, dealt out as arms and nulls.

`tests/build_recorded_losses.py` trained the models. Their losses have the noise of real draws, seeds and held-out
documents, whatever its shape is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siftlm.proving.comparison import Losses, Measures, Noise, compare

RECORDED = Path(__file__).with_name("random_draws.npz")
NULL_REPLICATES = 8


@pytest.fixture(scope="module")
def recorded() -> tuple[np.ndarray, np.ndarray, Measures]:
    """Bits float64[models, documents], shares float64[models], and the held-out documents."""
    with np.load(RECORDED) as file:
        held_out = Measures(
            tuple(file["domains"].tolist()), file["domain"].astype(np.int64), file["sizes"].astype(np.int64)
        )
        return file["bits"].astype(np.float64), file["shares"].astype(np.float64), held_out


def dealt(
    bits: np.ndarray, shares: np.ndarray, arms: int, replicates: int, generator: np.random.Generator
) -> dict[str, Losses]:
    """So many arms with a null each, and the random draw, every model in one of them."""
    order = generator.permutation(len(bits))[: 2 * arms * replicates + NULL_REPLICATES]
    names = ["random", *(name for n in range(arms) for name in (f"arm{n}", f"null{n}"))]
    cuts = NULL_REPLICATES + replicates * np.arange(2 * arms)
    parts = np.split(order, cuts)
    return {name: Losses(bits[rows], float(shares[rows].mean())) for name, rows in zip(names, parts, strict=True)}


def verdicts(arms: dict[str, Losses], held_out: Measures, seed: int) -> list[str]:
    pairs = [(name, name.replace("arm", "null")) for name in arms if name.startswith("arm")]
    nulls = {name for name in arms if not name.startswith("arm")}
    return [made.overall.verdict for made in compare(pairs, arms, Noise.of(arms, nulls, held_out), seed=seed)]


@pytest.mark.parametrize(("arms", "replicates"), [(1, 4), (4, 3), (4, 6)])
def test_random_in_disguise_is_a_tie_in_19_of_20(
    recorded: tuple[np.ndarray, np.ndarray, Measures], arms: int, replicates: int
) -> None:
    """In 60 dealings of all arms at once: 57 without a single verdict."""
    bits, shares, held_out = recorded
    clean = 0
    for seed in range(60):
        made = dealt(bits, shares, arms, replicates, np.random.default_rng(seed))
        clean += set(verdicts(made, held_out, seed)) == {"tie"}
    assert clean >= 57


def test_a_planted_difference_of_twice_what_is_seen_is_seen(
    recorded: tuple[np.ndarray, np.ndarray, Measures],
) -> None:
    """An arm whose every document costs less, by twice the smallest difference that the design sees, is better."""
    from siftlm.proving.power import smallest_difference

    bits, shares, held_out = recorded
    seen = []
    for seed in range(20):
        made = dealt(bits, shares, 4, 6, np.random.default_rng(seed))
        noise = Noise.of(made, {name for name in made if not name.startswith("arm")}, held_out).deviation("null0")
        gain = 2 * smallest_difference(noise, 6, 6, 4)
        made["arm0"] = Losses(made["arm0"].bits - gain * held_out.sizes, made["arm0"].drawn_share)
        seen.append(verdicts(made, held_out, seed)[0] == "better")
    assert np.mean(seen) >= 0.9
