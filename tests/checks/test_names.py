"""Names of columns: what a scorer is called may not make two columns one, whatever the two are."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from siftlm import job
from siftlm.checks.names import check_names, givers
from siftlm.checks.validate import check_config, validate
from siftlm.config import RunConfig, parse
from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.inspect.run import FinishedRun


def config_of(annotate: dict[str, Any] | None = None, **tables: Any) -> RunConfig:
    """A run of these scorers, whose files need not be there: names are compared first."""
    base = {"name": "run", "input": [{"source": "web", "paths": ["web"]}], "output": {"folder": "out"}}
    return parse({**base, "annotate": annotate or {}, **tables}, [])


def classifier(name: str) -> dict[str, str]:
    return {"name": name, "path": "none.bin", "label": "yes"}


def refusal(config: RunConfig) -> str:
    """The one line with which `validate` and `run` stop, before any file is opened."""
    with pytest.raises(UserError) as first:
        check_config(config)
    with pytest.raises(UserError) as second:
        validate(config)
    assert str(first.value) == str(second.value)
    assert "\n" not in str(first.value)
    return str(first.value)


@pytest.mark.parametrize(
    "name",
    [
        "doc_id", "text", "url", "domain", "source", "metadata", "byte_count", "position", "cluster_id",
        "cluster_size", "duplicate", "cut_spans", "cut_share", "commonness", "kept", "reason", "weight", "copies",
        "fold", "copy", "place", "dropped_reason", "content_hash", "bands", "has_shingles", "minhash", "shard", "row",
        "language", "language_score", "word_count", "mean_word_length",
    ],
)  # fmt: skip
@pytest.mark.parametrize("table", ["classifiers", "dsir"])
def test_no_scorer_has_the_name_of_a_column_of_ours(name: str, table: str) -> None:
    """Whether or not the run computes that column: `duplicate` would drop every document."""
    other = {"name": "fine", "path": "none", **({"label": "yes"} if table == "classifiers" else {})}
    message = refusal(config_of({table: [other, {**other, "name": name}]}))
    assert message.startswith(f"annotate.{table}.1.name: must give columns that nothing else gives, got {name!r}, and")
    assert message.endswith(f"{name!r} is a column of {_origin(name)}; choose another name")


def _origin(name: str) -> str:
    signals = {"word_count": "annotate.signals", "mean_word_length": "annotate.signals"}
    language = {"language": "annotate.language", "language_score": "annotate.language"}
    return {**signals, **language}.get(name, "siftlm itself")


@pytest.mark.parametrize(
    ("column", "annotate", "models", "place", "other"),
    [
        ("a_perplexity", {"classifiers": [classifier("a_perplexity")]}, ["a"], "score.0", "annotate.classifiers.0"),
        ("a_nll_sum", {"dsir": [{"name": "a_nll_sum", "path": "x"}]}, ["b", "a"], "score.1", "annotate.dsir.0"),
        (
            "mmlu_overlap",
            {"classifiers": [classifier("mmlu_overlap")], "contamination": [{"name": "mmlu", "path": "x"}]},
            [], "annotate.contamination.0", "annotate.classifiers.0",
        ),
        (
            "d_sampled",
            {"dsir": [{"name": "d", "path": "x"}, {"name": "d_sampled", "path": "x"}]},
            [], "annotate.dsir.1", "annotate.dsir.0",
        ),
        (
            "language_item",
            {"classifiers": [classifier("language_item")], "contamination": [{"name": "language", "path": "x"}]},
            [], "annotate.contamination.0", "annotate.classifiers.0",
        ),
    ],
)  # fmt: skip
def test_no_two_scorers_give_one_column(
    column: str, annotate: dict[str, Any], models: list[str], place: str, other: str
) -> None:
    """A model's columns and a classifier's would be merged without a word."""
    config = config_of(annotate, score=[{"name": name, "model": "none"} for name in models])
    assert refusal(config) == (
        f"{place}.name: must give columns that nothing else gives, got {column!r}, and {column!r} is a column of "
        f"{other}; choose another name"
    )


@pytest.mark.parametrize("taken", ["nll_sum", "token_count", "byte_count", "nll_head", "truncated", "error",
                                   "perplexity", "bits_per_byte", "token_nll", "token_el2n"])  # fmt: skip
def test_every_column_of_a_model_is_taken(taken: str) -> None:
    """The derived ones, and the lists that are only there on request."""
    model = {"name": "m", "model": "none", "per_token": ["nll", "el2n"]}
    assert f"got 'm_{taken}'" in refusal(config_of({"classifiers": [classifier(f"m_{taken}")]}, score=[model]))


def test_a_name_that_differs_by_case_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB and Spark would read either for the other."""
    monkeypatch.setattr("siftlm.checks.names.OWN", frozenset({"Wanted"}))
    assert "got 'wanted', and 'Wanted' is a column of siftlm itself" in refusal(
        config_of({"classifiers": [classifier("wanted")]})
    )


def test_names_that_only_begin_alike_are_free() -> None:
    """A model `a`, models whose names go on from it, and a classifier that is named like a model's field."""
    annotate = {"classifiers": [classifier("perplexity"), classifier("a_wanted")]}
    check_names(config_of(annotate, score=[{"name": n, "model": "none"} for n in ("a", "a_error", "a_nll", "token")]))


def test_signals_that_are_off_leave_their_names_free() -> None:
    """Only what is generated is taken; columns of the stages always are."""
    check_names(config_of({"signals": False, "language": False, "classifiers": [classifier("word_count")]}))


def test_a_column_of_tokens_comes_once() -> None:
    """Asked for twice it would be two columns of one name."""
    with pytest.raises(UserError, match=r"score\.0\.per_token: columns must differ"):
        config_of(score=[{"name": "m", "model": "none", "per_token": ["nll", "nll"]}])


def test_every_column_of_a_finished_run_has_a_giver(tmp_path: Path) -> None:
    """The list of names is complete: what is written, what rules see, and what the store keeps to itself."""
    lines = [
        json.dumps({"text": f"a text of its own, number {n}\na line that all of them have in common"}) for n in range(9)
    ]
    (tmp_path / "web.jsonl").write_text("\n".join(lines))
    config = config_of(
        {"contamination": [{"name": "quiz", "path": str(tmp_path / "web.jsonl")}]},
        input=[{"source": "web", "paths": [str(tmp_path / "web.jsonl")]}],
        dedup={"paragraphs": {"min_bytes": 1}, "commonness": {"bits": 10}},
        output={"folder": str(tmp_path / "out"), "shuffle": True, "rejects": True},
        select={"rules": [{"kind": "sample", "rate": 0.5}]},
    )
    job.run(config, Progress(io.StringIO(), quiet=True))
    known = {name for _, names in givers(config) for name in names}
    stages = ("documents", "signals", "clusters", "paragraphs", "commonness", "decisions", "shuffled")
    found = [*(tmp_path / "out/data").iterdir(), *(tmp_path / "out/rejects").iterdir()]
    found += [path for stage in stages for path in (tmp_path / "out/store" / stage).rglob("*.parquet")]
    found = [path for path in found if "detail" not in pq.read_schema(path).names]  # records that were not read
    assert len(found) >= len(stages) + 2
    assert {name for path in found for name in pq.read_schema(path).names} <= known
    assert FinishedRun.open(str(tmp_path / "out")).columns().keys() <= known
