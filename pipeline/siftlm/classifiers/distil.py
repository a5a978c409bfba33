"""Runs `siftlm distil`: scores a sample by a costly model, and teaches a cheap learner to say the same.

The learner goes into a run's configuration by its path, in the place of the costly model:

    [[annotate.others]]                           [[annotate.classifiers]]
    kind = "distilled"                            name = "gain"
    name = "gain"                                 path = "<folder>/distilled/model.bin"
    path = "<folder>/distilled/learner.npz"       label = "include"
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from siftlm import filesystem
from siftlm.classifiers.fasttext import Pages, held_out_pages, predict, train
from siftlm.classifiers.labels import given_labels
from siftlm.classifiers.linear import fit_linear
from siftlm.classifiers.train import read_pages
from siftlm.corpus import open_corpus
from siftlm.correlate.settings import TrainingSettings
from siftlm.correlate.tables import write_table
from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.loop import DistilSettings, LoopConfig
from siftlm.scorers import DocumentModelSettings, open_document_model
from siftlm.stages.folders import check_results
from siftlm.statistics.ranks import average_ranks, spearman

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Predict = Callable[[Sequence[str]], Floats]

LEARNER, MODEL, SAMPLE, REPORT = "learner.npz", "model.bin", "sample.parquet", "report.json"
FEWEST = 20  # scored documents of which a learner is made
RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Distilled:
    """Tells how well a learner ranks documents of the sample that it was not taught.

    Attributes:
        model: Name of the model that was distilled.
        learner: Path of the file that was made.
        sampled: Documents that were drawn.
        scored: Those of them that have a score.
        held_out: Those that only test the learner.
        rank_correlation: Spearman's, of prediction and score over held-out documents; None where either does not vary.
        interval: Its 95 % interval, over resamples of the held-out documents.
        found_quarter: Share of the held-out quarter of highest scores that is in the quarter of highest predictions.
        scored_per_second: Documents a second of the model, loading left out.
        predicted_per_second: The same of the learner.
    """

    model: str
    learner: str
    sampled: int
    scored: int
    held_out: int
    rank_correlation: float | None
    interval: tuple[float, float] | None
    found_quarter: float
    scored_per_second: float
    predicted_per_second: float


def distil(config: LoopConfig, progress: Progress, out: str | None = None) -> Distilled:
    """Scores a sample by one of the run's models, and writes a learner, its report and the sample.

    Args:
        config: The run, whose [distil] table names the model and the learner.
        progress: What shows the work.
        out: Where it goes; default <output.folder>/distilled.

    Raises:
        UserError: there is no such model, or too few documents of the run have a score.
    """
    settings, out = config.distil, f"{config.folder}/distilled" if out is None else out
    check_results("out", out, (LEARNER, MODEL, SAMPLE, REPORT), _is_report)
    model = _model(config)
    drawn = TrainingSettings(
        labels="given", good=[each.source for each in config.input], most_pages=settings.sample, seed=settings.seed
    )
    with open_corpus(config, progress, "distil") as corpus:
        pages, _ = read_pages(corpus, drawn, None)
    with progress.working(model.name):
        values, seconds = _scored(model, pages.texts)
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < FEWEST:
        raise UserError(
            f"distil.sample: must have {FEWEST} documents with a score to learn from, got {len(known)} of {len(pages)}"
        )
    filesystem.makedirs(out)
    with progress.working("distil"):
        made = _taught(model, _of(pages, known), values[known], len(pages), seconds, settings, out)
    content = {**asdict(made), "settings": settings.model_dump(), "scorer": model.model_dump(mode="json")}
    filesystem.write_bytes(f"{out}/{REPORT}", orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return made


def _is_report(folder: str) -> bool:
    try:
        return {"found_quarter", "scorer"} <= set(orjson.loads(filesystem.read_bytes(f"{folder}/{REPORT}")))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return False


def _model(config: LoopConfig) -> DocumentModelSettings:
    """The model that is distilled: the one that is named, or the only one."""
    models = {settings.name: settings for settings in config.annotate.by_model()}
    wanted = config.distil.model
    if wanted is None and len(models) == 1:
        return next(iter(models.values()))
    if not models:
        raise UserError("annotate.models: must hold the model to distil, got none")
    if wanted not in models:
        raise UserError(f"distil.model: must be one of {name_some(list(models), 10)}, got {wanted!r}")
    return models[wanted]


def _scored(model: DocumentModelSettings, texts: Sequence[str]) -> tuple[Floats, float]:
    """The score of each text, NaN without one, and the seconds that it took."""
    scorer, column = open_document_model(model), pa.array(texts, pa.large_string())
    scorer.load(scorer.digest())
    started = time.monotonic()
    values = scorer.labels(column)
    return values, time.monotonic() - started


def _of(pages: Pages, rows: npt.NDArray[np.int64]) -> Pages:
    columns = (pages.doc_ids, pages.texts, pages.languages, pages.domains)
    return Pages(*([column[row] for row in rows.tolist()] for column in columns))


def _taught(
    model: DocumentModelSettings,
    pages: Pages,
    values: Floats,
    sampled: int,
    seconds: float,
    settings: DistilSettings,
    out: str,
) -> Distilled:
    """Teaches the learner, and looks at it on what it was not taught."""
    held_out = held_out_pages(pages.doc_ids, settings.held_out, settings.seed)
    wanted = learned(values, settings.learn)
    path = f"{out}/{LEARNER if settings.learner == 'linear' else MODEL}"
    teach = _linear if settings.learner == "linear" else _fasttext
    learner = teach(pages, wanted, held_out, settings, path)
    started = time.monotonic()
    predicted = learner(pages.texts)
    per_second = len(pages) / max(time.monotonic() - started, 1e-9)
    columns = {"doc_id": pages.doc_ids, "score": values, "wanted": wanted, "predicted": predicted, "held_out": held_out}
    write_table(pa.table(columns), f"{out}/{SAMPLE}")
    truth, guess = values[held_out], predicted[held_out]
    return Distilled(
        model.name, path, sampled, len(pages), int(held_out.sum()),
        spearman(truth, guess) if len(truth) > 1 else None, interval_of(truth, guess, settings.seed),
        found_quarter(truth, guess), sampled / max(seconds, 1e-9), per_second,
    )  # fmt: skip


def learned(values: Floats, learn: str) -> Floats:
    """Returns what a learner is taught of scores: ranks from 0 to 1, or standard deviations.

    Equal scores have their mean rank. Scores that do not vary are 0 in either way.
    """
    deviation = float(values.std())
    if not deviation > 0:
        return np.zeros(len(values))
    if learn == "deviations":
        return np.asarray((values - values.mean()) / deviation)
    return np.asarray((average_ranks(values) - 1) / (len(values) - 1))


def found_quarter(truth: Floats, guess: Floats) -> float:
    """Returns which share of the quarter of highest values is in the quarter of highest guesses; 0 of no values."""
    size = max(1, len(truth) // 4)
    best, guessed = (set(np.argsort(-of, kind="stable")[:size].tolist()) for of in (truth, guess))
    return len(best & guessed) / size


def interval_of(truth: Floats, guess: Floats, seed: int) -> tuple[float, float] | None:
    """Returns the 95 % interval of Spearman's correlation over resamples; None where some of these have none."""
    drawn = np.random.default_rng(seed)
    rows = [drawn.integers(0, len(truth), len(truth)) for _ in range(RESAMPLES if len(truth) > 1 else 0)]
    found = [value for row in rows if (value := spearman(truth[row], guess[row])) is not None]
    if len(found) < LEVEL * RESAMPLES:  # those that do not vary say nothing, so the others would be chosen ones
        return None
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _linear(pages: Pages, wanted: Floats, held_out: Booleans, settings: DistilSettings, path: str) -> Predict:
    taught = np.flatnonzero(~held_out)
    few = _of(pages, taught)
    choosing = held_out_pages(few.doc_ids, settings.held_out, settings.seed + 1)
    learner = fit_linear(few.texts, wanted[taught], choosing, settings.ngrams, settings.buckets)
    learner.save(path)
    return learner.predict


def _fasttext(pages: Pages, wanted: Floats, held_out: Booleans, settings: DistilSettings, path: str) -> Predict:  # noqa: ARG001
    """A classifier of the better half, held out by the same keyed draw."""
    above = wanted > np.median(wanted)
    training = TrainingSettings(
        labels="given", held_out=settings.held_out, seed=settings.seed, word_ngrams=settings.ngrams,
        bucket=settings.buckets, words=0,
    )  # fmt: skip
    model, _ = train(pages, given_labels(above), training, path)
    return lambda texts: predict(model, texts)
