"""Trains the reference model on a held-out share of the deduplicated corpus."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from siftlm import filesystem, paths
from siftlm.engine.drive import Context
from siftlm.engine.shards import Task
from siftlm.engine.step import Loss, Step
from siftlm.proxies.trainer import ReferenceSettings
from siftlm.proxies.training.settings import SAME_WEIGHTS
from siftlm.selectors.reasons import HELD_OUT
from siftlm.stages.edit import EDITED
from siftlm.stages.eligible import Split
from siftlm.stages.places import REFERENCE as HELD
from siftlm.stages.texts import chosen_texts
from siftlm.store import Marker, Store

VERSION = 3
STAGE = "reference"


class ReferenceJobSettings(ReferenceSettings):
    """Configures a reference model that the run trains on documents that it leaves out of the selection."""

    holdout: float = Field(0.1, gt=0, lt=1, description="Share of the deduplicated documents that train the model.")


@dataclass(frozen=True)
class Reference(Step):
    """Trains the reference model on the documents that the split holds out, in this process, without Beam."""

    settings: ReferenceJobSettings
    split: Split
    name: str = STAGE
    reads: tuple[str, ...] = (*EDITED, *Split.reads)
    per: ClassVar[Literal["run"]] = "run"
    by_model: ClassVar[bool] = True

    def identity(self) -> object:
        return VERSION, self.settings.model_dump(exclude=SAME_WEIGHTS), self.split.identity()

    def losses(self) -> Sequence[Loss]:
        return [Loss(HELD, f"is not in the {self.settings.holdout:.6g} that train the reference model")]

    def rehearse(self, task: Task, store: Store) -> float:
        """Trains on the sample for 0.5 and 2.5 epochs, and returns the training time scaled from the difference."""
        texts, spent = list(chosen_texts(task, store)), []
        for epochs in (0.1, 0.5, 2.5):  # the first loads packages; what the others share is no matter of size
            started = time.monotonic()
            settings = self.settings.model_copy(update={"epochs": epochs})
            trained(STAGE, task.key if epochs == 2.5 else f"{epochs}", "sample", settings, texts, store)
            spent.append(time.monotonic() - started)
        return max(0.0, spent[2] - spent[1]) / 2.0 * self.settings.epochs * self.settings.holdout

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        texts = held_out_texts(self.split, tasks, context.store)
        return [trained(STAGE, tasks[0].key, "all", self.settings, texts, context.store)]


def trained(stage: str, key: str, name: str, settings: ReferenceSettings, texts: Iterable[str], store: Store) -> Marker:
    """Returns the marker of a model in the store, which is trained first if it is missing.

    Where another process trains it, it is waited for. A training that was interrupted goes on from its last checkpoint,
    which lies in the model's folder.
    """
    if marker := store.find(stage, key):
        return marker
    from siftlm.proxies.trainer import train_reference_into
    from siftlm.proxies.training.alone import alone_in

    target = store.path(stage, key, "")
    if not paths.is_local(target):
        raise NotImplementedError(f"{target}: reference models are trained on a local file system")
    folder = Path(filesystem.local(target))
    with alone_in(folder):
        if marker := store.find(stage, key):  # another process may have made it meanwhile
            return marker
        facts = train_reference_into(folder, texts, settings)
        return store.commit(Marker(stage, key, name, rows_in=0, rows_out=0, files=store.seals(stage, key), facts=facts))


def held_out_texts(split: Split, shards: Sequence[Task], store: Store) -> Iterator[str]:
    """Yields the texts of the held-out split, in the order of the run."""
    for task in shards:
        yield from chosen_texts(task, store, split.losses(task, store)[:, 0] == HELD_OUT)
