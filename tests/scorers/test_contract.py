"""What every annotator and every score promises, over the unions, by the example of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from tests.models import Models, save_classifier
from tests.runs.conftest import Bench
from tests.scorers.test_ngram_lm import ARPA

from siftlm.components import members, methods
from siftlm.scorers import AnyAnnotator, AnyScore, ScorerSettings, open_scorer
from siftlm.scorers.contract import SUM_FIELDS
from siftlm.scorers.linear_text import LinearText
from siftlm.scorers.ngrams import ImportanceWeights

ANNOTATORS, SCORES = members(AnyAnnotator), members(AnyScore)
TEXTS = [
    "The rain in the north stays; the south is dry.",
    "b a",
    "",
    "Zweiter Text: größer. 第三の文章です。",
    "a\n\n" * 50,
]
OWN = """
def readability(batch):
    return {"grade": [len(text) / 2 for text in batch["text"].to_pylist()]}
"""


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, tiny_model: Models) -> Path:
    """A folder with every file that an example names."""
    folder = tmp_path_factory.mktemp("examples")
    lines = ["__label__good good words here", "__label__bad bad things"] * 40
    (folder / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    model = fasttext.train_supervised(str(folder / "train.txt"), dim=8, bucket=1000, epoch=2, thread=12, verbose=0)
    model.save_model(str(folder / "quality.bin"))
    ImportanceWeights(2, np.random.default_rng(0).normal(size=100)).save(str(folder / "dsir.npz"))
    (folder / "benchmark.jsonl").write_text('{"text": "the rain in the north stays the south is dry"}\n')
    (folder / "model.arpa").write_text(ARPA)
    (folder / "my_scores.py").write_text(OWN)
    tiny_model(folder / "model")
    tiny_model(folder / "trained", seed=1)
    (folder / "objective.jsonl").write_text('{"text": "the rain in the north stays and the south is dry"}\n')
    LinearText(2, np.random.default_rng(0).normal(size=101), 0.5).save(str(folder / "learner.npz"))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    save_classifier(folder / "rater", "BertConfig", num_labels=1, **small)
    return folder


@pytest.fixture
def at_examples(examples: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(examples)
    return examples


def settings_of(kind: type[ScorerSettings]) -> ScorerSettings:
    return kind.model_validate(dict(kind.example))


def documents(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def about(row: dict[str, Any]) -> dict[str, Any]:
    """The row, whose floats may differ by what the order of sums makes."""
    return {name: pytest.approx(value, rel=1e-4) if isinstance(value, float) else value for name, value in row.items()}


@pytest.mark.parametrize("kind", [*ANNOTATORS, *SCORES])
def test_the_columns_are_those_that_were_told(at_examples: Path, kind: type[ScorerSettings]) -> None:
    """Known before anything is loaded, a row a document, and none depends on its neighbours."""
    scorer = settings_of(kind).scorer()
    told = pa.schema(scorer.fields())
    scorer.check()
    scorer.load(scorer.digest())
    found = scorer.score(documents(TEXTS))
    found.validate(full=True)
    assert found.schema == told
    assert found.num_rows == len(TEXTS)
    backwards = scorer.score(documents(TEXTS[::-1])).to_pylist()
    for row, other in zip(found.to_pylist(), reversed(backwards), strict=True):
        assert other == about(row)
    assert scorer.score(documents([])).num_rows == 0


@pytest.mark.parametrize("kind", [*ANNOTATORS, *SCORES])
def test_what_is_said_of_columns_is_said_of_columns_that_are_there(
    at_examples: Path, kind: type[ScorerSettings]
) -> None:
    """Good ends, charts, possible values and overlaps name columns that rules can name."""
    settings = settings_of(kind)
    scorer, columns = settings.scorer(), {field.name for field in settings.columns()}
    overlap = settings.overlap()
    named = [*scorer.good_ends(), *scorer.values(), *settings.charts()]
    named += [f"{overlap.name}_overlap", f"{overlap.name}_item"] if overlap else []
    assert set(named) <= columns
    assert bool(overlap) == bool(scorer.facts())


@pytest.mark.parametrize("kind", SCORES)
def test_a_score_has_the_sums_of_every_document(at_examples: Path, kind: type[Any]) -> None:
    """Perplexities and bits per byte can be derived; in two parts it gives the same as in one."""
    settings = settings_of(kind)
    scorer = settings.scorer()
    found = scorer.score(documents(TEXTS))
    assert {field.name for field in SUM_FIELDS} <= set(found.schema.names)
    assert all(value >= 0 for value in found["nll_sum"].to_pylist())
    assert found["byte_count"].to_pylist() == [len(text.encode()) for text in TEXTS]
    chosen = np.array([1, 3])
    pending = scorer.begin(scorer.tokenise(documents(TEXTS)["text"])[chosen])
    parts = scorer.score(documents([TEXTS[number] for number in chosen]))
    assert pending.finish().to_pylist() == [about(row) for row in parts.to_pylist()]
    assert settings.perplexities()


def test_every_method_has_a_row_with_words_and_a_name_of_its_own() -> None:
    """The methods page is made of these rows."""
    rows = [row for row in methods() if row.kind in ("annotator", "score")]
    assert [row.name for row in rows] == [kind.model_fields["kind"].default for kind in (*ANNOTATORS, *SCORES)]
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.words.partition("\n")[0].endswith(".")
        assert row.columns


def test_the_examples_run_together_from_end_to_end(at_examples: Path, tmp_path: Path) -> None:
    """One run with every annotator and every score; what they give are columns of what is written."""
    pytest.importorskip("apache_beam")
    bench = Bench(tmp_path)
    bench.shard("a.jsonl", [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)])
    settings = [settings_of(kind) for kind in (*ANNOTATORS, *SCORES)]
    others = [{"kind": kind.model_fields["kind"].default, **kind.example} for kind in ANNOTATORS]
    scores = [{"kind": kind.model_fields["kind"].default, **kind.example} for kind in SCORES]
    annotate = {"language": False, "signals": False, "others": others}
    bench.run(annotate=annotate, score=scores)
    rows = bench.rows()
    assert [row["text"] for row in sorted(rows, key=lambda row: row["doc_id"])] == TEXTS
    assert {field.name for of in settings for field in of.columns()} <= set(rows[0])
    expected = open_scorer(settings[-1]).score(documents(TEXTS))["nll_sum"].to_pylist()
    assert [row["ngram_nll_sum"] for row in sorted(rows, key=lambda row: row["doc_id"])] == expected
