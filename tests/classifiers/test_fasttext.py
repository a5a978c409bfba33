"""Labels as the papers have them, and a fastText classifier that repeats itself and reports on unseen pages."""

from __future__ import annotations

from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from siftlm.classifiers.fasttext import (
    Pages,
    confusion,
    fasttext_line,
    held_out_pages,
    predict,
    roc_auc,
    train,
    write_examples,
)
from siftlm.classifiers.labels import (
    extreme_labels,
    given_labels,
    hard_labels,
    include_probability,
    rank_labels,
)
from siftlm.correlate.settings import TrainingSettings
from siftlm.errors import UserError
from siftlm.scorers.protocol import ragged_text
from siftlm_kernels.fasttext_linear import FastTextLinear

QUICK = TrainingSettings(dim=8, bucket=1000, held_out=0.3, labels="given", fewest_word_count=3, words=3)

FEW = TrainingSettings(fewest_a_side=1)


def corpus(count: int = 120) -> tuple[Pages, np.ndarray]:
    """Pages about cats (included) and about stocks, with newlines in them."""
    rng = np.random.default_rng(0)
    cats, stocks = (["cat", "dog", "mat", "paw", "fur", "tail"], ["rate", "bond", "fell", "rose", "yield", "fund"])
    included = np.arange(count) % 2 == 1
    texts = ["\n".join(rng.choice(cats if good else stocks, 15)) for good in included]
    languages = ["en" if i % 3 else "de" for i in range(count)]
    domains = ["cats.org" if good else None for good in included]
    return Pages([f"d{i}" for i in range(count)], texts, languages, domains), included


def test_the_classifier_learns_and_reports_on_pages_it_never_saw(tmp_path: Path) -> None:
    """Two vocabularies that do not overlap: everything right, and the words are the vocabularies."""
    pages, included = corpus()
    model, report = train(pages, given_labels(included), QUICK, str(tmp_path / "m.bin"))
    assert report["precision"] == report["recall"] == report["f1"] == report["roc_auc"] == 1.0
    held_out = held_out_pages(pages.doc_ids, 0.3, 0)
    assert report["pages"] == held_out.sum()
    assert report["train_included"] + report["train_excluded"] == (~held_out).sum()
    assert {name for name, _ in report["words"]["include"]} <= {"cat", "dog", "mat", "paw", "fur", "tail"}
    assert {name for name, _ in report["words"]["exclude"]} <= {"rate", "bond", "fell", "rose", "yield", "fund"}
    assert all(weight > 0 for _, weight in report["words"]["include"])
    assert report["domains"][0] == {
        "name": "cats.org",
        "all": pytest.approx(report["domains"][0]["all"]),
        "included": 1.0,
        "chosen": 1.0,
    }
    assert {row["name"] for row in report["languages"]} == {"de", "en"}
    assert sum(row["all"] for row in report["languages"]) == pytest.approx(1)
    loaded = fasttext.load_model(str(tmp_path / "m.bin"))
    np.testing.assert_array_equal(predict(loaded, pages.texts), predict(model, pages.texts))


def test_with_one_thread_the_model_repeats_itself_to_the_byte(tmp_path: Path) -> None:
    """From any order of the pages, whatever the process has left in memory; another seed gives another model."""
    pages, included = corpus()
    order = np.random.default_rng(1).permutation(len(pages))
    columns = (pages.doc_ids, pages.texts, pages.languages, pages.domains)
    turned = Pages(*([column[i] for i in order] for column in columns))
    train(pages, given_labels(included), QUICK, str(tmp_path / "a.bin"))
    used = [np.full(size, 1e30, np.float32) for size in range(100, 20_000, 100)]
    del used
    train(turned, given_labels(included[order]), QUICK, str(tmp_path / "b.bin"))
    other = QUICK.model_copy(update={"seed": 5})
    train(pages, given_labels(included), other, str(tmp_path / "c.bin"))
    stored = [(tmp_path / f"{name}.bin").read_bytes() for name in "abc"]
    assert stored[0] == stored[1]
    assert stored[0] != stored[2]


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="ab \n\r\t\v\f\0ä🙂_</s>label", max_size=40), st.sampled_from(["", "__label__x", "</s>"]))
def test_a_page_is_one_line_for_fasttext(text: str, extra: str) -> None:
    """No separator but blanks, nothing that fastText takes for a label or for the end of a line."""
    line = fasttext_line(f"{text} {extra} end")
    assert not set(line) & set("\n\r\t\v\f\0")
    assert not any(word.startswith("__label__") or word == "</s>" for word in line.split(" "))
    assert "</s>" in f"{text} {extra}" or line.endswith("end")


def test_the_scorer_of_a_run_gives_the_same_probabilities(tmp_path: Path) -> None:
    """Whatever is in the text; the scorer has fastText's own 1e-5 on top, and NaN where the model knows nothing."""
    pages, included = corpus()
    train(pages, given_labels(included), QUICK, str(tmp_path / "m.bin"))
    texts = ["cat\ndog", "cat </s> bond bond", "__label__include bond", "rate\tcat\0dog", "fell fell\r\nrose"]
    scorer = FastTextLinear.load(str(tmp_path / "m.bin"))
    column = scorer.labels.index("__label__include")
    scored = scorer.probabilities(*ragged_text(pa.array(texts)))[:, column]
    np.testing.assert_allclose(predict(fasttext.load_model(str(tmp_path / "m.bin")), texts), scored, atol=3e-5)


def test_newlines_are_the_same_in_training_and_prediction(tmp_path: Path) -> None:
    """The whole page is trained on, not its first line, and a newline scores as a blank does."""
    pages = Pages(["a", "b"], ["good\nbetter\nbest", "bad\nworse"], [None, None], [None, None])
    labels = given_labels(np.array([True, False]))
    written = tmp_path / "examples.txt"
    assert write_examples(str(written), pages, labels, np.zeros(2, bool), 0) == (1, 1)
    assert sorted(written.read_text().splitlines()) == [
        "__label__exclude bad worse",
        "__label__include good better best",
    ]
    pages, included = corpus()
    model, _ = train(pages, given_labels(included), QUICK, str(tmp_path / "m.bin"))
    scores = predict(model, ["cat\ndog\tbond", "cat dog bond", ""])
    assert scores[0] == scores[1]
    by_fasttext = model.f.predict("cat dog bond\n", -1, 0.0, "strict")
    assert {label: p for p, label in by_fasttext}["__label__include"] == pytest.approx(scores[1])


def test_no_page_is_both_trained_and_tested_on(tmp_path: Path) -> None:
    """However often a page comes, its doc_id decides the side."""
    doc_ids = [f"d{i % 50}" for i in range(200)]
    held_out = held_out_pages(doc_ids, 0.3, 0)
    assert 0.1 < held_out.mean() < 0.5
    sides = {doc_id: {bool(held_out[i]) for i in range(200) if doc_ids[i] == doc_id} for doc_id in doc_ids}
    assert all(len(side) == 1 for side in sides.values())


def test_one_sided_labels_are_an_error(tmp_path: Path) -> None:
    """Nothing to learn."""
    pages, included = corpus()
    with pytest.raises(UserError, match="both sides must have pages to train on"):
        train(pages, given_labels(np.ones_like(included)), QUICK, str(tmp_path / "m.bin"))


def test_hard_labels_follow_the_weights() -> None:
    """Included where the projected weight is above 0."""
    labels = hard_labels(np.array([0.0, 0.2, 1e-9]))
    assert labels.included.tolist() == [False, True, True]


def test_rank_labels_are_drawn_with_the_rank_as_probability() -> None:
    """The best unit always, the worst never, the middle half of the time; 20 times by default."""
    probability = include_probability(np.array([0.1, -3.0, 7.0, 0.1]))
    np.testing.assert_allclose(probability, [0.5, 0, 1, 0.5])
    units = np.repeat([0, 1, 2, 3], 100)
    doc_ids = [f"d{i}" for i in range(400)]
    labels = rank_labels(doc_ids, probability[units], (units == 2).astype(float), TrainingSettings())
    assert len(labels.page) == 400 * 20
    shares = [labels.included[units[labels.page] == unit].mean() for unit in range(4)]
    assert shares[1:3] == [0.0, 1.0]
    assert shares[0] == pytest.approx(0.5, abs=0.04)
    assert labels.gold.sum() == 100
    with pytest.raises(UserError, match="at least 2 units"):
        include_probability(np.array([1.0]))


def test_preselects_labels_are_the_top_against_as_many_from_the_bottom() -> None:
    """Top score S = 15 of 15; negatives from 0 upward, ties by doc_id; the middle has no label."""
    scores = np.array([15, 3, 15, 0, 3, 9, 3, 15]) / 15
    labels = extreme_labels(list("hgfedcba"), scores, FEW)
    assert np.flatnonzero(labels.gold).tolist() == [0, 2, 7]
    chosen = {int(page): bool(side) for page, side in zip(labels.page, labels.included, strict=True)}
    assert chosen == {0: True, 2: True, 7: True, 3: False, 6: False, 4: False}
    assert labels.used.tolist() == [True, False, True, True, True, False, True, True]


def test_with_many_models_each_extreme_is_a_share_of_the_pages() -> None:
    """One page alone has the top score of a hundred that all differ: ten a side, not one."""
    scores = np.random.default_rng(0).permutation(100) / 99
    labels = extreme_labels([f"d{n:02}" for n in range(100)], scores, FEW)
    assert sorted(scores[labels.gold] * 99) == pytest.approx(range(90, 100))
    assert sorted(scores[labels.used & ~labels.gold] * 99) == pytest.approx(range(10))
    wider = extreme_labels([f"d{n:02}" for n in range(100)], scores, FEW.model_copy(update={"extreme_share": 0.5}))
    assert (wider.gold.sum(), wider.used.all()) == (50, True)


@pytest.mark.parametrize(
    "scores",
    [[1.0, 1.0, 0.0], [0.5] * 10, [1.0, *[0.5] * 99], [n / 100 for n in range(100)], []],
    ids=["more at the top than below", "all alike", "both sides in one tie", "too few a side", "no page"],
)
def test_extremes_that_are_none_are_refused(scores: list[float]) -> None:
    """Thirty pages a side unless fewer are allowed, and the sides must differ in score."""
    with pytest.raises(UserError, match=r"^classifier\.labels: extremes must have 30 pages or more a side"):
        extreme_labels([f"d{n}" for n in range(len(scores))], np.array(scores), TrainingSettings())


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_the_report_agrees_with_sklearn(rows: list[tuple[bool, int]]) -> None:
    """ROC AUC with ties; precision, recall and F1 where they exist."""
    gold = np.array([side for side, _ in rows])
    scores = np.array([score for _, score in rows], float)
    if gold.all() or not gold.any():
        assert roc_auc(gold, scores) is None
    else:
        assert roc_auc(gold, scores) == pytest.approx(roc_auc_score(gold, scores))
    chosen = scores >= 3
    found = confusion(gold, chosen)
    expected = precision_recall_fscore_support(gold, chosen, average="binary", zero_division=np.nan)
    for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        assert found[name] == (None if np.isnan(value) else pytest.approx(value))


def test_settings_import_nothing_heavy() -> None:
    """`siftlm --help` must stay quick."""
    import subprocess
    import sys

    code = "import sys, siftlm.correlate.settings\n"
    code += "print([m for m in ('numpy', 'torch', 'fasttext', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
