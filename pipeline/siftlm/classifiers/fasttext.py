"""Trains a fastText classifier to tell included from excluded pages, and tests it on held-out pages."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from siftlm.classifiers.labels import Labels
from siftlm.correlate.pages import keyed_uniform
from siftlm.correlate.settings import TrainingSettings
from siftlm.engine.allocator import zeroed_allocations
from siftlm.errors import UserError
from siftlm.statistics.ranks import average_ranks

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

INCLUDE = "__label__include"
EXCLUDE = "__label__exclude"

_SEPARATORS = str.maketrans(dict.fromkeys("\n\r\t\v\f\0", " "))


def fasttext_line(text: str) -> str:
    """Returns the text as one line of words, the same for training and for the classifiers of a run.

    Newlines and fastText's other separators become blanks. fastText itself leaves out words that begin with
    `__label__` and reads nothing after a word `</s>`; in training it would take the first for labels.
    """
    line = text.translate(_SEPARATORS)
    if "__label__" in line or "</s>" in line:
        words = takewhile(lambda word: word != "</s>", line.split(" "))
        line = " ".join(word for word in words if not word.startswith("__label__"))
    return line


@dataclass(frozen=True)
class Pages:
    """Holds the pages of a training set as equally long columns; language and domain only feed the report."""

    doc_ids: Sequence[str]
    texts: Sequence[str]
    languages: Sequence[str | None]
    domains: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.doc_ids)


def held_out_pages(doc_ids: Sequence[str], share: float, seed: int) -> Booleans:
    """Returns which pages only test the model, by a keyed hash of doc_id, so that none also trains it."""
    return np.asarray(keyed_uniform(doc_ids, seed, "held out") < share)


def _training_order(pages: Pages, labels: Labels, held_out: Booleans, seed: int) -> list[tuple[int, bool]]:
    """(page, included) of the training examples by a keyed hash of doc_id, one round of all pages after another."""
    place = keyed_uniform(pages.doc_ids, seed, "training order")
    rounds: Counter[int] = Counter()
    ordered = []
    for page, included in zip(labels.page.tolist(), labels.included.tolist(), strict=True):
        rounds[page] += 1
        if not held_out[page]:
            ordered.append((rounds[page], place[page], pages.doc_ids[page], page, included))
    return [(page, included) for *_, page, included in sorted(ordered)]


def write_examples(path: str, pages: Pages, labels: Labels, held_out: Booleans, seed: int) -> tuple[int, int]:
    """Writes fastText's training file in a keyed order; returns the numbers of included and excluded examples."""
    examples = _training_order(pages, labels, held_out, seed)
    with open(path, "w", encoding="utf-8", errors="replace", newline="\n") as file:
        for page, included in examples:
            file.write(f"{INCLUDE if included else EXCLUDE} {fasttext_line(pages.texts[page])}\n")
    included_count = sum(included for _, included in examples)
    return included_count, len(examples) - included_count


def train(pages: Pages, labels: Labels, settings: TrainingSettings, path: str) -> tuple[Any, dict[str, Any]]:
    """Trains a model on the pages that are not held out, saves it, and tests it on those that are.

    Returns the fastText model and the held-out report. With `threads = 1` the model is the same on every run.

    Raises:
        UserError: One side has no pages to train on.
    """
    held_out = held_out_pages(pages.doc_ids, settings.held_out, settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        examples = os.path.join(folder, "examples.txt")
        included, excluded = write_examples(examples, pages, labels, held_out, settings.seed)
        if not included or not excluded:
            raise UserError(
                f"classifier: both sides must have pages to train on, got {included} included and {excluded} excluded"
            )
        model = _train_fasttext(examples, settings)
    model.save_model(path)
    counts = {"train_included": included, "train_excluded": excluded}
    return model, {**counts, **_held_out_report(model, pages, labels, held_out, settings)}


def _train_fasttext(examples: str, settings: TrainingSettings) -> Any:
    import fasttext

    try:
        with zeroed_allocations():
            return fasttext.train_supervised(
                input=examples,
                epoch=settings.epoch,
                lr=settings.learning_rate,
                wordNgrams=settings.word_ngrams,
                dim=settings.dim,
                minCount=settings.min_count,
                bucket=settings.bucket,
                thread=settings.threads,
                seed=settings.seed,
                verbose=0,
            )
    except RuntimeError as error:  # "Encountered NaN."
        raise UserError(
            f"classifier.learning_rate: must be low enough to converge, got {settings.learning_rate} ({error})"
        ) from error


def predict(model: Any, texts: Sequence[str]) -> Floats:
    """Returns the probability of `include` for each text, float64."""
    # The pybind method, since fasttext's own predict asserts on an empty line and warns on every call.
    labels = (model.f.predict(f"{fasttext_line(text)}\n", -1, 0.0, "strict") for text in texts)
    shares = (next((share for share, label in of_text if label == INCLUDE), 0.0) for of_text in labels)
    return np.minimum(np.fromiter(shares, np.float64, len(texts)), 1.0)  # fastText adds 1e-5 to its softmax


def _held_out_report(
    model: Any, pages: Pages, labels: Labels, held_out: Booleans, settings: TrainingSettings
) -> dict[str, Any]:
    test = np.flatnonzero(held_out & labels.used).tolist()
    scores = predict(model, [pages.texts[index] for index in test])
    gold = labels.gold[test]
    weights = np.array([len(pages.texts[index].encode("utf-8", "replace")) for index in test], np.float64)
    chosen = scores >= 0.5
    return {
        **confusion(gold, chosen),
        "roc_auc": roc_auc(gold, scores),
        "languages": _mix([pages.languages[index] for index in test], weights, gold, chosen),
        "domains": _mix([pages.domains[index] for index in test], weights, gold, chosen)[:10],
        "words": telling_words(model, settings.words, settings.fewest_word_count),
    }


def confusion(gold: Booleans, chosen: Booleans) -> dict[str, float | int | None]:
    """Returns the counts, precision, recall and F1 of `include`; None where a ratio has no denominator."""
    both = int((gold & chosen).sum())
    precision = both / int(chosen.sum()) if chosen.any() else None
    recall = both / int(gold.sum()) if gold.any() else None
    total = int(gold.sum()) + int(chosen.sum())
    return {
        "pages": len(gold),
        "gold_included": int(gold.sum()),
        "chosen": int(chosen.sum()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * both / total if total else None,
    }


def roc_auc(gold: Booleans, scores: Floats) -> float | None:
    """Returns the chance that an included page scores above an excluded one; None with one side only.

    A tie counts half.

    (sum of the average ranks of the included - P(P+1)/2) / (P * negatives), the Mann-Whitney statistic.
    """
    positives = int(gold.sum())
    negatives = len(gold) - positives
    if not positives or not negatives:
        return None
    ranks = average_ranks(scores)[gold].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def _mix(names: Sequence[str | None], weights: Floats, gold: Booleans, chosen: Booleans) -> list[dict[str, Any]]:
    """Shares of bytes by name among all, included and chosen pages; most chosen first."""
    groups = np.array([name or "unknown" for name in names], dtype=object)
    rows = []
    for name in sorted(set(groups.tolist())):
        inside = groups == name
        shares = [
            float(weights[inside & side].sum() / weights[side].sum()) if weights[side].sum() else 0.0
            for side in (np.ones(len(gold), bool), gold, chosen)
        ]
        rows.append({"name": name, "all": shares[0], "included": shares[1], "chosen": shares[2]})
    return sorted(rows, key=lambda row: (-row["chosen"], -row["included"], row["name"]))


def telling_words(model: Any, words: int, fewest: int) -> dict[str, list[tuple[str, float]]]:
    """Returns the words that push predictions most to either side, with the weight of each.

    The weight is input row . (include row - exclude row).
    fastText averages word vectors before its linear layer, so this is each word's share in the logit before
    the division by the text's length.
    """
    names, counts = model.get_words(include_freq=True)
    labels = model.get_labels()
    outputs = model.get_output_matrix()
    direction = outputs[labels.index(INCLUDE)] - outputs[labels.index(EXCLUDE)]
    ranked = sorted(
        (float(model.get_input_vector(index) @ direction), name)
        for index, (name, count) in enumerate(zip(names, counts, strict=True))
        if count >= fewest and name != "</s>"
    )
    return {
        "include": [(name, weight) for weight, name in reversed(ranked[-words:] if words else [])],
        "exclude": [(name, weight) for weight, name in ranked[:words]],
    }
