"""The loop end to end on tiny data: models that read one of two languages tell their pages apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from siftlm import loop as loop_config
from siftlm.classifiers.train import fit_dsir, train_classifier, two_corpora
from siftlm.corpus import BENCHMARK, Corpus, open_corpus
from siftlm.correlate.matrix import read_matrix
from siftlm.correlate.settings import MatrixSettings
from siftlm.correlation import correlate, project_units
from siftlm.engine.progress import Progress
from siftlm.engine.step import Output, Shard
from siftlm.errors import UserError
from siftlm.job import run
from siftlm.proxies.benchmark import benchmark
from siftlm.proxies.family import train_family
from siftlm.proxies.matrix import MatrixResult, make_matrix
from siftlm.scorers import DsirSettings, open_score, open_scorer
from siftlm.selectors.reasons import HELD_OUT
from siftlm.stages.columns import read_columns
from siftlm.storage.prune import Choice, prune

SILENT = Progress(quiet=True)
WORDS = {
    "cats": ["cat", "dog", "mat", "paw", "fur", "tail", "whisker", "kitten", "purr", "meow", "claw", "nap"],
    "stocks": ["rate", "bond", "yield", "fund", "stock", "fell", "rose", "market", "share", "price", "trade", "bank"],
}


def page(source: str, number: int) -> dict[str, str]:
    """A page of forty words of its source, on one of two domains."""
    words = np.random.default_rng([number, len(source)]).choice(WORDS[source], 40)
    return {"id": f"{source}-{number}", "text": " ".join(words), "url": f"https://{source}{number % 2}.org/{number}"}


def tree_of(folder: Path) -> dict[str, Any]:
    inputs = []
    for source in WORDS:
        lines = "\n".join(json.dumps(page(source, number)) for number in range(60))
        (folder / f"{source}.jsonl").write_text(lines)
        inputs.append({"source": source, "paths": [str(folder / f"{source}.jsonl")], "id_field": "id"})
    shape = {"layers": 1, "heads": 1, "context_tokens": 16, "vocabulary": 300, "batch_tokens": 64, "threads": 1}
    mixtures = {"cats": ["cats"], "stocks": ["stocks"], "both": ["cats", "stocks"]}
    return {
        "name": "tiny",
        "seed": 5,
        "input": inputs,
        "annotate": {"signals": {"groups": ["basic"]}},
        "family": {"holdout": 0.3, "mixtures": mixtures, "widths": [8], "epochs": [0.5, 3.0], "shape": shape},
        "benchmark": {
            "holdout": 0.3,
            "questions": 20,
            "context_words": 6,
            "answer_words": 4,
            "tasks": {"cats": ["cats"], "stocks": ["stocks"]},
        },
        "matrix": {"unit": "page", "tokens_of": "both_w8_e3"},
        "correlate": {
            "resamples": 20,
            "folds": 3,
            "benchmarks": {"groups": {"cats": ["cats_bits"], "stocks": ["stocks_bits"]}},
        },
        "project": {"keep_share": 0.4},
        "classifier": {
            "target": "cats",
            "dim": 8,
            "bucket": 1000,
            "held_out": 0.3,
            "fewest_word_count": 2,
            "epoch": 20,
            "learning_rate": 0.5,
        },
        "output": {"folder": str(folder / "out")},
    }


def settings_of(tree: dict[str, Any], *overrides: str) -> loop_config.LoopConfig:
    return loop_config.validated(loop_config.LoopConfig, json.loads(json.dumps(tree)), list(overrides), "tiny")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The configuration of a corpus whose family is trained."""
    tree = tree_of(tmp_path_factory.mktemp("loop"))
    rows = train_family(settings_of(tree), SILENT)
    assert [row["model"] for row in rows] == sorted(settings_of(tree).family.members())  # type: ignore[union-attr]
    return tree


@pytest.fixture(scope="module")
def made(tree: dict[str, Any]) -> MatrixResult:
    return make_matrix(settings_of(tree), SILENT)


def test_the_three_splits_do_not_meet(tree: dict[str, Any], made: MatrixResult) -> None:
    """No page of the matrix trained a model or was cut into questions, and every page is somewhere."""
    with open_corpus(settings_of(tree), SILENT, "test") as corpus:
        reasons: dict[str, str | None] = {}
        for task in corpus.shards:
            doc_ids = read_columns(task, corpus.store, {"doc_id"})["doc_id"].to_pylist()
            reasons |= dict(zip(doc_ids, corpus.reasons(task).to_pylist(), strict=True))
    assert {doc_id for doc_id, reason in reasons.items() if reason is None} == set(made.matrix.units)
    assert set(reasons.values()) == {None, HELD_OUT, BENCHMARK}
    assert len(reasons) == 120 == len(made.matrix.units) + sum(made.dropped.values())


def test_pruning_keeps_what_every_command_of_the_loop_needs(tree: dict[str, Any], made: MatrixResult) -> None:
    """Models, pages of the matrix and their scores; a model of nobody's goes, its marker first."""
    del made
    errors = benchmark(settings_of(tree), SILENT)
    store = Path(tree["output"]["folder"], "store")
    stray = store / "family" / ("0" * 32)
    stray.mkdir()
    (stray / "model.safetensors").write_text("of a run that was killed")
    before = set(store.rglob("*.done"))
    prune(str(store), Choice(older_than_days=0.0), None, lambda _: None)
    assert set(store.rglob("*.done")) == before
    assert not stray.exists()
    assert benchmark(settings_of(tree), SILENT).equals(errors)


def test_the_documents_of_the_matrix_follow_those_that_are_eligible(tmp_path: Path) -> None:
    """What a rule of preselection reads counts by which documents it drops, and by nothing else."""
    config, work = settings_of(tree_of(tmp_path)), Any

    def identity(**contents: str) -> str:
        read = {"documents": "d", "signals": "s", "clusters": "c", "commonness": "m", "eligible": "e", **contents}
        outputs = {step: Output(step, content) for step, content in read.items()}
        return Corpus(config, work, SILENT, work, [Shard(0, "a", {}, outputs)]).identity()

    assert identity(eligible="others") != identity()
    assert identity(documents="others") != identity()
    assert identity(clusters="others", commonness="others") == identity()


def test_a_cell_is_the_bits_per_byte_of_its_page(tree: dict[str, Any], made: MatrixResult) -> None:
    """Against the scorer itself, on the text as it was written."""
    import pyarrow as pa

    with open_corpus(settings_of(tree), SILENT, "test") as corpus:
        models = {model.name: model for model in corpus.models()}
    unit = made.matrix.units[3]
    text = page(*_named(unit))["text"]
    for k, name in enumerate(made.matrix.models):
        scored = open_score(models[name]).score(pa.record_batch({"text": pa.array([text], pa.large_string())}))
        expected = scored["nll_sum"][0].as_py() / (math.log(2) * len(text))
        assert made.matrix.values[k, 3] == pytest.approx(expected, rel=1e-6)


def _named(unit: str) -> tuple[str, int]:
    source, number = unit.split("-")
    return source, int(number)


def test_models_are_best_at_what_they_read(made: MatrixResult) -> None:
    """The models of cats have fewer bits per byte on cats than those of stocks, and the other way round."""
    values = dict(zip(made.matrix.models, made.matrix.values, strict=True))
    cats = np.array([unit.startswith("cats") for unit in made.matrix.units])
    assert values["cats_w8_e3"][cats].mean() < values["stocks_w8_e3"][cats].mean()
    assert values["cats_w8_e3"][~cats].mean() > values["stocks_w8_e3"][~cats].mean()


def test_a_matrix_made_again_scores_nothing(tree: dict[str, Any], made: MatrixResult) -> None:
    """Scores are kept by model: the files are the same, and not written again."""
    folder = Path(tree["output"]["folder"])
    before = {path: path.stat().st_mtime_ns for path in (folder / "store" / "scores").rglob("*.parquet")}
    content = (folder / "matrix.parquet").read_bytes()
    make_matrix(settings_of(tree), SILENT)
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "store" / "scores").rglob("*.parquet")}
    assert (folder / "matrix.parquet").read_bytes() == content


def test_chunks_add_up_to_their_pages(tree: dict[str, Any], made: MatrixResult) -> None:
    """Chunk after chunk is the text of the page, and the bytes of the units are those of the pages."""
    chunked = make_matrix(settings_of(tree, "matrix.unit=chunk", "matrix.chunk_tokens=10"), SILENT)
    sizes: dict[str, int] = {}
    for unit, size in zip(chunked.units["unit"].to_pylist(), chunked.units["byte_count"].to_pylist(), strict=True):
        sizes[unit.split("#")[0]] = sizes.get(unit.split("#")[0], 0) + size
    whole = dict(zip(made.units["unit"].to_pylist(), made.units["byte_count"].to_pylist(), strict=True))
    assert len(chunked.matrix.units) > 2 * len(made.matrix.units)
    assert sizes == whole == {unit: len(page(*_named(unit))["text"]) for unit in made.matrix.units}


def test_a_domain_is_the_sum_of_its_drawn_pages(tree: dict[str, Any], made: MatrixResult) -> None:
    """Sum of nats over sum of bytes, of exactly as many pages of each as asked for; tokens are those of all pages."""
    path = f"{tree['output']['folder']}/domains.parquet"
    domains = make_matrix(
        settings_of(tree, "matrix.unit=domain", "matrix.pages_per_domain=8", f"matrix.path={path}"), SILENT
    )
    assert domains.matrix.units == ["cats0.org", "cats1.org", "stocks0.org", "stocks1.org"]
    assert set(pq.read_table(path)["page_count"].to_pylist()) == {8}
    assert sum(domains.units["page_count"].to_pylist()) == len(made.matrix.units)
    assert domains.dropped["not_drawn"] == len(made.matrix.units) - 4 * 8
    everything = make_matrix(settings_of(tree, "matrix.unit=source"), SILENT)
    for j, source in enumerate(everything.matrix.units):
        mine = [n for n, unit in enumerate(made.matrix.units) if unit.startswith(source)]
        sizes = np.array([len(page(*_named(made.matrix.units[n]))["text"]) for n in mine])
        expected = (made.matrix.values[:, mine] * sizes).sum(axis=1) / sizes.sum()
        np.testing.assert_allclose(everything.matrix.values[:, j], expected, rtol=1e-12)
    make_matrix(settings_of(tree), SILENT)


def test_a_csv_matrix_reads_back_the_same(tree: dict[str, Any], made: MatrixResult) -> None:
    """The published orientation, to the last bit."""
    path = f"{tree['output']['folder']}/matrix.csv"
    make_matrix(settings_of(tree, f"matrix.path={path}"), SILENT)
    again, _ = read_matrix(MatrixSettings(path=path))
    assert (again.models, again.units) == (made.matrix.models, made.matrix.units)
    np.testing.assert_array_equal(again.values, made.matrix.values)


@pytest.fixture(scope="module")
def weighed(tree: dict[str, Any], made: MatrixResult) -> loop_config.LoopConfig:
    """Errors, estimates and weights are made."""
    settings = settings_of(tree)
    benchmark(settings, SILENT)
    out = f"{settings.folder}/correlation"
    correlate(settings.correlate, out)
    assert settings.project
    project_units(settings.project, f"{out}/estimates.parquet", f"{settings.folder}/units.parquet", out)
    return settings


def test_the_weights_take_the_pages_of_the_task(weighed: loop_config.LoopConfig) -> None:
    """Good models of cats are those that predict pages of cats; the page of plots says so too."""
    weights = pq.read_table(f"{weighed.folder}/correlation/weights.parquet").to_pylist()
    for target in ("cats", "stocks"):
        mine = [row for row in weights if row["target"] == target]
        assert sum(row["weight"] for row in mine) == pytest.approx(1)
        assert all(row["unit"].startswith(target) for row in mine[:20])
        assert [row["included"] for row in mine] == sorted((row["included"] for row in mine), reverse=True)
    html = Path(f"{weighed.folder}/correlation/correlation.html").read_text()
    assert html.count("<svg") == 8
    assert "://" not in html.replace("http://www.w3.org/", "")


@pytest.mark.parametrize("labels", ["weight", "rank", "extremes"])
def test_a_run_selects_by_the_classifier(weighed: loop_config.LoopConfig, tmp_path: Path, labels: str) -> None:
    """Trained on the weights, named by its path, and cut at a number of documents: the cats."""
    folder = str(tmp_path / "classifier")
    settings = weighed.model_copy(
        update={"classifier": weighed.classifier.model_copy(update={"labels": labels, "min_count": 1})}
    )
    report = train_classifier(settings, SILENT, out=folder)
    assert report["roc_auc"] > 0.75  # the budget cuts through the cats
    again = train_classifier(settings, SILENT, out=f"{folder}-again")
    assert Path(folder, "model.bin").read_bytes() == Path(f"{folder}-again", "model.bin").read_bytes()
    assert report == again
    if labels == "weight":
        corpus = {"input": [source.model_dump() for source in weighed.input], "name": "selected"}
        scorer = {"name": "wanted", "path": f"{folder}/model.bin", "label": "include"}
        rule = {"kind": "top", "column": "wanted", "budget_documents": 50}
        tree = {**corpus, "annotate": {"classifiers": [scorer]}, "select": {"rules": [rule]}}
        from siftlm.config import parse

        result = run(parse({**tree, "output": {"folder": str(tmp_path / "run")}}, []), SILENT)
        kept = [Path(shard["path"]).stem for shard in result.manifest["inputs"] for _ in range(shard["kept"])]
        assert len(kept) == 50
        assert kept.count("cats") > 45


def test_two_corpora_need_no_models(tree: dict[str, Any], tmp_path: Path) -> None:
    """Good against web, from files alone."""
    cats, stocks = (source["paths"] for source in tree["input"])
    overrides = ["classifier.dim=8", "classifier.bucket=1000", "classifier.held_out=0.3", "classifier.epoch=20"]
    settings = two_corpora(cats, stocks, str(tmp_path / "out"), overrides)
    report = train_classifier(settings, SILENT, out=str(tmp_path / "model"))
    assert report["precision"] == report["recall"] == 1.0


def test_dsir_weighs_pages_of_the_target_up(tree: dict[str, Any], tmp_path: Path) -> None:
    """A target of cats in a corpus of both: log weights above 0 for cats, below for stocks; short texts have none."""
    import pyarrow as pa

    cats, stocks = (source["paths"] for source in tree["input"])
    settings = two_corpora(cats, [*stocks], str(tmp_path), ["dsir.raw=['good', 'web']"])
    fit_dsir(settings, SILENT)
    scorer = open_scorer(DsirSettings(name="dsir", path=f"{tmp_path}/dsir.npz", fewest_words=10))
    texts = [page("cats", 1)["text"], page("stocks", 1)["text"], "cat dog", ""]
    scored = scorer.score(pa.record_batch({"text": pa.array(texts, pa.large_string())}))
    assert scored.schema.names == ["dsir", "dsir_per_ngram", "dsir_sampled"]
    weights = scored["dsir"].to_pylist()
    assert weights[0] > 0 > weights[1]
    assert weights[2:] == [None, None]
    assert abs(scored["dsir_sampled"][0].as_py() - weights[0]) < 40


def test_untrained_models_and_missing_tables_are_one_line(tree: dict[str, Any], tmp_path: Path) -> None:
    """Before any work."""
    with pytest.raises(UserError, match="run siftlm train-family first"):
        make_matrix(settings_of(tree, "family.widths=[16]"), SILENT)
    bare = {key: value for key, value in tree.items() if key not in ("family", "benchmark")}
    with pytest.raises(UserError, match=r"\[\[score\]\]"):
        make_matrix(settings_of({**bare, "output": {"folder": str(tmp_path / "bare")}}), SILENT)
    with pytest.raises(UserError, match="family: must be a table"):
        train_family(settings_of(bare), SILENT)
    with pytest.raises(UserError, match="run siftlm project first"):
        train_classifier(settings_of({**bare, "output": {"folder": str(tmp_path / "bare")}}), SILENT)
    with pytest.raises(UserError, match=r"family\.mixtures\.web must name sources"):
        settings_of(tree, "family.mixtures.web=['nowhere']")
    with pytest.raises(UserError, match=r"classifier\.target: must be one of 'cats', 'stocks', got 'dogs'"):
        train_classifier(settings_of(tree, "classifier.target=dogs"), SILENT)
