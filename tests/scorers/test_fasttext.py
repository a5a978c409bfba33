"""A fastText classifier as a column, and the mistakes a user can make with one."""

from __future__ import annotations

from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest

from siftlm.errors import UserError
from siftlm.scorers.fasttext import ClassifierScorer, ClassifierSettings, best_labels
from siftlm.scorers.protocol import ragged_text

TEXTS = ["good words\nhere", "bad bad words", "", "unheard of"]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("classifier")
    lines = ["__label__high good words here", "__label__low bad bad things", "__label__lower worst"] * 40
    (folder / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    # Each thread initialises a tenth of the matrix, and fasttext-numpy2 leaves the rest as the memory was found.
    model = fasttext.train_supervised(
        str(folder / "train.txt"), dim=8, bucket=1000, wordNgrams=2, epoch=5, thread=12, verbose=0
    )
    model.save_model(str(folder / "model.bin"))
    return str(folder / "model.bin")


def scorer(path: str, label: str = "high", **more: str) -> ClassifierScorer:
    return ClassifierScorer(
        ClassifierSettings.model_validate({"name": "quality", "path": path, "label": label, **more})
    )


def documents(texts: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})


@pytest.mark.parametrize("impl", ["auto", "fasttext"])
@pytest.mark.parametrize("label", ["high", "__label__low"])
def test_the_column_is_the_probability_of_the_label(model_path: str, label: str, impl: str) -> None:
    """As `fasttext` predicts it for the text on one line; the label's prefix may be left out."""
    quality = scorer(model_path, label, impl=impl)
    quality.check()
    column = quality.score(documents(TEXTS))
    assert column.schema == pa.schema(quality.fields()) == pa.schema([pa.field("quality", pa.float32())])
    package = fasttext.load_model(model_path)
    for text, score in zip(TEXTS, column["quality"].to_pylist(), strict=True):
        predicted = dict(zip(*package.predict(text.replace("\n", " "), k=-1), strict=True))
        assert score == pytest.approx(predicted["__label__" + label.removeprefix("__label__")], abs=1e-5)


def test_a_missing_model_is_named_with_its_place(tmp_path: Path) -> None:
    """Before any work, by the digest of the stage as by the check."""
    missing = scorer(str(tmp_path / "none.bin"))
    for ask in (missing.digest, missing.check):
        with pytest.raises(
            UserError, match=r"^annotate.classifiers.quality.path: must be a fastText model, got .*none.bin"
        ):
            ask()


def test_an_unknown_label_lists_the_nearest(model_path: str) -> None:
    """The likeliest first."""
    with pytest.raises(
        UserError, match=r"^annotate.classifiers.quality.label: must be .*, got 'lowe'; nearest: lower, low$"
    ):
        scorer(model_path, "lowe").check()


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """With the place, the file and what it is."""
    (tmp_path / "text.bin").write_text("not a model, but long enough to hold a header" * 9)
    with pytest.raises(UserError, match=r"^annotate.classifiers.quality.path: .*text.bin: must be a supervised"):
        scorer(str(tmp_path / "text.bin")).check()


def test_the_digest_follows_the_bytes_of_the_model(model_path: str, tmp_path: Path) -> None:
    """Not its name; and the label and column that it is used for."""
    content = Path(model_path).read_bytes()
    (tmp_path / "copy.bin").write_bytes(content)
    assert scorer(str(tmp_path / "copy.bin")).digest() == scorer(model_path).digest()
    assert scorer(model_path, "low").digest() != scorer(model_path).digest()
    (tmp_path / "copy.bin").write_bytes(content[:-1] + b"\x01")
    assert scorer(str(tmp_path / "copy.bin")).digest() != scorer(model_path).digest()


def test_a_model_replaced_on_disk_is_loaded_again(model_path: str, tmp_path: Path) -> None:
    """A long-lived worker never mixes the digest of one file with the numbers of another."""
    path = tmp_path / "model.bin"
    path.write_bytes(Path(model_path).read_bytes())
    scorer(str(path)).check()
    path.unlink()
    path.write_bytes(b"no model")
    with pytest.raises(UserError, match=r"model.bin: must be a supervised"):
        scorer(str(path)).check()


@pytest.mark.parametrize("impl", ["auto", "fasttext"])
def test_the_best_label_is_the_one_that_fasttext_predicts(model_path: str, impl: str) -> None:
    """With its probability, and without the prefix; a text without a word has neither."""
    topics = scorer(model_path, "*", impl=impl)
    topics.check()
    texts = [*TEXTS, " \n\t", "worst things", "good bad worst " * 40]
    found = topics.score(documents(texts))
    assert found.schema == pa.schema(topics.fields())
    assert found.schema == pa.schema([pa.field("quality", pa.float32()), pa.field("quality_label", pa.string())])
    package = fasttext.load_model(model_path)
    for text, row in zip(texts, found.to_pylist(), strict=True):
        (label,), (probability,) = package.predict(text.replace("\n", " "))
        if text.strip():
            assert row == {"quality": pytest.approx(probability, abs=1e-5), "quality_label": label[len("__label__") :]}
        else:
            assert row == {"quality": None, "quality_label": None}
    assert len(set(found["quality_label"].to_pylist())) == 4
    assert topics.score(documents([])).num_rows == 0


@pytest.mark.parametrize("loss", ["softmax", "hs", "ova"])
def test_the_best_of_many_labels_is_that_of_fasttext(loss: str, tmp_path: Path) -> None:
    """Under every loss, on texts between two topics; where several are as probable, one of them."""
    rng = np.random.default_rng(0)
    topics = [[f"w{topic}x{n}" for n in range(30)] for topic in range(12)]
    lines = [f"__label__t{t} " + " ".join(rng.choice(words, 20)) for t, words in enumerate(topics) for _ in range(30)]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    options = {"dim": 10, "bucket": 500, "epoch": 8, "lr": 0.3, "thread": 12, "verbose": 0}
    model = fasttext.train_supervised(str(tmp_path / "train.txt"), loss=loss, **options)
    model.save_model(str(tmp_path / "topics.bin"))
    pairs = [rng.integers(0, 12, 2) for _ in range(200)]
    texts = [" ".join([*rng.choice(topics[a], 8), *rng.choice(topics[b], 5)]) for a, b in pairs]
    found = scorer(str(tmp_path / "topics.bin"), "*").score(documents(texts))
    for text, row in zip(texts, found.to_pylist(), strict=True):
        predicted = dict(zip(*model.predict(text, k=-1), strict=True))
        assert row["quality"] == pytest.approx(max(predicted.values()), abs=2e-5)
        assert predicted["__label__" + row["quality_label"]] == pytest.approx(row["quality"], abs=2e-5)
    assert len(set(found["quality_label"].to_pylist())) > 6  # of twelve; threads of the training race


def test_equally_probable_labels_are_the_first_of_the_model() -> None:
    """Whatever their names; a text of which the model knows nothing has no label."""

    class Even:
        labels = ("__label__b", "__label__a", "__label__c")

        def probabilities(self, *_: object, **__: object) -> np.ndarray:
            return np.array([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0], [np.nan] * 3, [1, 0, 0]], np.float32)

    texts = pa.array(["x", "y", "z", " "], pa.large_string())
    labels, probabilities = best_labels(Even(), texts, ragged_text(texts), "auto")  # type: ignore[arg-type]
    assert labels.to_pylist() == ["a", "b", None, None]
    assert probabilities.to_pylist() == [pytest.approx(0.4), 0.5, None, None]


def test_the_best_label_is_in_the_key_and_its_values_are_known(model_path: str) -> None:
    """So that a rule's list with a label that the model does not have is told before any work."""
    topics = scorer(model_path, "*")
    assert topics.digest() != scorer(model_path).digest()
    assert sorted(topics.values()["quality_label"]) == ["high", "low", "lower"]
    assert scorer(model_path).values() == {}
    assert topics.good_ends() == {"quality": "highest"}


def test_a_model_without_labels_is_refused(tmp_path: Path) -> None:
    """Word vectors, for instance, with the place of the path."""
    (tmp_path / "text.txt").write_text("good words here and bad things there\n" * 20)
    vectors = fasttext.train_unsupervised(str(tmp_path / "text.txt"), dim=4, bucket=100, epoch=1, thread=1, verbose=0)
    vectors.save_model(str(tmp_path / "vectors.bin"))
    with pytest.raises(UserError, match=r"^annotate.classifiers.quality.path: .*vectors.bin: .* which have no labels"):
        scorer(str(tmp_path / "vectors.bin"), "*").check()
