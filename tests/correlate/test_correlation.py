"""`siftlm correlate` and `siftlm project` on tables from elsewhere, through the command line."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import scipy.stats
from scipy.optimize import linprog
from typer.testing import CliRunner

from siftlm.cli.commands import app
from siftlm.correlate.settings import BenchmarkSettings, CorrelateSettings, MatrixSettings
from siftlm.correlation import correlate, project_units, verdict
from siftlm.errors import UserError
from siftlm.mixing.settings import ProjectSettings

MODELS, UNITS = 24, 60


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Units 0-19 follow a skill that the benchmark measures, the others only general strength."""
    rng = np.random.default_rng(3)
    strength, skill = rng.normal(size=MODELS), rng.normal(size=MODELS)
    own = np.where(np.arange(UNITS) < 20, 1.0, 0.0)
    bits = 3 - 0.2 * strength[:, None] - 0.3 * skill[:, None] * own + 0.02 * rng.normal(size=(MODELS, UNITS))
    models = [f"m{k:02}" for k in range(MODELS)]
    matrix = {"id": [f"u{j:02}" for j in range(UNITS)], **dict(zip(models, bits, strict=True))}
    pa.csv.write_csv(pa.table(matrix), tmp_path / "matrix.csv")
    errors = {"benchmark": ["skill"], **{m: [float(0.5 - 0.1 * s)] for m, s in zip(models, skill, strict=True)}}
    pa.csv.write_csv(pa.table(errors), tmp_path / "errors.csv")
    tokens = {"unit": matrix["id"], "token_count": rng.integers(50, 150, UNITS)}
    pa.csv.write_csv(pa.table(tokens), tmp_path / "units.csv")
    return tmp_path


def settings_of(folder: Path, **more: object) -> CorrelateSettings:
    matrix = MatrixSettings(path=f"{folder}/matrix.csv")
    benchmarks = BenchmarkSettings(path=f"{folder}/errors.csv")
    return CorrelateSettings.model_validate({"matrix": matrix, "benchmarks": benchmarks, "resamples": 30, **more})


def test_the_commands_print_how_far_to_trust_the_estimates(tables: Path) -> None:
    """correlate and project on tables alone, then the tables that they leave."""
    out = tables / "out"
    paths = ["--matrix", f"{tables}/matrix.csv", "--errors", f"{tables}/errors.csv", "--out", str(out)]
    printed = CliRunner().invoke(app, ["correlate", *paths, "--estimator", "spearman", "--set", "resamples=20"])
    assert printed.exit_code == 0, printed.output
    for word in ("24 models x 60 units", "mean_rank", "intervals clear of 0", "paired over 5 folds"):
        assert word in printed.output
    given = ["--estimates", f"{out}/estimates.parquet", "--units", f"{tables}/units.csv", "--out", str(out)]
    printed = CliRunner().invoke(app, ["project", *given, "--keep-share", "0.2"])
    assert printed.exit_code == 0, printed.output
    weights = pq.read_table(out / "weights.parquet").to_pylist()
    assert {row["unit"] for row in weights if row["included"]} <= {f"u{j:02}" for j in range(20)}
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.parquet",
        "correlation.html",
        "estimates.parquet",
        "findings.csv",
        "held_out.parquet",
        "weights.parquet",
    ]


def test_weights_of_a_run_equal_those_of_linprog(tables: Path) -> None:
    """The optimum of scipy's solver on the same estimates and caps."""
    out = str(tables / "out")
    correlate(settings_of(tables), out)
    weights = project_units(ProjectSettings(budget_tokens=1500), f"{out}/estimates.parquet", f"{tables}/units.csv", out)
    g, tau, w = (weights[name].to_numpy() for name in ("estimate", "cap", "weight"))
    solved = linprog(-g, A_eq=np.ones((1, UNITS)), b_eq=[1], bounds=list(zip(np.zeros(UNITS), tau, strict=True)))
    assert g @ w == pytest.approx(-solved.fun, abs=1e-9)
    assert w.sum() == pytest.approx(1)


def test_the_verdict_names_a_baseline_that_is_not_beaten(tables: Path) -> None:
    """Errors that follow the mean rank: the estimates know nothing more."""
    table = pa.csv.read_csv(tables / "matrix.csv")
    models = table.column_names[1:]
    ranks = scipy.stats.rankdata([table[name].to_numpy() for name in models], axis=0).mean(axis=1)
    errors = {name: [float(rank)] for name, rank in zip(models, ranks, strict=True)}
    pa.csv.write_csv(pa.table({"benchmark": ["strength"], **errors}), tables / "errors.csv")
    (assessment,) = correlate(settings_of(tables), str(tables / "out")).assessments
    said = verdict(assessment)
    assert not any(line.startswith(("all units: better", "top units: better")) for line in said)
    assert "little is known of units that the models' general strength does not say" in said


def test_new_estimates_drop_the_weights_of_the_old(tables: Path) -> None:
    """A folder never holds weights that belong to other estimates."""
    out = tables / "out"
    correlate(settings_of(tables), str(out))
    project_units(ProjectSettings(keep_share=0.2), f"{out}/estimates.parquet", f"{tables}/units.csv", str(out))
    html = (out / "correlation.html").read_text()
    assert "Caps and weights" in html
    assert html.count("<style>") == 1
    assert resources.files("siftlm.report").joinpath("report.css").read_text() in html, "it looks as the report does"
    correlate(settings_of(tables, estimator="concordant"), str(out))
    assert not (out / "weights.parquet").exists()
    assert "Caps and weights" not in (out / "correlation.html").read_text()


def test_defects_are_found_and_told(tables: Path) -> None:
    """A missing value, a constant unit, a model that comes twice: all in findings.csv."""
    text = (tables / "matrix.csv").read_text().splitlines()
    rows = [line.split(",") for line in text]
    rows = [[*row, row[3] if n else '"zagain"'] for n, row in enumerate(rows)]
    rows[5][2], rows[9][1:] = "", ["1.5"] * (len(rows[9]) - 1)
    (tables / "matrix.csv").write_text("\n".join(",".join(row) for row in rows))
    result = correlate(settings_of(tables), str(tables / "out"))
    kinds = {finding.kind for finding in result.findings}
    assert kinds == {"duplicate_model", "unit_with_missing", "constant_unit"}
    assert (tables / "out" / "findings.csv").read_text().count("\n") >= 4


@pytest.mark.parametrize(
    ("budget", "tokens", "message"),
    [
        ({"budget_tokens": 10**9}, None, "at most the tokens at hand without repeating any"),
        ({"keep_share": 0.1}, "unit,token_count\nu00,5\n", "every unit must have a token_count, got none for 'u01'"),
        ({"keep_share": 0.1}, "unit,tokens\nu00,5\n", "must have a column 'token_count'"),
        ({"keep_share": 0.1}, "unit,token_count\nu00,5\nu00,6\n", "every unit must come once, got 'u00'"),
    ],
)  # fmt: skip
def test_infeasible_caps_and_unmatched_units_are_one_line(
    tables: Path, budget: dict[str, float], tokens: str | None, message: str
) -> None:
    """Before anything is written."""
    out = str(tables / "out")
    correlate(settings_of(tables, resamples=0), out)
    if tokens:
        (tables / "units.csv").write_text(tokens)
    settings = ProjectSettings.model_validate(budget)
    with pytest.raises(UserError, match=message):
        project_units(settings, f"{out}/estimates.parquet", f"{tables}/units.csv", out)
    assert not Path(out, "weights.parquet").exists()


def test_a_mistake_is_one_line_and_exit_code_2(tables: Path) -> None:
    """Through the installed entry point."""
    command = "import sys; sys.argv[0] = 'siftlm'; from siftlm.cli.commands import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "correlate", "--matrix", "nowhere.csv", "--errors", "e.csv", "--out", "o"],
        cwd=tables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "siftlm: nowhere.csv: the table must exist, got no such file"
