"""Tables of runs for the tests of mixtures: made by laws that are known, and written as a user has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

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


def examples(folder: Path) -> None:
    """Writes every file that the example of a method names."""
    write(folder / "runs.csv", rows_of(simulated(60, noise=0.01)))
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
