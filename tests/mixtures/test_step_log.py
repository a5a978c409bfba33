"""Logs of losses: what is replayed from a table equals what was logged, and mistakes name their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.mixtures.tables import logged, write
from tests.mixtures.test_learners import doremi_loop, odm_loop, skill_it_loop

from siftlm.config import validated
from siftlm.errors import UserError
from siftlm.mixtures.matrices import read_matrix
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.settings import MixConfig
from siftlm.mixtures.step_log import read_log


def replay(**settings: Any) -> MixResult:
    made = validated(MixConfig, {"mix": settings}, [], "test").settings.result()
    assert isinstance(made, MixResult)
    return made


def test_a_log_of_tokens_replays_doremi(tmp_path: Path) -> None:
    """A row a token, in any order of rows; the result is the running mean."""
    rows = [row for seed in range(3) for row in logged(40, seed)]
    path = write(tmp_path / "losses.csv", rows[::-1])
    steps: dict[int, list[tuple[int, float, float]]] = {}
    for row in rows:
        number = ["code", "web", "wiki"].index(row["domain"])
        steps.setdefault(row["step"], []).append((number, row["loss"], row["reference_loss"]))
    _, mean = doremi_loop([steps[step] for step in sorted(steps)], 3, 1.0, 1e-3)
    made = replay(method="doremi", log=path)
    assert list(made.shares) == ["code", "web", "wiki"]
    assert np.abs(np.array(list(made.shares.values())) - mean).max() < 1e-9
    assert "a replay cannot know" in made.warnings[-1]


def test_rows_of_several_tokens_are_weighed_and_warned_of(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "domain": "a", "loss": 3.0, "reference_loss": 2.0, "tokens": 3},
        {"step": 1, "domain": "a", "loss": 1.0, "reference_loss": 2.0, "tokens": 1},
        {"step": 1, "domain": "b", "loss": 2.0, "reference_loss": 2.0, "tokens": 4},
    ]
    made = replay(method="doremi", log=write(tmp_path / "log.csv", rows), smoothing=0.0)
    assert made.shares["a"] == pytest.approx(1 / (1 + np.exp(-0.75)))
    assert "clipped a token" in made.warnings[0]


def test_a_log_replays_odm_and_skill_it(tmp_path: Path) -> None:
    """From Parquet, with tokens as the parts of a step; and round by round with a graph."""
    rows = [{**row, "tokens": 10 * (n % 3 + 1)} for n, row in enumerate(logged(50))]
    path = str(tmp_path / "losses.parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    names, stream = ["code", "web", "wiki"], dict[int, dict[int, tuple[float, float]]]()
    for step in range(1, 51):
        own = [row for row in rows if row["step"] == step]
        if own:
            total = sum(row["tokens"] for row in own)
            stream[step] = {names.index(r["domain"]): (r["loss"], r["tokens"] / total) for r in own}
    made = replay(method="odm", log=path)
    shares = [odm_loop(list(stream.values())[:count], 3, "exp3", 0.9) for count in range(1, len(stream) + 1)]
    assert np.abs(np.array(list(made.shares.values())) - np.mean(shares, axis=0)).max() < 1e-9

    graph = [{"domain": "x", "code": 1, "web": 1, "wiki": 0}, {"domain": "y", "code": 0.2, "web": 1, "wiki": 1}]
    made = replay(method="skill_it", log=path, graph=write(tmp_path / "graph.csv", graph))
    matrix = [[0.5, 0.5, 0.0], [0.2, 0.5, 0.5]]
    rounds = [[stream[step].get(n, (0.0, 0.0))[0] for n in range(3)] for step in stream]
    expected = np.mean(skill_it_loop(matrix, rounds, 0.2, 3), axis=0)
    assert np.abs(np.array([made.shares["x"], made.shares["y"]]) - expected).max() < 1e-9


@pytest.mark.parametrize("method", ["doremi", "odm"])
def test_a_log_of_one_domain_and_of_missing_losses(tmp_path: Path, method: str) -> None:
    """A loss that is missing is one that was not seen."""
    one = [{"step": n, "domain": "only", "loss": 2.0, "reference_loss": 1.0} for n in range(3)]
    assert replay(method=method, log=write(tmp_path / "one.csv", one)).shares == {"only": pytest.approx(1)}
    rows = logged(30)
    gone = [*rows, {"step": 7, "domain": "web", "loss": "nan", "reference_loss": ""}]
    first, second = (replay(method=method, log=write(tmp_path / f"{len(of)}.csv", of)).shares for of in (rows, gone))
    assert first == second


def test_a_log_of_a_thousand_domains_is_replayed(tmp_path: Path) -> None:
    rows = [{"step": step, "domain": f"d{d:03}", "loss": 1 + d / 1000} for step in range(30) for d in range(1000)]
    made = replay(method="odm", log=write(tmp_path / "log.csv", rows))
    shares = list(made.shares.values())
    assert sum(shares) == pytest.approx(1)
    assert len(shares) == 1000
    assert shares[-1] >= shares[0]


ROW = {"step": 1, "domain": "a", "loss": 2.0, "reference_loss": 1.0}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"step": 1, "loss": 2.0}], "must have the column 'domain'"),
        ([{**ROW, "loss": "high"}], "column 'loss' must hold numbers, got 'high' in row 1"),
        ([ROW, {**ROW, "loss": "inf"}], "column 'loss' must hold finite numbers, got others in row 2"),
        ([{**ROW, "step": ""}], "column 'step' must hold numbers, got none in row 1"),
        ([{**ROW, "tokens": 0}], "column 'tokens' must hold numbers above 0"),
        ([{**ROW, "step": 2, "loss": "inf"}, ROW], "column 'loss' must hold finite numbers, got others in row 1"),
        ([{**ROW, "tokens": 1}, {**ROW, "tokens": "inf"}], "column 'tokens' must .*, got others in row 2"),
        ([ROW, {**ROW, "domain": ""}], "column 'domain' must name domains, got none in row 2"),
        ([{**ROW, "loss": ""}], "column 'loss' must hold a number, got none in any row"),
    ],
)
def test_a_wrong_log_is_named_with_its_place(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    path = write(tmp_path / "log.csv", rows)
    with pytest.raises(UserError, match=f"log.csv: {message}"):
        read_log(path, ("loss",))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "a", "b": 1}], "must have rows and the column 'domain'"),
        ([{"domain": "a", "b": 1}, {"domain": "a", "b": 2}], "must name every row and column once, got 'a' twice"),
        ([{"domain": "a", "b": "inf"}], "column 'b' must hold finite numbers, got 'inf' for 'a'"),
        ([{"domain": "a", "b": "x"}], "column 'b' must hold finite numbers, got 'x' for 'a'"),
    ],
)
def test_a_wrong_matrix_is_named_with_its_place(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    path = write(tmp_path / "graph.csv", rows)
    with pytest.raises(UserError, match=f"graph.csv: {message}"):
        read_matrix(path)


def test_drops_of_aioli_are_of_mixtures_that_differ_and_a_diagonal_is_by_name(tmp_path: Path) -> None:
    rows = [{"target": "b", "a": 0.1, "b": 0.4}, {"target": "a", "a": 0.2, "b": 0.3}]
    drops = write(tmp_path / "drops.csv", rows)
    made = replay(method="aioli", drops=drops, diagonal=True).shares
    assert made["b"] / made["a"] == pytest.approx(np.exp(0.2 * (0.4 - 0.2) / 0.6))
    with pytest.raises(UserError, match=r"mix\.focus: must not be 1 / domains"):
        replay(method="aioli", drops=drops, focus=0.5)
    with pytest.raises(UserError, match=r"drops\.csv: must have a row and a column for every domain .* for 'a'"):
        replay(method="aioli", drops=write(tmp_path / "drops.csv", rows[:1]), diagonal=True)


def test_a_graph_must_have_the_targets_of_the_log(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", [ROW])
    graph = write(tmp_path / "graph.csv", [{"domain": "a", "b": 1}])
    with pytest.raises(UserError, match=r"mix\.graph: must have the targets of the log as columns"):
        replay(method="skill_it", log=path, graph=graph)
