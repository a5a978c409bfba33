"""The names for use from Python: the examples of the guide run as they stand, and give what the commands give."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file
from tests.models import Models

import siftlm
from siftlm.errors import UserError

GUIDE = Path(__file__).parents[1] / "pipeline" / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
TEXTS = ["A sentence of plain English.", "", "def add(a, b):\n    return a + b\n"]
RUN = """
name = "small"
[[input]]
source = "web"
paths = ["{folder}/in"]
id_field = "id"
[annotate]
language = false
[[select.rules]]
kind = "threshold"
column = "byte_count"
min = 20
[output]
folder = "{folder}/out"
"""


@pytest.fixture(scope="module")
def model(tiny_model: Models) -> str:
    """The folder of a tiny GPT-2 with random weights."""
    return str(tiny_model.kept())


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The configuration of a run over three documents."""
    (tmp_path / "in").mkdir()
    lines = [
        f'{{"id": "{name}", "text": "{text}"}}'
        for name, text in zip("abc", ("too short", "a" * 30, "b" * 40), strict=True)
    ]
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "run.toml").write_text(RUN.format(folder=tmp_path))
    return tmp_path / "run.toml"


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_of_the_guide_runs(block: str, model: str, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a tiny model, and a run over three documents, in the places of those that the guide names."""
    code = block.replace("HuggingFaceTB/SmolLM2-135M", model).replace("conf/quickstart.toml", str(conf))
    code = code.replace("runs/mine", str(conf.parent / "mine"))
    names: dict[str, Any] = {}
    exec(compile(code, str(GUIDE), "exec"), names)
    if "config" in names:
        assert "2 of 3 kept" in capsys.readouterr().out
    if "scores" in names:
        assert names["scores"]["error"].null_count == 2


def test_the_guide_has_an_example_of_every_public_name() -> None:
    text = GUIDE.read_text("utf-8")
    assert [name for name in siftlm.__all__ if f"siftlm.{name}(" not in text] == []


def test_importing_the_package_loads_neither_beam_nor_torch() -> None:
    code = "import sys, siftlm; print({'apache_beam', 'torch', 'pyarrow'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "set()"
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = siftlm.lode  # type: ignore[attr-defined]


def test_scores_are_those_of_the_model_itself(model: str) -> None:
    """Nats of every text against transformers in fp32, a token at a time; an empty text has none."""
    import torch
    import transformers as hf

    found = siftlm.score_texts(TEXTS, model, device="cpu", dtype="fp32").to_pylist()
    network, tokenizer = hf.GPT2LMHeadModel.from_pretrained(model).eval(), hf.AutoTokenizer.from_pretrained(model)
    for text, row in zip(TEXTS, found, strict=True):
        ids = torch.tensor([[0, *tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            logits = network(ids).logits.log_softmax(-1)
        nats = -sum(float(logits[0, n, ids[0, n + 1]]) for n in range(ids.shape[1] - 1))
        assert row["nll_sum"] == pytest.approx(nats, rel=1e-4, abs=1e-6)
        assert (row["token_count"], row["byte_count"]) == (ids.shape[1] - 1, len(text.encode()))
        assert row["perplexity"] == (pytest.approx(np.exp(nats / (ids.shape[1] - 1)), rel=1e-4) if text else None)


def test_a_model_that_changed_in_its_folder_is_loaded_again(model: str, tmp_path: Path) -> None:
    """Whether its weights or its tokenizer; a folder that is gone is an error, not the old numbers."""
    folder = tmp_path / "changing"
    shutil.copytree(model, folder)
    before = siftlm.score_texts(["some words"], str(folder), device="cpu", dtype="fp32")["nll_sum"].to_pylist()
    weights = load_file(folder / "model.safetensors")
    save_file({name: of * 2 for name, of in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    after = siftlm.score_texts(["some words"], str(folder), device="cpu", dtype="fp32")["nll_sum"].to_pylist()
    shutil.copytree(folder, tmp_path / "other")
    assert after != before
    truth = siftlm.score_texts(["some words"], str(tmp_path / "other"), device="cpu", dtype="fp32")["nll_sum"]
    assert after == truth.to_pylist()
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="changing"):
        siftlm.score_texts(["some words"], str(folder), device="cpu", dtype="fp32")


def test_a_run_can_be_opened_as_arrow_pandas_and_polars(conf: Path) -> None:
    run = siftlm.run(siftlm.load(str(conf)))
    opened = siftlm.open_run(run.folder)
    assert opened.arrow(["doc_id", "kept"]).to_pylist() == [
        {"doc_id": "a", "kept": False},
        {"doc_id": "b", "kept": True},
        {"doc_id": "c", "kept": True},
    ]
    assert opened.arrow().schema.names == list(opened.columns())
    polars = pytest.importorskip("polars")
    assert isinstance(opened.polars(["kept"]), polars.DataFrame)
    with pytest.raises(UserError, match=r"^columns: must be columns of the run, got 'kep'; did you mean 'kept'\?$"):
        opened.arrow(["kep"])


def test_mistakes_are_told_as_the_commands_tell_them(model: str, tmp_path: Path) -> None:
    table = pa.table({"score": [1.0, 2.0]})
    assert siftlm.select_table(table, [{"kind": "sample", "rate": 1.0}])["kept"].to_pylist() == [True, True]
    for rules, line in (
        ([{"kind": "threshold", "colum": "score", "min": 1}], "rules.0.colum"),
        ([{"kind": "threshold", "column": "scores", "min": 1}], "did you mean 'score'"),
        ([{"kind": "nothing"}], "rules.0.kind"),
    ):
        with pytest.raises(UserError, match=line):
            siftlm.select_table(table, rules)
    with pytest.raises(UserError, match="dtype"):
        siftlm.score_texts(["a"], model, dtype="fp8")
    with pytest.raises(UserError, match=r"^text: must be a column of the batch, got 'text'"):
        siftlm.score_batch(pa.record_batch({"body": ["a"]}), model)
    with pytest.raises(UserError, match="must be the folder of a finished run"):
        siftlm.open_run(str(tmp_path))
    with pytest.raises(UserError, match="must be a configuration file"):
        siftlm.load(str(tmp_path / "none.toml"))


def test_near_duplicates_are_the_components_of_shared_bands() -> None:
    """Brute force over the bands; a text without a word is alone."""
    words = [f"w{n}" for n in range(40)]
    texts = [
        " ".join(words),
        " ".join([*words[1:], "x"]),
        "",
        " ".join(reversed(words)),
        " ".join([*words[2:], "x", "y"]),
        "",
    ]
    bands, first = siftlm.minhash(texts), list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if texts[i] and (bands[i] == bands[j]).any():
                first = [first[j] if owner == first[i] else owner for owner in first]
    assert siftlm.near_duplicates(texts).tolist() == first
    assert first[:4] == [0, 0, 2, 3]
