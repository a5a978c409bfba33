"""What every annotator and every score promises, over the unions, by the example of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.examples import example_files
from tests.models import Models
from tests.runs.conftest import Bench

from siftlm.components import members, methods
from siftlm.scorers import AnyAnnotator, AnyScore, ScorerSettings, open_scorer
from siftlm.scorers.contract import SUM_FIELDS
from siftlm.scorers.ngram_lm import NgramModelSettings

ANNOTATORS, SCORES = members(AnyAnnotator), members(AnyScore)
TEXTS = [
    "The rain in the north stays; the south is dry.",
    "b a",
    "",
    "Zweiter Text: größer. 第三の文章です。",
    "a\n\n" * 50,
]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, tiny_model: Models) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    example_files(folder, tiny_model)
    return folder


@pytest.fixture
def at_examples(examples: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(examples)
    return examples


def settings_of(kind: type[ScorerSettings]) -> ScorerSettings:
    return kind.model_validate(dict(kind.example))


def documents(texts: list[str]) -> pa.RecordBatch:
    columns = {"text": pa.array(texts, pa.large_string()), "language": pa.array(["en"] * len(texts), pa.string())}
    return pa.record_batch(columns)


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
    assert settings.perplexities()
    if settings.reads_column:  # beside the text
        return
    chosen = np.array([1, 3])
    pending = scorer.begin(scorer.tokenise(documents(TEXTS)["text"])[chosen])
    parts = scorer.score(documents([TEXTS[number] for number in chosen]))
    assert pending.finish().to_pylist() == [about(row) for row in parts.to_pylist()]


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
    expected = open_scorer(settings_of(NgramModelSettings)).score(documents(TEXTS))["nll_sum"].to_pylist()
    assert [row["ngram_nll_sum"] for row in sorted(rows, key=lambda row: row["doc_id"])] == expected
