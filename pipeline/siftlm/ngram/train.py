"""Runs `siftlm train-ngram`: from text to an n-gram model with interpolated modified Kneser-Ney smoothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.ngram.arpa import write_arpa
from siftlm.ngram.discounts import Smoothing, smoothing
from siftlm.ngram.model_file import layout_of, write_model
from siftlm.ngram.parts import ROW_BYTES, PartCounts, PartTask, SplitTask, count_part, part_numbers, part_tasks, split
from siftlm.ngram.pool import Workers, workers
from siftlm.ngram.settings import NgramShape, NgramTraining
from siftlm.ngram.tables import PartSums, compute_part
from siftlm.ngram.text import TextBlock, blocks_of, text_blocks
from siftlm.ngram.tokens import Ids, WordIds, read_words, tasks
from siftlm.paths import is_local
from siftlm.statistics.text_sketch import SUFFIX, TextSketch

ENDINGS = (".arpa", ".arpa.gz", ".bin")


@dataclass(frozen=True)
class TrainedNgrams:
    """Says what was trained: how many sentences, tokens and n-grams of each order, and with which discounts."""

    sentences: int
    tokens: int
    smooth: Smoothing
    signs: int = 0  # words of the texts that are signs of the model, and were read as spaces

    def lines(self) -> Iterator[str]:
        """Yields what a user wants to know."""
        yield f"{self.sentences:,} sentences of {self.tokens:,} tokens"
        for n, (count, of) in enumerate(zip(self.smooth.counts, self.smooth.discounts.tolist(), strict=True), 1):
            told = ", the fallback" if n in self.smooth.fallbacks else ""
            yield f"{n}-grams: {count:,}, discounts {of[1]:.6g} {of[2]:.6g} {of[3]:.6g}{told}"


def train_ngram(paths: Sequence[str], out: Sequence[str], settings: NgramTraining) -> TrainedNgrams:
    """Trains a model on the texts of files and writes it; returns what was trained.

    Every line of a text is a sentence, an empty one too, and of a document each line of its text. The model is that
    of `lmplz`: the same n-grams, discounts, probabilities and backoff weights. The files do not depend on the number
    of processes, nor on the memory. Beside each is a sketch of its texts (`.seen`), by which a run tells that a model
    scores what it was trained on.

    Args:
        paths: Files, folders and globs of text, in any format and compression that siftlm reads.
        out: Where the model goes: .arpa, .arpa.gz or .bin, each at most once.
        settings: The order, the tokens, and what may be used.

    Raises:
        UserError: a text that cannot be used, no text, or no discounts.
    """
    _check(out)
    return _train(text_blocks(paths, settings.text_field), ", ".join(paths), out, settings)


def train_on_texts(texts: Iterable[str], place: str, out: Sequence[str], settings: NgramShape) -> TrainedNgrams:
    """Does the same on texts at hand, each a document; `place` says in errors where they are from.

    A word that is a sign of the model itself (`<s>`) is read as a space, as by `lmplz --skip_symbols`, and counted.
    """
    blocks = blocks_of(place, (text.encode("utf-8", "replace") for text in texts))
    return _train(blocks, place, out, settings, skip_signs=True)


def _train(
    blocks: Iterator[TextBlock], place: str, out: Sequence[str], settings: NgramShape, skip_signs: bool = False
) -> TrainedNgrams:
    with _folder(out[0]) as folder, workers(settings.processes) as run:
        vocabulary, tokens, sketch, signs = _read(blocks, settings, folder, run, skip_signs)
        sentences, total = int(vocabulary.counts[2]), int(vocabulary.counts.sum())
        if not total - sentences:
            raise UserError(f"{place}: must have text to train on, got none")
        parts, counts = _count(vocabulary, tokens, settings, folder, run)
        smooth = smoothing(
            counts, vocabulary.counts[: len(vocabulary)], settings.order, settings.discount_fallback, place
        )
        if 0 in smooth.counts:
            longest = smooth.counts.index(0)
            raise UserError(
                f"{place}: order: must be at most {longest}, the words of the longest sentence with its beginning and "
                f"end, got {settings.order}"
            )
        _compute(smooth, parts, folder, run)
        _write(out, vocabulary, smooth, parts, counts, folder, run)
    for path in out:
        sketch.write(f"{path}{SUFFIX}")
    return TrainedNgrams(sentences, total - sentences, smooth, signs)


def _check(out: Sequence[str]) -> None:
    for path in out:
        if not path.endswith(ENDINGS):
            raise UserError(f"--out: must end with {', '.join(ENDINGS)}, got {path!r}")
    if len({path.endswith(".bin") for path in out}) < len(out):
        raise UserError(f"--out: must name one ARPA file and one .bin at most, got {', '.join(out)}")


@contextmanager
def _folder(beside: str) -> Iterator[str]:
    """A folder for what is in the making, beside the result, which is gone afterwards."""
    parent = os.path.dirname(os.path.abspath(beside)) if is_local(beside) else None
    if parent is not None:
        filesystem.makedirs(parent)
    folder = tempfile.mkdtemp(prefix=".siftlm-ngram-", dir=parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(
    blocks: Iterator[TextBlock], settings: NgramShape, folder: str, run: Workers, skip_signs: bool
) -> tuple[WordIds, list[tuple[str, Ids]], TextSketch, int]:
    """The words of all texts, each block's file of ids with what these mean, a sketch of the texts, signs skipped."""
    vocabulary, made, sketch, signs = WordIds(), [], TextSketch(), 0
    for block in run.map(read_words, tasks(blocks, settings.lines, folder, skip_signs)):
        made.append((block.path, vocabulary.add(block)))
        sketch.add(block.hashes_of_texts, block.texts)
        signs += block.signs
    return vocabulary, made, sketch, signs


def _count(
    vocabulary: WordIds,
    blocks: Sequence[tuple[str, Ids]],
    settings: NgramShape,
    folder: str,
    run: Workers,
) -> tuple[list[PartTask], list[PartCounts]]:
    """The parts of the vocabulary and the counts of their n-grams; none for single words."""
    if settings.order == 1:
        return [], []
    rows = settings.memory // (ROW_BYTES * max(settings.processes, 2))
    numbers = f"{folder}/parts.npy"
    np.save(numbers, part_numbers(vocabulary.contexts[: len(vocabulary)], rows))
    splits = (SplitTask(path, mapping, settings.order, numbers) for path, mapping in blocks)
    starts = list(run.map(split, splits))
    parts = part_tasks([path for path, _ in blocks], starts, settings.order, folder, rows)
    counts = list(run.map(count_part, parts))
    for path, _ in blocks:
        os.remove(f"{path}.rows")
    return parts, counts


def _compute(smooth: Smoothing, parts: Sequence[PartTask], folder: str, run: Workers) -> None:
    unigrams = f"{folder}/unigrams.npy"
    np.save(unigrams, smooth.unigrams.astype(np.float32))
    _, layout = layout_of(smooth.counts)
    buckets = tuple(count for _, count in layout.longer)
    for _ in run.map(compute_part, (PartSums(part, unigrams, smooth.discounts, buckets) for part in parts)):
        pass


def _write(
    out: Sequence[str],
    vocabulary: WordIds,
    smooth: Smoothing,
    parts: Sequence[PartTask],
    counts: Sequence[PartCounts],
    folder: str,
    run: Workers,
) -> None:
    extends = np.zeros(len(vocabulary), np.bool_)
    for part in counts:
        extends[part.words[0]] = True
    binary = f"{folder}/model.bin"
    write_model(binary, vocabulary.words, smooth, parts, extends, run)
    for path in sorted(out, key=lambda path: path.endswith(".bin")):
        if path.endswith(".bin"):
            _move(binary, path)
        else:
            write_arpa(path, binary, vocabulary.words, smooth, parts, folder, run)


def _move(source: str, path: str) -> None:
    """Puts the finished file in its place: under its name at once where that is on the same disk, else by a copy."""
    folder = os.path.dirname(os.path.abspath(filesystem.local(path))) if is_local(path) else None
    if folder is not None:
        filesystem.makedirs(folder)
    if folder is not None and os.stat(folder).st_dev == os.stat(source).st_dev:
        filesystem.rename(source, path)
        return
    with open(source, "rb") as read, filesystem.open_write(path) as write:
        for chunk in iter(partial(read.read, 1 << 22), b""):
            write.write(chunk)
