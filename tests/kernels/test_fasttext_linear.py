"""`FastTextLinear` gives what `fasttext` gives, for every kind of supervised model and on any text."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from siftlm_kernels.fasttext_linear import FastTextLinear, tree_children

VOCABULARY = [
    "the", "of", "data", "model", "naïve", "Straße", "日本語", "данные", "😀", "x", "=", "{", "a" * 8, "b" * 9,
    "c" * 40, "#1", "don't", "end.",
]  # fmt: skip
LABELS = {"news": VOCABULARY[:8], "code": VOCABULARY[8:14], "été": VOCABULARY[5:], "misc": VOCABULARY}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "softmax": ({"loss": "softmax"}, None),
    "softmax, 2-grams": ({"loss": "softmax", "wordNgrams": 2}, None),
    "softmax, characters": ({"loss": "softmax", "wordNgrams": 3, "minn": 2, "maxn": 4}, None),
    "softmax, dim below labels": ({"loss": "softmax", "wordNgrams": 2, "dim": 2}, None),
    "softmax, one character": ({"loss": "softmax", "minn": 1, "maxn": 2}, None),
    "hs": ({"loss": "hs", "wordNgrams": 2}, None),
    "hs, characters": ({"loss": "hs", "wordNgrams": 2, "minn": 3, "maxn": 6, "dim": 2}, None),
    "ova": ({"loss": "ova", "wordNgrams": 2, "minn": 2, "maxn": 3}, None),
    "ns": ({"loss": "ns", "wordNgrams": 2}, None),
    "softmax, quantised": ({"loss": "softmax", "wordNgrams": 2}, {"qnorm": False}),
    "softmax, quantised with norms, pruned": (
        {"loss": "softmax", "wordNgrams": 2, "minn": 2, "maxn": 4},
        {"qnorm": True, "cutoff": 600},
    ),
    "softmax, pruned to words": ({"loss": "softmax", "wordNgrams": 2}, {"qnorm": True, "cutoff": 270}),
    "hs, quantised, groups of 3": ({"loss": "hs", "wordNgrams": 2, "dim": 7}, {"qnorm": True, "dsub": 3}),
    "ova, quantised, pruned": ({"loss": "ova", "minn": 2, "maxn": 4}, {"qnorm": True, "cutoff": 500}),
}
ODD_PIECES = [
    *VOCABULARY, "unseen", "w17", "</s>", "__label__news", "__label__other", "__label__", " ", "\n", "\t", "\r", "\v",
    "\f", "\0", "\x85", "\u3000", "é", "<", ">",
]  # fmt: skip
PIECES = st.lists(st.sampled_from(ODD_PIECES), max_size=40)
TEXTS = st.one_of(st.text(max_size=60), PIECES.map(" ".join), PIECES.map("".join))


def ragged(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def training_lines() -> Iterator[str]:
    """Texts of four labels, the first ones more frequent, over some 320 words (quantisers need 256 rows)."""
    draw = random.Random(5)
    for number in range(600):
        label = draw.choice(["news", "news", "news", "code", "code", "été", "misc"])
        words = draw.choices(LABELS[label], k=8)
        yield f"__label__{label} {' '.join(words)} w{number % 300}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fasttext") / "train.txt"
    path.write_text("\n".join(training_lines()) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest, corpus: Path) -> FastTextLinear:
    """A model of every kind, trained by fasttext."""
    training, quantising = MODELS[request.param]
    return FastTextLinear.load(trained(corpus, training, quantising, request.param))


def trained(corpus: Path, training: dict[str, Any], quantising: dict[str, Any] | None, name: str) -> str:
    # Each thread initialises a tenth of the matrix, and fasttext-numpy2 leaves the rest as the memory was found.
    settings = {"dim": 8, "bucket": 3000, "epoch": 3, "lr": 0.3, "thread": 12, "verbose": 0, **training}
    classifier = fasttext.train_supervised(str(corpus), **settings)
    if quantising:
        classifier.quantize(input=str(corpus), **quantising)
    path = str(corpus.parent / f"{name}.{'ftz' if quantising else 'bin'}")
    classifier.save_model(path)
    return path


FIXED = [
    "", " ", "\n", "the of data", "the\nof\tdata\0model", "news __label__news the", "__label__other", "</s>",
    "a </s> b", "the </s> data of", "naïve Straße 日本語 😀😀", "a" * 8, "a" * 7, "b" * 9, "b" * 10, "x" * 200,
    "the " * 200, "é", "end. end", "unseen words only here",
]  # fmt: skip


def test_probabilities_are_those_of_fasttext(model: FastTextLinear) -> None:
    """Within 1e-5, compiled and in plain Python; NaN exactly where fasttext returns no label."""
    expected = model.probabilities(*ragged(FIXED), impl="fasttext")
    for impl in ("auto", "reference"):
        np.testing.assert_allclose(model.probabilities(*ragged(FIXED), impl=impl), expected, rtol=0, atol=1e-5)
    assert np.ptp(np.nan_to_num(expected), axis=0).max() > 0.05


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_probabilities_are_those_of_fasttext_on_any_text(model: FastTextLinear, texts: list[str]) -> None:
    """Odd white space, marks and labels in the text, Unicode, words known and not."""
    expected = model.probabilities(*ragged(texts), impl="fasttext")
    np.testing.assert_allclose(model.probabilities(*ragged(texts)), expected, rtol=0, atol=1e-5)


def test_newlines_are_spaces_and_rows_are_independent(model: FastTextLinear) -> None:
    """A document is one line, alone or in a batch, wherever its offsets begin."""
    texts = ["the of\ndata", "the of data", "x = {", ""]
    values, offsets = ragged(texts)
    whole = model.probabilities(values, offsets)
    np.testing.assert_array_equal(whole[0], whole[1])
    for row in range(len(texts)):
        np.testing.assert_array_equal(model.probabilities(values, offsets[row : row + 2])[0], whole[row])
    assert model.probabilities(values, offsets[:1]).shape == (0, len(model.labels))


def test_labels_are_those_of_the_model(model: FastTextLinear) -> None:
    """By falling count, as fasttext lists them."""
    assert list(model.labels) == fasttext.load_model(model.path).get_labels()


@pytest.mark.parametrize("labels", [1, 2])
@pytest.mark.parametrize("loss", ["softmax", "hs", "ova"])
def test_models_of_few_labels_are_folded_to_nothing_or_one_number(corpus: Path, loss: str, labels: int) -> None:
    """One label is certain (but for one-vs-all); two need one float a row."""
    keep = ("__label__news", "__label__code")[:labels]
    path = corpus.parent / f"few-{labels}.txt"
    path.write_text("\n".join(line for line in training_lines() if line.startswith(keep)), encoding="utf-8")
    few = FastTextLinear.load(trained(path, {"loss": loss, "wordNgrams": 2}, None, f"few-{loss}-{labels}"))
    expected = few.probabilities(*ragged(FIXED), impl="fasttext")
    np.testing.assert_allclose(few.probabilities(*ragged(FIXED)), expected, rtol=0, atol=1e-5)


def test_a_large_binary_model_is_folded_to_one_float_a_row(corpus: Path) -> None:
    """2,000,000 buckets of 100 numbers on disk, 4 bytes a bucket in memory."""
    from siftlm_kernels.fasttext_linear import fold, folding

    path = corpus.parent / "few-2-large.txt"
    keep = ("__label__news", "__label__code")
    path.write_text("\n".join(line for line in training_lines() if line.startswith(keep)), encoding="utf-8")
    large = FastTextLinear.load(
        trained(path, {"wordNgrams": 2, "bucket": 200_000, "dim": 100, "epoch": 1}, None, "large")
    )
    folded = fold(large.file, folding(large.file))
    assert folded.nbytes == 4 * large.file.input.shape[0] < 1_000_000


def test_every_cut_of_a_file_is_a_clear_error(model: FastTextLinear, tmp_path: Path) -> None:
    """Truncated anywhere, the file is refused with its name; nothing large is allocated."""
    content = Path(model.path).read_bytes()
    path = tmp_path / "cut.bin"
    for size in [0, 1, 7, 8, 40, 64, 91, 92, 100, 200, 3000, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"cut.bin: must be a"):
            FastTextLinear.load(str(path))


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_harmless(
    model: FastTextLinear, tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    """In the header, the dictionary or the matrices: an error or numbers, never a crash."""
    content = bytearray(Path(model.path).read_bytes())
    content[(place * 37) % 150 if place < 200 else (place * 7919) % len(content)] = byte
    path = tmp_path_factory.mktemp("broken") / "changed.bin"
    path.write_bytes(content)
    try:
        changed = FastTextLinear.load(str(path))
    except ValueError:
        return
    assert changed.probabilities(*ragged(FIXED[:4])).shape == (4, len(changed.labels))


def test_word_vectors_are_refused(corpus: Path) -> None:
    """A model without labels is named for what it is."""
    path = str(corpus.parent / "vectors.bin")
    fasttext.train_unsupervised(str(corpus), dim=4, bucket=10, epoch=1, thread=12, verbose=0, minCount=1).save_model(
        path
    )
    with pytest.raises(ValueError, match=r"vectors.bin: must be a supervised fastText model, got word vectors"):
        FastTextLinear.load(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """As from `open`."""
    with pytest.raises(FileNotFoundError):
        FastTextLinear.load(str(tmp_path / "none.bin"))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
def test_the_tree_of_labels_is_a_huffman_tree(counts: list[int]) -> None:
    """Every node but the root has one parent, and the total path length is the optimal one."""
    import heapq

    counts.sort(reverse=True)
    children = tree_children(np.array(counts, np.int64))
    assert sorted(children.ravel()) == list(range(2 * len(counts) - 2))
    weights = [*counts, *[0] * len(children)]
    for node, (left, right) in enumerate(children):
        weights[len(counts) + node] = weights[left] + weights[right]
    heap = list(counts)
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        cost += merged
        heapq.heappush(heap, merged)
    assert sum(weights[len(counts) :]) == cost


def test_an_unknown_implementation_is_refused(model: FastTextLinear) -> None:
    """With the known ones in the message."""
    with pytest.raises(ValueError, match="impl: must be 'auto', 'reference' or 'fasttext', got 'gpu'"):
        model.probabilities(*ragged(["a"]), impl="gpu")  # type: ignore[arg-type]
