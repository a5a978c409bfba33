"""A learner that was taught on a sample ranks what it has not seen, and a run applies it to everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge
from tests.models import Models
from tests.runs.conftest import Bench, mistake, siftlm

from siftlm.classifiers.distil import found_quarter, interval_of, learned
from siftlm.classifiers.linear import fit_linear
from siftlm.scorers.linear_text import LinearText, features

pytest.importorskip("apache_beam")

WORDS = ["the", "rain", "stays", "in", "north", "of", "city", "while", "trains", "run", "late", "people", "wait", "and"]


def texts(number: int) -> list[str]:
    """Texts of words in some order; of every third the words are noise, whose gradient is larger."""
    drawn = np.random.default_rng(0)
    made = []
    for n in range(number):
        words = drawn.choice(WORDS, 12)
        made.append(
            " ".join("".join(drawn.permutation(list("qxzvjw#%"))) for _ in words) if n % 3 == 0 else " ".join(words)
        )
    return made


def test_a_prediction_that_hardly_varies_has_no_interval() -> None:
    """Resamples without the one document that differs have no correlation, and are a third of all."""
    truth, guess = np.arange(45.0), np.zeros(45)
    guess[7] = 1.0
    assert interval_of(truth, guess, 0) is None
    low, high = interval_of(truth, truth[::-1] ** 2, 0) or (0.0, 0.0)
    assert low == high == pytest.approx(-1)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def tree(bench: Bench, tiny_model: Models) -> dict[str, Any]:
    folder = tiny_model(bench.root / "model", n_embd=32, n_positions=128)
    bench.shard("0.jsonl", [{"id": str(n), "text": text} for n, text in enumerate([*texts(120), ""])])
    model = {"kind": "self_influence", "name": "influence", "model": str(folder), "device": "cpu"}
    return bench.tree(annotate={"language": None, "signals": None, "models": [model]})


def written(tree: dict[str, Any], folder: Path) -> str:
    """The configuration in a file."""
    path = folder / "run.toml"
    annotate = tree["annotate"]
    lines = [f'name = "bench"\n[[input]]\nsource = "web"\npaths = ["{folder}/in"]\nid_field = "id"']
    lines += [f'[output]\nfolder = "{folder}/out"\n[annotate]\nlanguage = false\nsignals = false']
    for model in annotate["models"]:
        lines += ["[[annotate.models]]", *(f"{key} = {json.dumps(value)}" for key, value in model.items())]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize("learner", ["linear", "fasttext"])
def test_a_sample_teaches_a_learner_that_ranks_the_rest(
    learner: str, bench: Bench, tree: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    conf = written(tree, bench.root)
    sets = [f"distil.learner={learner}", "distil.sample=100", "distil.held_out=0.3", "distil.buckets=4096"]
    code, said, told = siftlm(capsys, "distil", conf, *(word for each in sets for word in ("--set", each)))
    assert code == 0, told
    folder = bench.root / "out/distilled"
    report = json.loads((folder / "report.json").read_text())
    assert report["sampled"] == 100
    assert report["scored"] in (99, 100)  # the empty one may have been drawn
    assert report["rank_correlation"] > 0.5
    low, high = report["interval"]
    assert low < report["rank_correlation"] < high
    assert f"rank correlation {report['rank_correlation']:.3f}" in said.replace("\n", " ")
    sample = pq.read_table(folder / "sample.parquet").to_pydict()
    assert sum(sample["held_out"]) == report["held_out"]
    bench.run(annotate=tree["annotate"])
    values = {row["doc_id"]: row["influence"] for row in bench.rows()}
    assert sample["score"] == [values[doc_id] for doc_id in sample["doc_id"]]
    cheap = (
        {"others": [{"kind": "distilled", "name": "cheap", "path": str(folder / "learner.npz")}]}
        if learner == "linear"
        else {"classifiers": [{"name": "cheap", "path": str(folder / "model.bin"), "label": "include"}]}
    )
    bench.run(out="applied", annotate={"language": None, "signals": None, **cheap})
    predicted = {row["doc_id"]: row["cheap"] for row in bench.rows("applied")}
    assert [predicted[doc_id] for doc_id in sample["doc_id"]] == pytest.approx(sample["predicted"], abs=1e-4)
    assert next(row for row in bench.rows("applied") if not row["text"])["cheap"] in (None, pytest.approx(0.5, abs=0.5))


def test_mistakes_are_one_line(bench: Bench, tree: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    conf = written(tree, bench.root)
    code, _, told = siftlm(capsys, "distil", conf, "--set", "distil.sample=5")
    assert code == 2
    assert "siftlm: distil.sample: must have 20 documents with a score to learn from, got " in told
    wrong = mistake(capsys, "distil", conf, "--set", "distil.model=influenze")
    assert wrong == "distil.model: must be one of 'influence', got 'influenze'"
    none = written({"annotate": {"models": []}}, bench.root)
    assert mistake(capsys, "distil", none) == "annotate.models: must hold the model to distil, got none"


def test_a_linear_model_is_ridge_regression(tmp_path: Path) -> None:
    """By scikit-learn, with the column for the intercept."""
    some = texts(60)
    wanted = np.random.default_rng(3).normal(size=60)
    made = fit_linear(some, wanted, np.zeros(60, bool), 2, 512)
    X = sparse.hstack([features(some, 2, 512), np.full((60, 1), 10.0)]).toarray()
    truth = Ridge(alpha=1.0, fit_intercept=False).fit(X, wanted)
    np.testing.assert_allclose(made.predict(some), truth.predict(X), atol=1e-5)
    made.save(str(tmp_path / "learner.npz"))
    again = LinearText.load(str(tmp_path / "learner.npz"))
    np.testing.assert_array_equal(again.predict(some), made.predict(some))
    assert again.predict([]).tolist() == []
    assert np.isfinite(again.predict([""])).all()


def test_what_is_learned_and_how_much_of_the_best_is_found() -> None:
    assert learned(np.array([5.0, 1.0, 5.0, 9.0]), "rank").tolist() == [0.5, 0.0, 0.5, 1.0]
    np.testing.assert_allclose(learned(np.array([1.0, 3.0]), "deviations"), [-1, 1])
    assert learned(np.array([2.0, 2.0]), "rank").tolist() == [0, 0]
    assert found_quarter(np.arange(8.0), np.arange(8.0)) == 1.0
    assert found_quarter(np.arange(8.0), -np.arange(8.0)) == 0.0
