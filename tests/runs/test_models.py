"""The steps of sequence classification models: what they rate, when, and what they need not do again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.models import save_classifier, save_model
from tests.runs.conftest import Bench, mistake

pytest.importorskip("apache_beam")

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
WORDS = ["the", "rain", "stays", "in", "north", "of", "a", "city", "while", "trains", "run", "late", "and", "people"]
TEXTS = [" ".join(WORDS[(7 * n + k * k) % 14] for k in range(3 + 5 * (n % 9))) for n in range(40)] + ["", "again"]


@pytest.fixture(scope="module")
def rater(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rater")
    positions = {"max_position_embeddings": 96}
    return save_classifier(
        folder, "BertConfig", num_labels=1, problem_type="regression", scale=4.0, **SHAPE, **positions
    )


@pytest.fixture
def raters(rater: Path, bench: Bench) -> dict[str, Any]:
    rows = [{"id": str(n), "text": text, "lang": "eng" if n % 2 else "deu"} for n, text in enumerate(TEXTS)]
    for shard in range(3):
        bench.shard(f"{shard}.jsonl", rows[shard::3])
    return {"language": None, "signals": None, "models": [{"name": "edu", "model": str(rater), "device": "cpu"}]}


@torch.no_grad()
def by_transformers(folder: Path, texts: list[str]) -> list[float]:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = [tokenizer(text, return_tensors="pt", truncation=True, max_length=96) for text in texts]
    return [float(model(**each).logits) for each in inputs]


def edu(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row["text"]: row["edu"] for row in rows}


def test_a_run_rates_documents_as_transformers_does(bench: Bench, raters: dict[str, Any], rater: Path) -> None:
    """The columns are written, rules and formulas use them, and the manifest says what the model was."""
    columns = [{"name": "twice", "expr": "edu * 2"}]
    bench.run(annotate=raters, columns=columns)
    rows = bench.rows()
    assert len(rows) == len(TEXTS)
    read = [text for text in TEXTS if text]
    expected = dict(zip(read, by_transformers(rater, read), strict=True)) | {"": None}
    assert np.std([value for value in expected.values() if value is not None]) > 1e-3
    assert edu(rows) == {text: value and pytest.approx(value, abs=1e-5) for text, value in expected.items()}
    assert {row["text"]: row["twice"] for row in rows if row["text"]} == {
        row["text"]: pytest.approx(2 * row["edu"]) for row in rows if row["text"]
    }
    assert {row["edu_truncated"] for row in rows if len(row["text"]) < 90} == {False}
    assert {row["edu_truncated"] for row in rows if len(row["text"]) > 100} == {True}
    model = json.loads((bench.root / "out/manifest.json").read_text())["models"]["edu"]
    assert model["truncated_documents"] == str(sum(row["edu_truncated"] for row in rows))
    assert (model["max_tokens"], model["dtype"], model["batching"]) == ("96", "fp32", "one text at a time")


def test_the_bytes_depend_on_no_shard_and_no_window(bench: Bench, raters: dict[str, Any]) -> None:
    bench.run(annotate=raters)
    values = edu(bench.rows())
    again = Bench(bench.root / "again")
    rows = [{"id": str(n), "text": text} for n, text in reversed(list(enumerate(TEXTS)))]
    again.shard("all.jsonl", rows)
    models = [{**raters["models"][0], "window_documents": 5, "threads": 1}]
    again.run(annotate={**raters, "models": models}, runner={"worker_memory": "600MB"})
    assert edu(again.rows()) == values


def test_preselection_by_a_model_works_on_all_documents(bench: Bench, raters: dict[str, Any]) -> None:
    """Before scores; the documents that it drops are rated too, and duplicates, whatever `dedup` says."""
    bench.run(annotate=raters)
    values = {text: value for text, value in edu(bench.rows()).items() if value is not None}
    middle = float(np.median(list(values.values())))
    rule = {"kind": "threshold", "column": "edu", "min": middle}
    bench.run(out="chosen", annotate=raters, preselect=[rule], output={"rejects": True})
    assert {row["text"] for row in bench.rows("chosen")} == {text for text, value in values.items() if value >= middle}
    assert edu(bench.rows("chosen", "rejects")) == {
        text: values.get(text) for text in TEXTS if values.get(text, middle - 1) < middle
    }


def test_documents_that_are_out_are_not_rated_and_others_not_again(
    bench: Bench, raters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wider preselection rates what is new; another model does not redo signals."""
    from siftlm.scorers.sequence_model import SequenceModel

    seen: list[str] = []
    tokenise = SequenceModel.tokenise
    monkeypatch.setattr(
        SequenceModel, "tokenise", lambda self, texts: seen.extend(texts.to_pylist()) or tokenise(self, texts)
    )
    store = str(bench.root / "store")
    long, shorter = ([{"kind": "threshold", "column": "byte_count", "min": least}] for least in (100, 40))
    bench.run(annotate=raters, preselect=long, store=store, output={"rejects": True})
    first = {text for text in TEXTS if len(text) >= 100}
    assert sorted(set(seen) - {"A text."}) == sorted(first)
    rejects = bench.rows(part="rejects")
    assert {row["edu"] for row in rejects} == {row["edu_truncated"] for row in rejects} == {None}
    seen.clear()
    before = bench.markers("store")
    bench.run(out="wider", annotate=raters, preselect=shorter, store=store)
    assert sorted(set(seen) - {"A text."}) == sorted({text for text in TEXTS if len(text) >= 40} - first)
    after = bench.markers("store")
    assert {name for name in before if name.startswith("signals/")} == {
        name for name in after if name.startswith("signals/")
    }
    fresh = bench.run(out="fresh", annotate=raters, preselect=shorter)
    assert fresh
    assert bench.content("wider") == bench.content("fresh")


def test_a_plan_estimates_models_rules_and_formulas_by_them(bench: Bench, raters: dict[str, Any]) -> None:
    """Rules, formulas and selection are timed without their values, the model on a little text."""
    from siftlm.config import parse
    from siftlm.plan import plan

    save_model(bench.root / "lm")
    tree = bench.tree(
        annotate=raters,
        preselect=[{"kind": "threshold", "column": "edu", "min": -9.0}],
        score=[{"name": "lm", "model": str(bench.root / "lm"), "device": "cpu"}],
        columns=[{"name": "both", "expr": "edu + lm_perplexity"}],
        select={"rules": [{"kind": "threshold", "column": "both", "min": 0.0}]},
    )
    rows = {row.stage: row for row in plan(parse(tree, []))}
    assert all(row.seconds is not None for row in rows.values()), rows
    assert rows["models/edu"].todo is None, "documents have to be read before"
    assert list(rows).index("models/edu") < list(rows).index("eligible") < list(rows).index("scores/lm")


def test_what_is_wrong_with_a_model_is_told_before_any_work(
    bench: Bench, raters: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    several = save_classifier(tmp_path / "several", "BertConfig", num_labels=3, **SHAPE)
    conf = tmp_path / "conf.toml"
    conf.write_text(
        f'name = "x"\n[[input]]\nsource = "web"\npaths = ["{bench.root}/in"]\nid_field = "id"\n'
        f'[[annotate.models]]\nname = "topic"\nmodel = "{several}"\ndevice = "cpu"\n'
        f'[output]\nfolder = "{tmp_path}/out"\n'
    )
    capsys.readouterr()  # what saving the model said
    for command in ("validate", "run"):
        told = mistake(capsys, command, str(conf))
        assert told.startswith(
            "annotate.models.topic.label: must be set for a model with 3 outputs, got nothing; it has"
        )
    told = mistake(capsys, "run", str(conf), "--set", "annotate.models.topic.model=/nowhere")
    assert told.startswith("annotate.models.topic.model: must be a folder, a .gguf file or a hub id")
    assert not (tmp_path / "out").exists()
