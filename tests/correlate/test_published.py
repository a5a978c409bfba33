"""The published lists of perplexity-correlations come out of its own matrix (data/ATTRIBUTION.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from siftlm.correlate.assess import assess
from siftlm.correlate.benchmarks import match_targets, read_benchmarks
from siftlm.correlate.clean import clean_matrix
from siftlm.correlate.estimators import estimate
from siftlm.correlate.matrix import LossMatrix, read_matrix
from siftlm.correlate.settings import BenchmarkSettings, CorrelateSettings, MatrixSettings
from siftlm.correlate.tables import NamedTable

DATA = Path(__file__).parent / "data"

GROUPS = {
    "lambada_synthetic": ["lambada_openai", "lambada_standard"],
    "lambada_de_synthetic": ["lambada_openai_mt_de"],
    "lambada_fr_synthetic": ["lambada_openai_mt_fr"],
    "arc_easy": ["arc_easy"],
}


@pytest.fixture(scope="module")
def published() -> tuple[LossMatrix, NamedTable]:
    """The published matrix and errors, as read."""
    matrix, findings = read_matrix(MatrixSettings(path=str(DATA / "bpb.csv.gz")))
    errors, more = read_benchmarks(BenchmarkSettings(path=str(DATA / "error.csv")))
    assert not findings
    assert not more
    return matrix, errors


def test_the_published_matrix_has_its_size(published: tuple[LossMatrix, NamedTable]) -> None:
    """263 texts under 90 models, and 9 benchmarks of the same models."""
    matrix, errors = published
    assert matrix.values.shape == (90, 263)
    assert errors.values.shape == (9, 90)
    assert set(errors.columns) == set(matrix.models)


@pytest.mark.parametrize("duplicates", ["keep_first", "keep_all"])
@pytest.mark.parametrize("group", [name for name in GROUPS if name.startswith("lambada")])
def test_the_published_top_ten_come_out_exactly(
    published: tuple[LossMatrix, NamedTable], group: str, duplicates: str
) -> None:
    """matrix + errors -> spearman -> the ten texts of top10/<group>.yml, with and without the model that is twice."""
    from siftlm.correlate.settings import CleanSettings

    matrix, errors = published
    cleaned, _ = clean_matrix(matrix, CleanSettings.model_validate({"duplicate_models": duplicates}))
    [target], findings = match_targets(cleaned, errors, {group: GROUPS[group]})
    order = np.argsort(-estimate(target.matrix.values, target.errors, "spearman"), kind="stable")
    listed = yaml.safe_load((DATA / "top10" / f"{group}.yml").read_text())["top_ten_from_estimate"]["id"]
    assert {int(j): target.matrix.units[j] for j in sorted(order[:10])} == listed
    assert all(finding.kind == "model_without_matrix" for finding in findings)


def test_the_model_that_comes_twice_is_reported_and_left_out(
    published: tuple[LossMatrix, NamedTable],
) -> None:
    """LLM360/Amber stands under two families with the same values."""
    cleaned, findings = clean_matrix(published[0])
    assert len(cleaned.models) == 89
    [finding] = findings
    assert finding.kind == "duplicate_model"
    assert finding.where == "('llm360', 'LLM360/Amber')"
    assert "('amber', 'LLM360/Amber')" in finding.action


def test_the_baseline_stands_beside_the_estimates(published: tuple[LossMatrix, NamedTable]) -> None:
    """On this matrix the mean bits per byte predict held-out models about as well as the estimates do."""
    matrix, errors = published
    settings = CorrelateSettings.model_validate(
        {"matrix": {"path": "unused"}, "benchmarks": {"path": "unused"}, "resamples": 50}
    )
    [target], _ = match_targets(clean_matrix(matrix)[0], errors, {"arc_easy": ["arc_easy"]})
    result = assess(target, settings)
    assert result.held_out.spearman > 0.85
    assert result.baseline.spearman > 0.85
    assert abs(result.held_out.spearman - result.baseline.spearman) < 0.1
    assert result.interval is not None
    assert (result.interval.low <= result.estimates).all()
    assert (result.estimates <= result.interval.high + 0.02).all()
