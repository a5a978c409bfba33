"""N-gram models are scores like any other: in rules, in the report, in a matrix and its correlations."""

from __future__ import annotations

import json
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.proxies.test_loop import SILENT, WORDS, page, settings_of, tree_of

from siftlm.correlation import correlate, project_units
from siftlm.ngram.settings import NgramTraining
from siftlm.ngram.train import train_ngram
from siftlm.proxies.benchmark import benchmark
from siftlm.proxies.matrix import make_matrix
from siftlm.scorers.ngram_lm import NgramModelSettings

pytest.importorskip("apache_beam")


def model_of(folder: Path, name: str, cats: int, stocks: int) -> dict[str, str]:
    """A model of order 2 of so many pages of each source, which the corpus does not have."""
    texts = [page(source, 1000 + n)["text"] for source, of in (("cats", cats), ("stocks", stocks)) for n in range(of)]
    (folder / f"{name}.txt").write_text("\n".join(texts) + "\n")
    settings = NgramTraining(order=2, discount_fallback=True)
    train_ngram([str(folder / f"{name}.txt")], [str(folder / f"{name}.bin")], settings)
    return {"kind": "ngram", "name": name, "path": str(folder / f"{name}.bin")}


def perplexities(model: dict[str, str], texts: list[str]) -> list[float | None]:
    scorer = NgramModelSettings.model_validate(model).scorer()
    rows = scorer.score(pa.record_batch({"text": pa.array(texts, pa.large_string())})).to_pylist()
    return [exp(row["nll_sum"] / row["token_count"]) if row["token_count"] else None for row in rows]


def test_bands_and_the_report_take_its_perplexity(bench: Any, tmp_path: Path) -> None:
    """The lower half of the documents by it is kept, and the report draws it."""
    model = model_of(tmp_path, "cats", 20, 1)
    pages = [page(source, n) for source in WORDS for n in range(10)] + [{"id": "empty", "text": "", "url": ""}]
    bench.shard("0.jsonl", pages[:9])
    bench.shard("1.jsonl", pages[9:])
    rules = [{"kind": "band", "column": "cats_perplexity", "criterion": "low", "rate": 0.5}]
    bench.run(score=[model], select={"rules": rules}, output={"rejects": True})
    truth = dict(zip([row["id"] for row in pages], perplexities(model, [row["text"] for row in pages]), strict=True))
    kept, rejected = bench.rows(), bench.rows(part="rejects")
    for row in (*kept, *rejected):
        assert row["cats_perplexity"] == pytest.approx(truth[row["doc_id"]]), row["doc_id"]
    assert {row["doc_id"] for row in kept} == {f"cats-{n}" for n in range(10)}
    assert [row["reason"] for row in rejected if row["doc_id"] == "empty"] == ["cats_perplexity_missing"]
    report = (bench.root / "out/report.html").read_text()
    assert "cats_perplexity" in report
    manifest = json.loads((bench.root / "out/manifest.json").read_text())
    assert manifest["models"]["cats"]["model"] == model["path"]


def test_a_matrix_of_ngram_models_tells_the_pages_of_two_languages_apart(tmp_path: Path) -> None:
    """Models that read more of a source are better at its questions, and the correlation finds its pages."""
    tree = tree_of(tmp_path)
    del tree["family"]
    models = [model_of(tmp_path, f"m{n}", 2 * n + 1, 2 * (11 - n) + 1) for n in range(12)]
    tree |= {"score": models, "matrix": {"unit": "page", "tokens_of": "m0"}}
    tree["correlate"]["benchmarks"] = {"groups": {"cats": ["cats_bits"], "stocks": ["stocks_bits"]}}
    settings = settings_of(tree)
    made = make_matrix(settings, SILENT).matrix
    texts = {row["id"]: row["text"] for source in WORDS for row in (page(source, n) for n in range(60))}
    scorer = NgramModelSettings.model_validate(models[3]).scorer()
    for unit in made.units[:5]:
        text = texts[unit]
        nats = scorer.score(pa.record_batch({"text": pa.array([text], pa.large_string())}))["nll_sum"][0].as_py()
        bits = made.values[made.models.index("m3"), made.units.index(unit)]
        assert bits == pytest.approx(nats / np.log(2) / len(text.encode()))
    benchmark(settings, SILENT)
    out = f"{settings.folder}/correlation"
    correlate(settings.correlate, out)
    assert settings.project
    project_units(settings.project, f"{out}/estimates.parquet", f"{settings.folder}/units.parquet", out)
    weights = pq.read_table(f"{out}/weights.parquet").to_pylist()
    for target in WORDS:
        mine = [row for row in weights if row["target"] == target]
        assert all(row["unit"].startswith(target) for row in mine[:20])
