"""Head, middle and tail as CCNet's `PerplexityBucket` parts them, by language from a file in its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from siftlm.selectors import SelectSettings, select

CUTOFFS = ",de,en\n" + "".join(f"{row},{row * 10},{row * 12}\n" for row in range(100))


@pytest.fixture
def cutoffs(tmp_path: Path) -> Path:
    path = tmp_path / "cutoff.csv"
    path.write_text(CUTOFFS)
    return path


def bucket(language: str, perplexity: float, head: int = 30, tail: int = 60) -> str:
    """CCNet's own: `cc_net/perplexity.py`, PerplexityBucket.get_bucket."""
    by_language = {"de": (head * 10, tail * 10), "en": (head * 12, tail * 12)}
    if language not in by_language:
        return "all"
    low, high = by_language[language]
    return "head" if perplexity < low else "middle" if perplexity < high else "tail"


def settings(path: Path, **more: Any) -> SelectSettings:
    return SelectSettings.model_validate({"rules": [{"kind": "ccnet", "path": str(path), "column": "ppl", **more}]})


@pytest.mark.parametrize("keep", [["head"], ["middle"], ["tail"], ["head", "middle"], ["middle", "tail"]])
@pytest.mark.parametrize("more", [{}, {"head_percentile": 10, "tail_percentile": 20}])
def test_buckets_are_those_of_ccnet(cutoffs: Path, keep: list[str], more: dict[str, int]) -> None:
    """At the cut-offs too; what has no language of the file is kept."""
    values = [*np.random.default_rng(0).uniform(0, 900, 200), 300.0, 360.0, 600.0, 720.0, 100.0, 120.0, 200.0, 240.0]
    rows = [(language, float(value)) for language in ("de", "en", "fr") for value in values]
    ids, languages = [f"d{n}" for n in range(len(rows))], [language for language, _ in rows]
    table = pa.table({"doc_id": ids, "language": languages, "ppl": [value for _, value in rows]})
    (decision,) = select([table], settings(cutoffs, keep=keep, **more))
    percentiles = more.get("head_percentile", 30), more.get("tail_percentile", 60)
    assert decision["kept"].to_pylist() == [bucket(*row, *percentiles) in ("all", *keep) for row in rows]


@pytest.mark.parametrize(
    ("content", "more", "told"),
    [
        ("", {}, "first line has different languages"),
        (",en\n30,x\n60,2\n", {}, "line 2, must have a percentile and 1 numbers, got '30,x'"),
        (",en,de\n30,1\n", {}, "line 2, must have a percentile and 2 numbers"),
        (",en\n30,1\n", {}, "got none for 60"),
        (",en\n30,9\n60,5\n", {}, "whose cut-offs rise, got 9 at percentile 30 and 5 at 60 for en"),
        (CUTOFFS, {"keep": ["head", "tail"]}, "two that are neighbours"),
        (CUTOFFS, {"head_percentile": 70}, "must be below tail_percentile"),
        (None, {}, "path must name a file of cut-offs"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, content: str | None, more: dict[str, Any], told: str) -> None:
    """With the line of the file."""
    if content is not None:
        (tmp_path / "c.csv").write_text(content)
    with pytest.raises(ValidationError, match=told):
        settings(tmp_path / "c.csv", **more)
