"""Trains the models of a run, on documents that it leaves out or that are not of a fold."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow.compute as pc
from pydantic import Field, model_validator

from siftlm import filesystem, paths
from siftlm.engine.drive import Context
from siftlm.engine.shards import Task
from siftlm.engine.step import Loss, Step, Told
from siftlm.engine.values import SUFFIX, read_value, write_value
from siftlm.ngram.settings import REFUSED, SAME_MODEL, NgramShape
from siftlm.proxies.trainer import ReferenceSettings, limited
from siftlm.proxies.training.alone import alone_in
from siftlm.proxies.training.settings import SAME_WEIGHTS
from siftlm.scorers.ngram_lm import NgramModelSettings
from siftlm.scorers.score import TRAINED_NGRAMS, ScoreSettings
from siftlm.selectors.reasons import HELD_OUT
from siftlm.stages.columns import ELIGIBLE, read_columns
from siftlm.stages.edit import EDITED
from siftlm.stages.eligible import Split, out_already
from siftlm.stages.folds import FOLD, FOLDS
from siftlm.stages.members import TrainedModels
from siftlm.stages.places import REFERENCE as HELD
from siftlm.stages.texts import IDS, TEXTS, chosen_texts
from siftlm.statistics.hashing import hash_strings, keyed, uniform
from siftlm.statistics.ordered import BoolArray
from siftlm.store import Marker, Store

VERSION = 3
NGRAM_VERSION = 2
HOLDOUT = 0.1  # the share of documents that train a model unless the configuration says another
STAGE, SEVERAL = "reference", "references/"  # the step that trains one model, and what begins the names of several
NGRAMS, SEVERAL_NGRAMS = "ngram_reference", "ngram_references/"
SIGNS = "signs"  # the fact of a marker that counts words of texts which are signs of n-gram models
MODEL_STEPS = (STAGE, SEVERAL, NGRAMS, SEVERAL_NGRAMS)
"""What the names of steps begin with that train models."""


class NgramReferenceSettings(NgramShape):
    """Configures an n-gram model that the run trains on the same documents as its reference model."""

    max_bytes: int | None = Field(None, ge=1, description="Text that is read at most; by default all that there is.")


class ReferenceJobSettings(ReferenceSettings):
    """Configures the reference models that a run trains on its own documents."""

    holdout: float | None = Field(
        None, gt=0, lt=1, description="Share of the deduplicated documents that train the model; they are left out of "
        "the selection. By default 0.1, without `folds`.",
    )  # fmt: skip
    folds: int | None = Field(
        None, ge=2, le=64, description="Instead of holding documents out: that many models, each trained on all folds "
        "of the documents but one, which it scores.",
    )  # fmt: skip
    copies: int = Field(
        1, ge=1, le=64, description="Models of different seeds that score each document; the score is their mean."
    )
    ngram: NgramReferenceSettings | None = Field(None, description="An n-gram model of the same documents.")

    @model_validator(mode="after")
    def _held_out_or_folds(self) -> Self:
        if self.folds and self.holdout is not None:
            raise ValueError("holdout must be left out with folds, which hold no document out")
        return self

    @property
    def held_out(self) -> float:
        """Returns the share of the documents that train models and are left out of the selection."""
        return 0.0 if self.folds else HOLDOUT if self.holdout is None else self.holdout

    def of_model(self, copy: int = 0) -> ReferenceSettings:
        """Returns the settings of one model; every copy has a seed of its own."""
        own = {name: getattr(self, name) for name in ReferenceSettings.model_fields}
        return ReferenceSettings.model_construct(**{**own, "seed": self.seed + copy})

    def trained(self, score: ScoreSettings) -> TrainedModels | None:
        """Returns the steps that train the models of a score; None where it awaits none."""
        if not score.awaited:
            return None
        of = NgramReference if isinstance(score, NgramModelSettings) else Reference
        return TrainedModels(tuple(step.name for step in of.members(self, Split())), self.folds)


@dataclass(frozen=True)
class TrainingStep(Step):
    """Trains one model of a run in this process, without Beam.

    With a `fold`, on all documents but those of the fold, or on a keyed draw of them where they are more than may be
    read; without, on the documents that the split holds out.
    """

    settings: ReferenceJobSettings
    split: Split
    fold: int | None = None
    copy: int | None = None  # its number where several models of the same documents score together
    holds_out: bool = True  # whether it tells what the split leaves out of the selection; of several steps one does
    per: ClassVar[Literal["run"]] = "run"
    by_model: ClassVar[bool] = True
    alone: ClassVar[str]  # the name of a step that trains the only model of its kind
    several: ClassVar[str]  # what begins the names of others

    @classmethod
    @abstractmethod
    def members(cls, settings: ReferenceJobSettings, split: Split) -> list[Self]:
        """Returns the steps for every fold and copy, the copies of a fold together."""

    @property
    def name(self) -> str:  # type: ignore[override]
        parts = [] if self.fold is None else [f"fold{self.fold}"]
        parts += [] if self.copy is None else [f"copy{self.copy}"]
        return f"{self.several}{'.'.join(parts)}" if parts else self.alone

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*EDITED, *Split.reads) if self.fold is None else (*TEXTS, IDS, ELIGIBLE, FOLDS)

    @property
    @abstractmethod
    def max_bytes(self) -> int | None:
        """Returns how much text is read at most."""

    @abstractmethod
    def content(self) -> object:
        """Returns what of the settings decides the model."""

    @abstractmethod
    def make(self, folder: Path, texts: Iterable[str]) -> dict[str, Any]:
        """Trains the model into a folder of its own, and returns its figures."""

    def identity(self) -> object:
        documents = self.split.identity() if self.fold is None else ("fold", self.fold, self.split.seed)
        return VERSION, self.content(), documents

    def losses(self) -> Sequence[Loss]:
        if self.fold is not None or not self.holds_out:
            return []
        return [Loss(HELD, f"is not in the {self.settings.held_out:.6g} that train the reference model")]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        texts = self.texts(tasks, context.store)
        return [made_once(self.name, tasks[0].key, "all", context.store, lambda folder: self.make(folder, texts))]

    def texts(self, tasks: Sequence[Task], store: Store) -> Iterator[str]:
        """Yields the texts that the model is trained on, in the order of the run."""
        if self.fold is None:
            yield from held_out_texts(self.split, tasks, store)
            return
        total = sum(int(_byte_counts(task, store)[self._others(task, store)].sum()) for task in tasks)
        share = 1.0 if self.max_bytes is None else min(1.0, self.max_bytes / max(total, 1))
        for task in tasks:
            rows = self._others(task, store)
            if share < 1:
                ids = read_columns(task, store, {"doc_id"})["doc_id"].combine_chunks()
                rows &= uniform(keyed(hash_strings(ids), self.split.seed, f"{FOLDS} {self.fold}")) < share
            yield from chosen_texts(task, store, rows)

    def _others(self, task: Task, store: Store) -> BoolArray:
        """A mask of the documents that no step has dropped and that are not of the fold."""
        folds = read_columns(task, store, {FOLD})[FOLD].to_numpy()
        alive = pc.is_null(out_already(task, store, len(folds))[0]).to_numpy(zero_copy_only=False)
        return np.asarray(alive & (folds != self.fold), np.bool_)

    @property
    def _share(self) -> float:
        """The share of the documents that the model is trained on, where no bound of bytes is met."""
        return self.settings.held_out if self.fold is None else 1 - 1 / (self.settings.folds or 2)


def _byte_counts(task: Task, store: Store) -> np.ndarray:
    return np.asarray(read_columns(task, store, {"byte_count"})["byte_count"].to_numpy())


@dataclass(frozen=True)
class Reference(TrainingStep):
    """Trains a small causal language model."""

    alone: ClassVar[str] = STAGE
    several: ClassVar[str] = SEVERAL

    @classmethod
    def members(cls, settings: ReferenceJobSettings, split: Split) -> list[Self]:
        folds = range(settings.folds) if settings.folds else [None]
        copies = range(settings.copies) if settings.copies > 1 else [None]
        made = [cls(settings, split, fold, copy) for fold in folds for copy in copies]
        return [replace(step, holds_out=not number) for number, step in enumerate(made)]

    @cached_property
    def model(self) -> ReferenceSettings:
        """Returns the settings of this model."""
        return self.settings.of_model(self.copy or 0)

    @property
    def max_bytes(self) -> int:
        return self.settings.max_bytes

    def content(self) -> object:
        own = self.model.model_dump(exclude=SAME_WEIGHTS)
        return own if self.fold is not None else {**own, "holdout": self.settings.held_out}

    def make(self, folder: Path, texts: Iterable[str]) -> dict[str, Any]:
        from siftlm.proxies.trainer import train_reference_into

        return train_reference_into(folder, texts, self.model)

    def rehearse(self, task: Task, store: Store) -> float:
        """Trains on the sample for 0.5 and 2.5 epochs, and returns the training time scaled from the difference.

        All models of the run take the same time, so the first is timed, and the others are trained for a moment.
        """
        texts, first = list(chosen_texts(task, store)), self.members(self.settings, self.split)[0]
        told = store.path(first.name, "rehearsed", SUFFIX)
        if self.name != first.name:
            self._sampled(task.key, 0.1, texts, store)
            return float(read_value(told, store))
        spent = [
            self._sampled(task.key if epochs == 2.5 else f"{epochs}", epochs, texts, store)
            for epochs in (0.1, 0.5, 2.5)  # the first loads packages; what the others share is no matter of size
        ]
        seconds = max(0.0, spent[2] - spent[1]) / 2.0 * self.settings.epochs * self._share
        write_value(told, seconds, store)
        return seconds

    def _sampled(self, key: str, epochs: float, texts: Sequence[str], store: Store) -> float:
        """Seconds of a training for so many epochs."""
        started = time.monotonic()
        trained(self.name, key, "sample", self.model.model_copy(update={"epochs": epochs}), texts, store)
        return time.monotonic() - started


@dataclass(frozen=True)
class NgramReference(TrainingStep):
    """Trains an n-gram model; its copies would be equal, so it has none."""

    alone: ClassVar[str] = NGRAMS
    several: ClassVar[str] = SEVERAL_NGRAMS

    @classmethod
    def members(cls, settings: ReferenceJobSettings, split: Split) -> list[Self]:
        folds = range(settings.folds) if settings.folds else [None]
        return [cls(settings, split, fold, holds_out=not number) for number, fold in enumerate(folds)]

    @property
    def model(self) -> NgramReferenceSettings:
        """Returns the settings of the model."""
        assert self.settings.ngram is not None, "an n-gram model has its settings"
        return self.settings.ngram

    @property
    def max_bytes(self) -> int | None:
        return self.model.max_bytes

    def content(self) -> object:
        pieces = filesystem.fingerprint(self.model.pieces) if self.model.pieces else ""
        own = self.model.model_dump(mode="json", exclude={*SAME_MODEL, "pieces"})
        return NGRAM_VERSION, own, pieces, () if self.fold is not None else self.settings.held_out

    def make(self, folder: Path, texts: Iterable[str]) -> dict[str, Any]:
        from siftlm.ngram.train import train_on_texts

        read = texts if self.max_bytes is None else limited(texts, self.max_bytes)
        place = "reference.ngram" if self.fold is None else f"reference.ngram without fold {self.fold}"
        made = train_on_texts(read, place, [str(folder / TRAINED_NGRAMS)], self.model)
        counts = {"sentences": made.sentences, "tokens": made.tokens, "ngrams": list(made.smooth.counts)}
        return counts | ({SIGNS: made.signs} if made.signs else {})

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns a warning where texts have signs of n-gram models as words."""
        signs = sum(marker.facts.get(SIGNS, 0) for marker in markers)
        told = f"{self.name}: {signs:,} words of its texts were read as spaces, for they are signs of n-gram models"
        first = self.fold in (None, 0, 1)  # one of these two folds trains on any document
        return Told([f"{told}: {', '.join(REFUSED)}"] if signs and first else [])

    def rehearse(self, task: Task, store: Store) -> float:
        """Trains on the sample and on twenty times the sample, and returns the time scaled from the difference."""
        texts, spent = list(chosen_texts(task, store)), []
        for key, times in ((f"{task.key}.first", 1), (task.key, 1), (f"{task.key}.more", 20)):  # the first compiles
            started = time.monotonic()
            repeated = texts * times
            made_once(self.name, key, "sample", store, lambda folder, of=repeated: self.make(folder, of))  # type: ignore[misc]
            spent.append(time.monotonic() - started)
        return max(0.0, spent[2] - spent[1]) / 19 * self._share


def reference_steps(
    settings: ReferenceJobSettings, split: Split, scores: Sequence[ScoreSettings]
) -> list[TrainingStep]:
    """Returns the steps that train what scores await; a reference model is trained for its own sake, too."""
    awaited = {isinstance(score, NgramModelSettings) for score in scores if score.awaited}
    neural = Reference.members(settings, split) if not settings.ngram or False in awaited else []
    ngrams = NgramReference.members(settings, split) if settings.ngram else []
    return [*neural, *(replace(step, holds_out=step.holds_out and not neural) for step in ngrams)]


def made_once(stage: str, key: str, name: str, store: Store, make: Callable[[Path], dict[str, Any]]) -> Marker:
    """Returns the marker of a folder in the store, which `make` fills first if it is missing.

    `make` returns the facts of the marker. Where another process fills the folder, it is waited for.
    """
    if marker := store.find(stage, key):
        return marker
    target = store.path(stage, key, "")
    if not paths.is_local(target):
        raise NotImplementedError(f"{target}: reference models are trained on a local file system")
    folder = Path(filesystem.local(target))
    with alone_in(folder):
        if marker := store.find(stage, key):  # another process may have made it meanwhile
            return marker
        facts = make(folder)
        return store.commit(Marker(stage, key, name, rows_in=0, rows_out=0, files=store.seals(stage, key), facts=facts))


def trained(stage: str, key: str, name: str, settings: ReferenceSettings, texts: Iterable[str], store: Store) -> Marker:
    """Returns the marker of a causal model in the store, which is trained first if it is missing.

    A training that was interrupted goes on from its last checkpoint, which lies in the model's folder.
    """
    from siftlm.proxies.trainer import train_reference_into

    return made_once(stage, key, name, store, lambda folder: train_reference_into(folder, texts, settings))


def held_out_texts(split: Split, shards: Sequence[Task], store: Store) -> Iterator[str]:
    """Yields the texts of the held-out split, in the order of the run."""
    for task in shards:
        yield from chosen_texts(task, store, split.losses(task, store)[:, 0] == HELD_OUT)
