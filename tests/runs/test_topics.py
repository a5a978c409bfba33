"""Jobs that rank, weigh and compute within the topics that a classifier with `label = "*"` finds."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import fasttext
import pytest
from tests.runs.conftest import Bench, mistake

pytest.importorskip("apache_beam")
WORDS = {"sports": ["goal", "match", "team"], "law": ["court", "judge", "appeal"], "food": ["soup", "bread", "salt"]}
COUNTS = {"sports": 40, "law": 20, "food": 10}


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Seventy texts of three topics and one without a word, in two shards, beside a classifier of topics."""
    bench, rng = Bench(tmp_path_factory.mktemp("topics")), random.Random(0)
    texts = [
        (topic, " ".join(rng.choices(words, k=n % 37 + 3)))
        for topic, words in WORDS.items()
        for n in range(COUNTS[topic])
    ]
    lines = [f"__label__{topic} {text}" for topic, text in texts] * 5
    (bench.root / "train.txt").write_text("\n".join(lines))
    options: dict[str, Any] = {"dim": 8, "bucket": 100, "epoch": 20, "lr": 0.5, "thread": 12, "verbose": 0}
    fasttext.train_supervised(str(bench.root / "train.txt"), **options).save_model(str(bench.root / "topics.bin"))
    rows = [{"id": f"{topic}-{n:02d}", "text": text} for n, (topic, text) in enumerate(texts)]
    rows.append({"id": "none-00", "text": " \t "})
    for shard in range(2):
        bench.shard(f"{shard}.jsonl", rows[shard::2])
    return bench


def annotate(bench: Bench) -> dict[str, Any]:
    classifier = {"name": "topic", "path": str(bench.root / "topics.bin"), "label": "*"}
    return {"language": None, "signals": {"groups": ["basic"]}, "classifiers": [classifier]}


def counts(bench: Bench) -> Counter[str]:
    return Counter(row["doc_id"].partition("-")[0] for row in bench.rows())


def test_the_labels_are_columns_of_what_is_written(topics: Bench) -> None:
    """As the package predicts them, text by text."""
    topics.run(annotate=annotate(topics))
    package = fasttext.load_model(str(topics.root / "topics.bin"))
    rows = topics.rows()
    assert counts(topics) == {**COUNTS, "none": 1}
    for row in rows:
        if not row["text"].strip():
            assert (row["topic"], row["topic_label"]) == (None, None)
            continue
        (label,), (probability,) = package.predict(row["text"])
        assert f"__label__{row['topic_label']}" == label
        assert row["topic"] == pytest.approx(probability, abs=1e-5)
        assert row["topic_label"] == row["doc_id"].partition("-")[0]


def test_a_band_keeps_its_share_of_every_topic(topics: Bench) -> None:
    rule = {"kind": "band", "column": "char_count", "criterion": "high", "rate": 0.5, "within": "topic_label"}
    topics.run(annotate=annotate(topics), select={"rules": [rule]})
    kept = counts(topics)
    assert {topic: kept[topic] for topic in COUNTS} == {topic: n // 2 for topic, n in COUNTS.items()}


def test_a_budget_holds_for_every_topic(topics: Bench) -> None:
    """The most probable documents of each topic first; a text without a topic has no rank, and goes."""
    rule = {"kind": "top", "column": "topic", "budget_documents": 7, "within": "topic_label"}
    topics.run(annotate=annotate(topics), select={"rules": [rule]})
    assert counts(topics) == dict.fromkeys(COUNTS, 7)


def test_a_mixture_gives_topics_their_shares_of_the_tokens(topics: Bench) -> None:
    """Of what is written, in whole copies."""
    shares = {"sports": 0.25, "law": 0.25, "food": 0.5}
    factor = {"kind": "mixture", "column": "topic_label", "shares": shares}
    weights = {"factors": [factor], "budget_tokens": 900, "cap": 20.0, "materialise": True}
    topics.run(annotate=annotate(topics), select={"tokens": "char_count", "weights": weights})
    tokens: Counter[str] = Counter()
    for row in topics.rows():
        tokens[row["topic_label"]] += row["char_count"]
    longest = max(row["char_count"] for row in topics.rows())
    assert set(tokens) == set(shares)
    assert all(abs(tokens[topic] - 900 * share) <= longest for topic, share in shares.items())


def test_segments_weigh_within_a_topic(topics: Bench) -> None:
    """Each topic keeps its expected number of documents, and its longer half has the lower weight."""
    factor = {"kind": "segments", "column": "char_count", "segments": 2, "within": "topic_label"}
    topics.run(annotate=annotate(topics), select={"weights": {"factors": [factor], "cap": 100.0}})
    for topic, number in COUNTS.items():
        of_topic = sorted((r["char_count"], r["weight"]) for r in topics.rows() if r["topic_label"] == topic)
        assert sum(weight for _, weight in of_topic) == pytest.approx(number)
        assert of_topic[0][1] > 1 > of_topic[-1][1]


def test_formulas_rank_within_a_topic(topics: Bench) -> None:
    columns = [{"name": "length_rank", "expr": "rank(char_count, within=topic_label)"}]
    topics.run(annotate=annotate(topics), columns=columns)
    rows = topics.rows()
    for topic, number in COUNTS.items():
        of_topic = [row for row in rows if row["topic_label"] == topic]
        for row in of_topic:
            below = sum(other["char_count"] < row["char_count"] for other in of_topic)
            equal = sum(other["char_count"] == row["char_count"] for other in of_topic)
            assert row["length_rank"] == pytest.approx((below + equal / 2) / number)


def test_a_topic_that_the_classifier_does_not_know_is_told_before_any_work(
    topics: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the nearest that there is."""
    (tmp_path / "conf.toml").write_text(
        f"""
        name = "topics"
        input = [{{ source = "web", paths = ["{topics.root}/in"], id_field = "id" }}]
        annotate = {{ classifiers = [{{ name = "topic", path = "{topics.root}/topics.bin", label = "*" }}] }}
        output = {{ folder = "{tmp_path}/out" }}
        [select]
        rules = [{{ kind = "threshold", column = "topic_label", in = ["sport"] }}]
        """
    )
    told = mistake(capsys, "validate", str(tmp_path / "conf.toml"))
    assert told == (
        "select.rules.0.in: must keep something, but there is no topic_label 'sport'; did you mean 'sports'?"
    )
