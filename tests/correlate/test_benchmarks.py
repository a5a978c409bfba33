"""Benchmark errors from tables and harness results, and their match with a matrix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siftlm.correlate.benchmarks import match_models, match_targets, read_benchmarks
from siftlm.correlate.matrix import LossMatrix
from siftlm.correlate.settings import BenchmarkSettings
from siftlm.correlate.tables import NamedTable
from siftlm.errors import UserError


def write_results(path: Path, content: dict[str, Any]) -> None:
    """One file as lm-evaluation-harness writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def results(model: str, tasks: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The parts of a results file that matter here."""
    return {"results": tasks, "config": {"model": "hf", "model_args": f"pretrained={model},dtype=float32"}, **more}


def test_harness_results_become_errors(tmp_path: Path) -> None:
    """acc -> 1 - acc, perplexity as it is; keys with and without a filter; standard errors are no values."""
    tasks = {
        "piqa": {"alias": "piqa", "acc,none": 0.7, "acc_stderr,none": 0.01, "acc_norm,none": 0.75},
        "arc_easy": {"acc": 0.6, "acc_stderr": 0.01},
        "wikitext": {"word_perplexity,none": 21.5, "word_perplexity_stderr,none": "N/A"},
        "gsm8k": {"exact_match,strict-match": 0.1, "exact_match,flexible-extract": 0.2},
        "odd": {"bleu,none": 3.0},
    }
    write_results(tmp_path / "org__a" / "results_2025-01-01.json", results("org/a", tasks))
    errors, findings = read_benchmarks(BenchmarkSettings(path=str(tmp_path)))
    assert errors.columns == ["org/a"]
    found = dict(zip(errors.rows, errors.values[:, 0].tolist(), strict=True))
    assert found == pytest.approx({"arc_easy": 0.4, "gsm8k": 0.9, "piqa": 0.3, "wikitext": 21.5})
    assert [(finding.kind, finding.where) for finding in findings] == [("task_without_metric", "'odd'")]
    preferring = BenchmarkSettings(path=str(tmp_path), metrics=["acc_norm", "acc"])
    errors, _ = read_benchmarks(preferring)
    assert errors.values[errors.rows.index("piqa"), 0] == pytest.approx(0.25)


def test_a_revision_is_part_of_the_models_name(tmp_path: Path) -> None:
    """As in the published matrices; arguments as text or as an object; `model_name` where there are none."""
    task = {"piqa": {"acc,none": 0.5}}
    for index, content in enumerate(
        [
            results("org/a,revision=step1000", task),
            results("org/a,revision=main", task),
            {"results": task, "config": {"model_args": {"pretrained": "org/b", "revision": "r2", "peft": None}}},
            {"results": task, "config": {}, "model_name": "org/c"},
        ]
    ):
        write_results(tmp_path / str(index) / "results.json", content)
    errors, _ = read_benchmarks(BenchmarkSettings(path=str(tmp_path)))
    assert errors.columns == ["org/a", "org/a_step1000", "org/b_r2", "org/c"]


def test_of_several_results_the_newest_counts_and_is_reported(tmp_path: Path) -> None:
    """By the date in the file, not by its name."""
    write_results(tmp_path / "results_b.json", results("a", {"piqa": {"acc,none": 0.5}}, date=100.0))
    write_results(tmp_path / "results_a.json", results("a", {"piqa": {"acc,none": 0.9}}, date=200.0))
    errors, findings = read_benchmarks(BenchmarkSettings(path=str(tmp_path)))
    assert errors.values[0, 0] == pytest.approx(0.1)
    assert [(finding.kind, finding.where) for finding in findings] == [("repeated_result", "'a piqa'")]


def test_the_files_own_direction_wins(tmp_path: Path) -> None:
    """`higher_is_better: false` makes a metric an error as it is."""
    content = results("a", {"toxic": {"acc,none": 0.2}}, higher_is_better={"toxic": {"acc": False}})
    write_results(tmp_path / "results.json", content)
    errors, _ = read_benchmarks(BenchmarkSettings(path=str(tmp_path)))
    assert errors.values[0, 0] == 0.2


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "must be JSON"), ("[]", "no object `results`"), ('{"results": {}}', "must name its model")],
)
def test_a_wrong_results_file_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    """With the file's name."""
    (tmp_path / "results_x.json").write_text(content)
    with pytest.raises(UserError, match=rf"results_x\.json: .*{message}"):
        read_benchmarks(BenchmarkSettings(path=str(tmp_path)))


def test_a_folder_without_results_is_an_error(tmp_path: Path) -> None:
    """Not an empty table."""
    with pytest.raises(UserError, match=r"must hold results\*\.json"):
        read_benchmarks(BenchmarkSettings(path=str(tmp_path)))


def test_tables_of_errors_and_accuracies_in_every_layout(tmp_path: Path) -> None:
    """Benchmarks in rows, models in rows with columns of text between, and long."""
    wide = tmp_path / "wide.csv"
    wide.write_text("benchmark,a,b\nx,0.1,0.2\ny,3,\n")
    turned = tmp_path / "turned.csv"
    turned.write_text("Model,Family,Size,x,y\nb,F,7,0.8,\na,G,1,0.9,-2\n")
    long = tmp_path / "long.csv"
    long.write_text("model,benchmark,error\na,x,0.1\nb,x,0.2\na,y,3\n")
    expected = np.array([[0.1, 0.2], [3, np.nan]])
    for configured in (
        BenchmarkSettings(path=str(wide)),
        BenchmarkSettings(path=str(turned), values="accuracy", ignore=["Size"]),
        BenchmarkSettings(path=str(long)),
    ):
        errors, _ = read_benchmarks(configured)
        assert (errors.rows, errors.columns) == (["x", "y"], ["a", "b"])
        np.testing.assert_allclose(errors.values, expected)


def test_models_match_by_name_and_then_without_the_family() -> None:
    """A model filed under another family still meets its errors."""
    wanted = ["('f', 'x/A')", "x/B", "x/C"]
    assert match_models(wanted, ["x/C", "('g', 'x/A')", "('h', 'x/B')", "x/D"]) == {0: 1, 1: 2, 2: 0}


def case() -> tuple[LossMatrix, NamedTable]:
    """Six models in the matrix, seven with errors, of which two have gaps."""
    names = list("abcdef")
    matrix = LossMatrix(names, ["u"], np.arange(6.0)[:, None])
    values = np.array([[1, 2, 3, 4, np.nan, 6, 7], [3, 2, 1, 1, 0, 1, 2], [5, 5, 5, 5, 5, 5, 5]], float)
    return matrix, NamedTable(["x", "y", "flat"], [*"abcde", "g", "h"], values)


def test_what_does_not_match_on_either_side_is_reported() -> None:
    """The errors of a group are plain means; models that lack a part are left out of that group."""
    matrix, errors = case()
    targets, findings = match_targets(matrix, errors, {"both": ["x", "y"], "flat": ["flat"]}, fewest_models=3)
    [target] = targets
    assert target.matrix.models == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(target.errors, [2, 2, 2, 2.5])
    assert {finding.kind: finding.where for finding in findings} == {
        "model_without_errors": "'f'",
        "model_without_matrix": "'g', 'h'",
        "missing_error": "'e'",
        "constant_benchmark": "'flat'",
    }


def test_without_groups_every_benchmark_is_a_target() -> None:
    """In the order of the table."""
    matrix, errors = case()
    targets, _ = match_targets(matrix, errors, {}, fewest_models=3)
    assert [target.name for target in targets] == ["x", "y"]
    np.testing.assert_array_equal(targets[1].errors, [3, 2, 1, 1, 0])


@pytest.mark.parametrize(
    ("groups", "fewest", "message"),
    [
        ({"g": ["z"]}, 3, r"benchmarks\.groups\.g: must name benchmarks, got 'z'; there are 'x', 'y', 'flat'"),
        ({"g": ["x"]}, 5, r"benchmarks\.groups\.g: at least 5 models must have errors, got 4"),
        ({}, 6, r"benchmarks: at least 6 models must be in the matrix and in the errors, got 5"),
    ],
)
def test_groups_that_cannot_be_had_are_errors(groups: dict[str, list[str]], fewest: int, message: str) -> None:
    """A misspelt benchmark, or too few models."""
    matrix, errors = case()
    with pytest.raises(UserError, match=message):
        match_targets(matrix, errors, groups, fewest)
