"""Runs that measure documents by the priors of their tokens."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from siftlm.errors import UserError

pytest.importorskip("apache_beam")
WORDS = ["the", "sieve", "keeps", "coarse", "grain", "lets", "sand"]
TEXTS = ["the sieve the keeps", "the the the the", "coarse grain lets sand", "the sieve keeps coarse", "sand"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    made = Tokenizer(models.WordLevel({"[UNK]": 0, **{word: n + 1 for n, word in enumerate(WORDS)}}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return str(path)


@pytest.fixture
def pages(bench: Any) -> Any:
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate([*TEXTS, "  "])]
    bench.shard("0.jsonl", rows[:2])
    bench.shard("1.jsonl", rows[2:])
    return bench


def expected(texts: list[str], by_documents: bool = False) -> dict[str, tuple[float, float, float]]:
    """The three numbers of every text by definition."""
    counts = Counter(word for text in texts for word in text.split())
    if by_documents:
        counts = Counter({word: n * sum(word in text.split() for text in texts) for word, n in counts.items()})
    total, made = counts.total(), {}
    for text in texts:
        priors = np.array([counts[word] / total for word in text.split()])
        spread = (np.log(priors).std(ddof=1), priors.std(ddof=1)) if len(priors) > 1 else (0.0, 0.0)
        made[text] = (np.log(priors).mean(), *spread)
    return made


def found(bench: Any, out: str = "out") -> dict[str, tuple[Any, ...]]:
    return {row["text"]: (row["prior_mean"], row["prior_log_std"], row["prior_std"]) for row in bench.rows(out)}


@pytest.mark.parametrize("counts", ["tokens", "tokens_and_documents"])
def test_columns_are_those_of_the_definition(pages: Any, tokenizer: str, counts: str) -> None:
    pages.run(prior=[{"tokenizer": tokenizer, "counts": counts}])
    made = found(pages)
    assert made.pop("  ") == (None, None, None)
    for text, numbers in expected(TEXTS, counts == "tokens_and_documents").items():
        assert made[text] == pytest.approx(numbers, abs=1e-9), text


def test_duplicates_that_are_dropped_do_not_count(pages: Any, tokenizer: str) -> None:
    pages.shard("2.jsonl", [{"id": f"copy{n}", "text": TEXTS[0]} for n in range(5)])
    pages.run(prior=[{"tokenizer": tokenizer}], dedup={"near": False})
    made = found(pages)
    for text, numbers in expected(TEXTS).items():
        assert made[text] == pytest.approx(numbers, abs=1e-9), text


def test_a_new_shard_is_counted_alone_and_changes_all_numbers(pages: Any, tokenizer: str) -> None:
    pages.run(prior=[{"tokenizer": tokenizer}])
    before = {name: at for name, at in pages.markers().items() if name.startswith("token_counts/")}
    assert len(before) == 2
    pages.shard("2.jsonl", [{"id": "more", "text": "sand sand sieve"}])
    pages.run(prior=[{"tokenizer": tokenizer}])
    after = {name: at for name, at in pages.markers().items() if name.startswith("token_counts/")}
    assert len(after) == 3
    assert {name: after[name] for name in before} == before
    for text, numbers in expected([*TEXTS, "sand sand sieve"]).items():
        assert found(pages)[text] == pytest.approx(numbers, abs=1e-9), text


def test_bytes_do_not_depend_on_shards(pages: Any, tokenizer: str) -> None:
    pages.run(prior=[{"tokenizer": tokenizer}])
    apart = found(pages)
    (pages.root / "in/1.jsonl").write_text("".join((pages.root / f"in/{n}.jsonl").read_text() for n in (0, 1)))
    (pages.root / "in/0.jsonl").unlink()
    pages.run("again", prior=[{"tokenizer": tokenizer}])
    assert found(pages, "again") == apart


def test_the_filter_of_the_paper_is_a_formula_and_a_rule(pages: Any, tokenizer: str) -> None:
    """One by the mean and one by the deviation go: those that lie furthest from the medians of both."""
    rules = [{"kind": "top", "column": "inner", "rate": 0.6}]
    columns = [
        {"name": "mean_distance", "expr": "abs(prior_mean - median(prior_mean))"},
        {"name": "std_distance", "expr": "abs(prior_std - median(prior_std))"},
        {"name": "inner", "expr": "min(rank(0 - mean_distance), rank(0 - std_distance))"},
    ]
    pages.run(prior=[{"tokenizer": tokenizer}], columns=columns, select={"rules": rules})
    numbers = expected(TEXTS)
    means, spreads = ([numbers[text][n] for text in TEXTS] for n in (0, 2))
    farthest = {int(np.argmax(np.abs(np.array(of) - np.median(of)))) for of in (means, spreads)}
    kept = {row["text"] for row in pages.rows() if row["text"].strip()}
    assert kept == {text for n, text in enumerate(TEXTS) if n not in farthest}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.json", "where nothing is"),
        ("broken", "must be a tokenizer.json, got"),
    ],
)
def test_no_tokenizer_is_one_line(pages: Any, source: str, message: str) -> None:
    (pages.root / "broken").write_text("{}")
    with pytest.raises(UserError, match=rf"^prior\.0\.tokenizer: .*{message}"):
        pages.run(prior=[{"tokenizer": str(pages.root / source)}])


def words(path: Path, vocabulary: dict[str, int]) -> str:
    """Saves a tokenizer of these words; gives its path."""
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(path))
    return str(path)


def test_a_tokenizer_that_changes_in_a_process_is_read_again(pages: Any, tmp_path: Path) -> None:
    path = words(tmp_path / "changed.json", {"[UNK]": 0})
    pages.run(prior=[{"tokenizer": path}])
    assert {row[0] for row in found(pages).values()} == {0.0, None}
    words(tmp_path / "changed.json", {"[UNK]": 0} | {word: n + 1 for n, word in enumerate(WORDS)})
    pages.run(prior=[{"tokenizer": path}])
    for text, numbers in expected(TEXTS).items():
        assert found(pages)[text] == pytest.approx(numbers, abs=1e-9), text


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({}, "must be a tokenizer of 1 to 16,777,216 tokens, got .* with 0"),
        ({"[UNK]": 0, "a": 1 << 24}, "must be a tokenizer of 1 to 16,777,216 tokens, got .* with 16,777,217"),
        ({"the": 0}, "must hold a tokenizer that encodes every text, got .*Missing"),
    ],
)
def test_a_tokenizer_that_cannot_count_is_told_before_a_run(
    pages: Any, tmp_path: Path, vocabulary: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=rf"^prior\.0\.tokenizer: {message}"):
        pages.run(prior=[{"tokenizer": words(tmp_path / "bad.json", vocabulary)}])
    assert not pages.markers()


def test_a_sentencepiece_file_that_cannot_be_read_is_one_line(
    pages: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without what transformers would print; its first warning says why."""
    (tmp_path / "tokenizer.model").write_bytes(b"not a model\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    told = r"^prior\.0\.tokenizer: must hold a tokenizer, got .*; .*SentencePiece model from .*tokenizer\.model"
    with pytest.raises(UserError, match=told):
        pages.run(prior=[{"tokenizer": str(tmp_path)}])
    assert "transformers" not in capfd.readouterr().err


def test_an_empty_corpus_and_one_document_have_numbers_or_none(bench: Any, tmp_path: Path) -> None:
    """A vocabulary of one token gives every document the same prior, 1, whose logarithm is 0."""
    one = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    one.pre_tokenizer = pre_tokenizers.Whitespace()
    one.save(str(tmp_path / "one.json"))
    settings = {"prior": [{"tokenizer": str(tmp_path / "one.json")}], "output": {"allow_empty": True}}
    bench.shard("0.jsonl", [])
    bench.run("empty", **settings)
    bench.shard("0.jsonl", [{"id": "d", "text": "one document of five words"}])
    bench.run("one", **settings)
    assert found(bench, "one") == {"one document of five words": (0.0, 0.0, 0.0)}
