"""Defines scorers that run a transformers model of their own over whole documents, a step for each model."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from pydantic import Field

from siftlm.errors import UserError
from siftlm.paths import ModelPlace
from siftlm.scorers.devices import DeviceName, without_number
from siftlm.scorers.held_model import HeldModel
from siftlm.scorers.lm_files import ModelFiles, find_model
from siftlm.scorers.protocol import Cost, NamedSettings
from siftlm.scorers.score import Pending

SAME_VALUES = frozenset({"name", "model", "revision", "window_documents", "threads"})
"""Settings that decide no value. The model counts by its digest, not by where it is."""
T = TypeVar("T")


class DocumentModelSettings(NamedSettings):
    """Configures which model reads documents, and on which device.

    Attributes:
        told: What is told of every document that the model has read, as the end of a column's name.
        same_values: The settings that decide no value.
    """

    told: ClassVar[str]
    same_values: ClassVar[frozenset[str]] = SAME_VALUES
    table: ClassVar = "annotate.models"
    cost: ClassVar[Cost] = "large model"
    packages: ClassVar = ("torch", "transformers", "tokenizers")
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the column, or the beginning of several.")
    model: ModelPlace = Field(description="A hub id or a local folder of a model.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub model.")
    device: DeviceName = Field(
        "auto", description="`cpu`; `cuda`, all CUDA devices of a machine, each in a process of its own; `cuda:N`, the "
        "one of that number; `auto`, which is `cuda` where there is a device.",
    )  # fmt: skip
    window_documents: int = Field(4096, ge=1, description="Documents that are sorted by length together.")
    threads: int | None = Field(
        None, ge=1, description="Texts in the model at a time on a CPU, one thread each; default one a core."
    )
    trust_remote_code: bool = Field(False, description="Run model code that comes with the model.")
    allow_pickle: bool = Field(False, description="Load pickled weights, which can run any code.")

    def scorer(self) -> DocumentModelScorer[Any]:
        raise NotImplementedError(f"{self.kind} must have a scorer")

    @property
    def runs_on(self) -> str:
        """Returns the name of the device that the model runs on, as the configuration has it."""
        return self.device

    @property
    def looked_column(self) -> str:
        """Returns the name of the boolean column that is null only for documents that the model has not read."""
        return f"{self.name}_{self.told}"


class DocumentModelScorer(HeldModel[T]):
    """Computes columns by a model that is loaded at the first document, in two steps as `ScoreScorer` does."""

    settings: DocumentModelSettings
    version: ClassVar[int] = 1  # raised when the same settings and model give other values

    def identity(self, content: str) -> str:
        """Returns 32 hex digits over all that decides the values: model files, settings and this code's version."""
        settings = self.settings.model_dump(mode="json", exclude=set(self.settings.same_values))
        settings["device"] = without_number(self.settings.device)
        return xxhash.xxh3_128_hexdigest(json.dumps([self.version, content, settings], sort_keys=True).encode())

    def metadata(self) -> dict[str, str]:
        """Returns what a reader must know to use or repeat the values; loads the model."""
        raise NotImplementedError

    def tokenise(self, texts: pa.Array) -> Any:
        """Returns what the model reads of the texts, the first step of `score`."""
        raise NotImplementedError

    def begin(self, inputs: Any) -> Pending:
        """Starts the model on the texts, queued after those that it has already, and returns without waiting."""
        raise NotImplementedError

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.begin(self.tokenise(batch["text"])).finish()

    def labels(self, texts: pa.Array) -> NDArray[np.float64]:
        """Returns the number of each text that a learner is to predict, NaN without one: by default the first column.

        Raises:
            UserError: the first column holds no numbers.
        """
        column = self.fields()[0]
        if not pa.types.is_floating(column.type):
            raise UserError(f"{self.settings.place}: must have a column of numbers to distil, got {column.name!r}")
        parts = [texts[start : start + self.settings.window_documents] for start in self._starts(len(texts))]
        found = [self.score(pa.record_batch({"text": part}))[column.name].cast(pa.float64()) for part in parts]
        return np.concatenate([np.zeros(0), *(part.fill_null(np.nan).to_numpy() for part in found)])

    def _starts(self, texts: int) -> range:
        return range(0, texts, self.settings.window_documents)

    @cached_property
    def files(self) -> ModelFiles:  # type: ignore[override]
        """Returns the files of the model, and downloads a hub model at the first call."""
        chosen = self.settings
        return find_model(f"{chosen.place}.model", chosen.model, None, chosen.revision, chosen.allow_pickle)
