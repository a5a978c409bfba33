"""Tables of runs for the tests of mixtures: made by laws that are known, and written as a user has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from siftlm.mixtures.laws.additive import Scales
from siftlm.mixtures.runs import Runs
from siftlm.mixtures.simplex import drawn

DOMAINS = ("web", "wiki", "code")


def simulated(count: int = 120, seed: int = 1, noise: float = 0.0) -> Runs:
    """Runs whose losses follow the exponential law, of a target that likes wiki and one that likes code."""
    generator = np.random.default_rng(seed)
    shares = drawn(np.full(3, 1 / 3), count, generator)
    weights = np.array([[-0.5, -2.0, 0.1], [0.2, -0.3, -3.0]])
    losses = 2.0 + np.exp(shares @ weights.T) + generator.normal(0, noise, (count, 2))
    return Runs(DOMAINS, ("text", "programs"), shares, losses)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """Writes rows as CSV, and returns the path."""
    names = list(rows[0])
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
    path.write_text("\n".join(lines))
    return str(path)


def rows_of(runs: Runs) -> list[dict[str, Any]]:
    """The rows of a table with `run`, share_* and loss_*."""
    return [
        {
            "run": f"r{number}",
            **{f"share_{name}": share for name, share in zip(runs.domains, shares, strict=True)},
            **{f"loss_{name}": loss for name, loss in zip(runs.targets, losses, strict=True)},
        }
        for number, (shares, losses) in enumerate(zip(runs.shares.tolist(), runs.losses.tolist(), strict=True))
    ]


def scaled(mixtures: int = 12, seed: int = 0, noise: float = 0.002) -> tuple[Runs, Scales]:
    """Runs of four sizes and four lengths of training, whose losses follow the additive law."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(3, 0.8), mixtures)
    sizes = np.array([(n, d) for n in (1e7, 1e8, 4e8, 1e9) for d in (1e9, 4e9, 1e10, 4e10)])
    rows = np.repeat(shares, len(sizes), axis=0)
    parameters, tokens = np.tile(sizes, (mixtures, 1)).T
    scales = Scales(rows, parameters, tokens)
    losses = additive(scales) * np.exp(generator.normal(0, noise, len(rows)))
    return Runs(DOMAINS, ("text",), rows, losses[:, None]), scales


def additive(of: Scales) -> np.ndarray:
    """The law that `scaled` follows."""
    mixed = 1 / (np.array([1.0, 3.0, 0.5]) * of.shares ** np.array([0.3, 0.4, 0.2])).sum(axis=1)
    return np.asarray(1.2 + mixed + 400 / of.parameters**0.33 + 800 / of.tokens**0.3)


def logs(folder: Path) -> None:
    """Writes what methods that learn shares are replayed on."""
    write(folder / "losses.csv", logged(12))
    write(folder / "graph.csv", [{"domain": name, "web": 0.1, "wiki": 0.5, "code": 1.0} for name in DOMAINS])
    drops = {"web": 0.1, "wiki": 0.02, "code": 0.05}
    write(folder / "drops.csv", [{"target": name, **drops} for name in ("text", "programs")])


def logged(steps: int, seed: int = 1) -> list[dict[str, Any]]:
    """A log of losses of two models, in which a domain is missing now and then."""
    draw = np.random.default_rng(seed)
    return [
        {"step": step, "domain": name, "loss": draw.uniform(2, 4), "reference_loss": draw.uniform(2, 4)}
        for step in range(1, steps + 1)
        for name in DOMAINS
        if draw.random() < 0.8
    ]


def examples(folder: Path) -> None:
    """Writes every file that the example of a method names."""
    logs(folder)
    write(folder / "runs.csv", rows_of(simulated(60, noise=0.01)))
    runs, scales = scaled()
    sizes = zip(scales.parameters.tolist(), scales.tokens.tolist(), strict=True)
    rows = [{**row, "parameters": n, "tokens": d} for row, (n, d) in zip(rows_of(runs), sizes, strict=True)]
    write(folder / "scaled_runs.csv", rows)
    pools = [("good", -0.18, 2.0), ("fair", -0.15, 3.0), ("poor", -0.1, 4.0)]
    write(folder / "pools.csv", [{"pool": n, "tokens": 12_800_000, "utility": b, "halving": t} for n, b, t in pools])
    curves = {"old": (30.0, 0.25, 0.5), "new": (60.0, 0.29, 0.52)}
    write(folder / "corpora.csv", [
        {"corpus": name, "compute": c, "loss": a * c**-alpha + e}
        for name, (a, alpha, e) in curves.items() for c in (1e17, 3e17, 1e18, 3e18, 1e19, 3e19, 1e20)
    ])  # fmt: skip
    losses = np.linspace(2.2, 4.0, 15).tolist()
    write(folder / "pairs.csv", [{"web": x, "code": 0.6 * (x - 1.9) ** 1.07 + 1.3} for x in losses])
