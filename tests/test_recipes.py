"""The recipes of conf/recipes: each is a run whose formulas, rules and weights name columns that it has."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from siftlm.checks.names import check_names
from siftlm.config import load
from siftlm.errors import UserError
from siftlm.stages.columns import DECISIONS
from siftlm.steps import columns_before, losses, steps

RECIPES = sorted((Path(__file__).parents[1] / "conf/recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_a_recipe_names_columns_that_its_run_computes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Types included: every formula compiles, and what is ranked or compared is there. No model is opened."""
    tables = {
        "ratings": {"overall_score": [4], "domain": ["law"]},
        "rewards": {name: [0.5] for name in ("qwen_small", "qwen_middle", "qwen_large", "llama_small", "llama_large")},
        "clusters": {"cluster": ["3"]},
        "skills": {"algebra": [0.5], "geometry": [0.2], "counting": [-0.1]},
    }
    for name, columns in tables.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"doc_id": ["a"], **columns}), tmp_path / name / "0.parquet")
    monkeypatch.chdir(tmp_path)
    config = load(str(path))
    check_names(config)
    columns = columns_before(config, DECISIONS)
    assert config.select.columns() - columns.keys() <= {"doc_id"}
    assert losses(steps(config))
    assert f"siftlm run conf/recipes/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_a_column_that_a_recipe_does_not_have_is_told(path: Path) -> None:
    """So that the test before can fail."""
    assert tomllib.loads(path.read_text())["name"] == path.stem
    config = load(str(path), ["columns=[{name='x', expr='no_such_column + 1'}]"])
    with pytest.raises(UserError, match=r"columns\.0\.expr|join\.0\.path"):
        steps(config)
