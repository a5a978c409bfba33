"""Runs `siftlm benchmark`: measures models on small tasks made from documents that no model has seen.

A question is a passage of `context_words` words and `choices` continuations of `answer_words` words: its own, and
those of passages of other documents of the task. Two errors a task: `<task>_choice`, 1 - the share of questions
whose own continuation has the fewest bits per byte (a question counts as wrong where another ties), and
`<task>_bits`, the bits per byte of the right continuations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from siftlm.corpus import BENCHMARK, Corpus, open_corpus
from siftlm.correlate.pages import keyed_uniform
from siftlm.correlate.tables import write_table
from siftlm.engine.devices.pool import on_device
from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.loop import LoopConfig, QuestionSettings
from siftlm.scorers import ScoreSettings, open_score, pinned
from siftlm.stages.columns import read_columns
from siftlm.stages.score_step import wanted
from siftlm.statistics.units import bits_per_byte
from siftlm.store import Marker, digest

VERSION = 1
STAGE = "benchmark"
FEWEST = 10  # questions of a task


@dataclass(frozen=True)
class Question:
    """Holds a passage and its possible continuations, the right one first."""

    context: str
    choices: list[str]

    def texts(self) -> list[str]:
        return [self.context, *(f"{self.context} {choice}" for choice in self.choices)]


def benchmark(config: LoopConfig, progress: Progress) -> pa.Table:
    """Returns the errors as a long table (model, benchmark, error, questions), and writes it to errors.csv."""
    settings = config.benchmark
    if settings is None:
        raise UserError("benchmark: must be a table of settings for this command, got nothing")
    with open_corpus(config, progress, "benchmark") as corpus:
        tasks = {name: questions(corpus, name, sources, settings) for name, sources in settings.tasks.items()}
        rows = [
            {"model": model.name, "benchmark": f"{name}_{kind}", "error": error, "questions": len(asked)}
            for model in corpus.models()
            for name, asked in tasks.items()
            for kind, error in zip(("choice", "bits"), _errors(corpus, model, name, asked), strict=True)
        ]
        table = pa.Table.from_pylist(rows)
        write_table(table, f"{config.folder}/errors.csv")
    return table


def _errors(corpus: Corpus, model: ScoreSettings, task: str, asked: list[Question]) -> tuple[float, float]:
    """The two errors of a model in a task, from the store where they are known."""
    content = open_score(model).digest()
    key = digest(STAGE, VERSION, content, [[q.context, q.choices] for q in asked])
    corpus.work.needs.add(STAGE, [key])
    known = corpus.store.find(STAGE, key)
    if known is None:
        with corpus.progress.working(f"benchmark/{model.name}/{task}"):
            choice, bits = on_device(wanted(model), _answer_by, model, content, asked)
        facts = {"choice": choice, "bits": bits}
        known = corpus.store.commit(Marker(STAGE, key, f"{model.name} {task}", rows_in=0, rows_out=0, facts=facts))
    return known.facts["choice"], known.facts["bits"]


def _answer_by(model: ScoreSettings, content: str, asked: Sequence[Question]) -> tuple[float, float]:
    with pinned([(open_score(model), content)]):
        return answer(model, asked)


def answer(model: ScoreSettings, asked: Sequence[Question]) -> tuple[float, float]:
    """Returns a model's share of wrong choices and its bits per byte of the right continuations.

    The nats of a continuation are those of the passage with it, less those of the passage alone.
    """
    batch = pa.record_batch({"text": pa.array([t for q in asked for t in q.texts()], pa.large_string())})
    nats = open_score(model).score(batch)["nll_sum"].to_numpy(zero_copy_only=False).astype(np.float64)
    by_question = nats.reshape(len(asked), -1)
    sizes = np.array([[len(f" {choice}".encode()) for choice in q.choices] for q in asked])
    rates = (by_question[:, 1:] - by_question[:, :1]) / sizes
    right = (rates[:, :1] < rates[:, 1:]).all(axis=1)
    bits = bits_per_byte(pa.scalar(math.fsum(rates[:, 0] * sizes[:, 0])), pa.scalar(int(sizes[:, 0].sum())))
    return float(1 - right.mean()), float(bits.as_py())


def questions(corpus: Corpus, task: str, sources: Sequence[str], settings: QuestionSettings) -> list[Question]:
    """Returns the questions of a task, drawn by a keyed hash from all passages of its documents."""
    seed = corpus.config.seed
    pages = list(_pages(corpus, sources))
    passages = [passage for page in pages for passage in cut(*page, settings)]
    names = [name for name, *_ in passages]
    order = np.lexsort((np.array(names, dtype=str), keyed_uniform(names, seed, "question")))
    drawn = order[: settings.questions].tolist()
    made = [made for n in drawn if (made := _question(passages, n, settings.choices, seed))]
    if len(made) < FEWEST:
        words = settings.context_words + settings.answer_words
        raise UserError(
            f"benchmark.tasks.{task}: must have {FEWEST} questions, got {len(made)} from {len(pages)} documents "
            f"with passages of {words} words; raise benchmark.holdout or cut shorter passages"
        )
    return made


Passage = tuple[str, str, str, str]
"""(name, doc_id, context, answer)"""


def cut(doc_id: str, text: str, settings: QuestionSettings) -> Iterator[Passage]:
    """Yields the passages of a document from its start; they do not overlap."""
    words, size = text.split(), settings.context_words + settings.answer_words
    for start in range(0, len(words) - size + 1, size):
        middle = start + settings.context_words
        yield f"{doc_id} {start}", doc_id, " ".join(words[start:middle]), " ".join(words[middle : start + size])


def _question(passages: Sequence[Passage], number: int, choices: int, seed: int) -> Question | None:
    """A passage with the continuations of passages of other documents; None where there are too few others."""
    name, doc_id, context, right = passages[number]
    turn = np.random.default_rng(int(keyed_uniform([name], seed, "answers")[0] * 2**53))
    wrong: dict[str, None] = {}
    for other in turn.permutation(len(passages))[: 8 * choices]:
        if passages[other][1] != doc_id and passages[other][3] != right:
            wrong.setdefault(passages[other][3])
    return Question(context, [right, *list(wrong)[: choices - 1]]) if len(wrong) >= choices - 1 else None


def _pages(corpus: Corpus, sources: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(doc_id, text) of the documents that tasks are cut from."""
    for task in corpus.shards:
        if task.facts["source"] in sources:
            rows = corpus.reasons(task).to_numpy(zero_copy_only=False) == BENCHMARK
            doc_ids = read_columns(task, corpus.store, {"doc_id"})["doc_id"].filter(pa.array(rows)).to_pylist()
            yield from zip(doc_ids, corpus.texts(task, rows), strict=True)
