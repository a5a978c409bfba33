"""Takes one AdamW step of a model on a window of each text, and measures an objective.

Shapes: N texts, W windows, B windows of a pass, L tokens of a window.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from numpy.typing import NDArray

from siftlm.errors import UserError, reason_of
from siftlm.scorers.batches import Batches
from siftlm.scorers.devices import pick_device
from siftlm.scorers.gradients.gain_options import InformationGainOptions
from siftlm.scorers.gradients.reference import token_nll
from siftlm.scorers.lm_causal import FORWARD_ERRORS, has_parted_head, usable_positions
from siftlm.scorers.lm_files import ModelFiles
from siftlm.scorers.lm_forward import single_threaded_workers
from siftlm.scorers.lm_model import causal_model, check_vocabulary
from siftlm.scorers.lm_tokens import load_tokenizer
from siftlm.statistics.hashing import hash_strings, keyed, uniform

ADAM_EPSILON = 1e-8
CLIP_EPSILON = 1e-6  # of torch's clip_grad_norm_
LOGITS = 1 << 25


@dataclass(frozen=True)
class Parts:
    """Holds a window of every text that has enough tokens, int64 [W, L], and which texts have, bool [N]."""

    ids: NDArray[np.int64]
    enough: NDArray[np.bool_]


@dataclass
class Stepping(Batches):
    """Holds the gains of W windows, float64, that are being computed."""

    parts: Parts
    schema: pa.Schema
    gains: NDArray[np.float64]

    def finish(self) -> pa.RecordBatch:
        """Returns the columns, one row for each text, in order; cancels the remaining work on an error."""
        with self.finished():
            values = np.full(len(self.parts.enough), np.nan)
            values[self.parts.enough] = self.gains
        arrays = [pa.array(values, mask=~np.isfinite(values)), pa.array(~self.parts.enough)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class GainModel:
    """Computes what a step on a window gains, each worker by a model of its own.

    Raises:
        UserError: the model does not load or is not causal, or no text of the objective has a window.
    """

    def __init__(self, settings: InformationGainOptions, files: ModelFiles, objective: Sequence[str]) -> None:
        self.settings, self.files, self.place = settings, files, settings.place
        self.device = pick_device(f"{self.place}.device", settings.device)
        cores = settings.threads or len(os.sched_getaffinity(0))
        self.workers = single_threaded_workers(cores if self.device.type == "cpu" else 1)
        place, trust = f"{self.place}.model", settings.trust_remote_code
        self.tokenizer = load_tokenizer(place, files, "none", False, "auto", trust)
        model = causal_model(place, files, trust)
        check_vocabulary(place, model, self.tokenizer.size)
        positions = usable_positions(model)
        if positions is not None and settings.window_tokens > positions:
            raise UserError(
                f"{self.place}.window_tokens: must be at most the model's {positions} positions, got "
                f"{settings.window_tokens}"
            )
        has_parted_head(place, files.name, model, positions)  # which refuses models that are not causal
        self.model = model.to(self.device)
        self._own = local()
        self.objective = self._windows_of(pa.array(objective, pa.large_string())).ids[: settings.objective_windows]
        if not len(self.objective):
            raise UserError(
                f"{self.place}.objective: must hold a text of {settings.window_tokens} tokens, got none among "
                f"{len(objective)}"
            )
        self.before = self.workers.submit(self.perplexity, self.model).result()

    def tokenise(self, texts: pa.Array) -> Parts:
        """Returns a window of each text that is long enough, where a keyed hash of the text says."""
        return self._windows_of(texts)

    def begin(self, parts: Parts, schema: pa.Schema) -> Stepping:
        """Starts on windows, queued after those that it has already, and returns without waiting."""
        going = Stepping(parts, schema, np.zeros(len(parts.ids)))
        for number in range(len(parts.ids)):
            going.batches.append(self.workers.submit(self._fill_in, number, parts.ids[number], going.gains))
        return going

    @torch.no_grad()
    def perplexity(self, model: Any) -> float:
        """Returns exp(mean over the objective's windows of their mean nll) of a model."""
        at_once = max(1, LOGITS // (self.objective.shape[1] * int(model.get_output_embeddings().weight.shape[0])))
        means = []
        for start in range(0, len(self.objective), at_once):
            ids_BL = torch.from_numpy(self.objective[start : start + at_once]).to(self.device)
            means.append(token_nll(model, ids_BL[:, :-1], ids_BL[:, 1:]).double().mean(1))
        return float(torch.cat(means).mean().exp())

    def metadata(self) -> dict[str, str]:
        """Returns strings that describe the model and its settings, for the metadata of a file of values."""
        return {
            "model": self.settings.model,
            "model_digest": self.files.digest(),
            "revision": self.files.revision or self.settings.revision or "",
            "objective_windows": str(len(self.objective)),
            "objective_perplexity": repr(self.before),
            "window_tokens": str(self.settings.window_tokens),
            "device": self.device.type,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        }

    def _windows_of(self, texts: pa.Array) -> Parts:
        wanted = self.settings.window_tokens
        strings = [text or "" for text in texts.to_pylist()]
        shares = uniform(keyed(hash_strings(pa.array(strings, pa.large_string())), 0, "information gain")).tolist()
        encoded = self.tokenizer.encode(strings).texts()
        enough = np.array([len(ids) >= wanted for ids in encoded], np.bool_)
        chosen = [
            ids[int(share * (len(ids) - wanted + 1)) :][:wanted]
            for ids, share in zip(encoded, shares, strict=True)
            if len(ids) >= wanted
        ]
        return Parts(np.array(chosen, np.int64).reshape(-1, wanted), enough)

    def _fill_in(self, number: int, ids_L: NDArray[np.int64], gains: NDArray[np.float64]) -> None:
        try:
            gains[number] = self.before - self._after(torch.from_numpy(ids_L).to(self.device))
        except FORWARD_ERRORS as error:
            raise UserError(
                f"{self.place}.model: must give gradients of a text, got {self.files.name!r}; {reason_of(error)}"
            ) from error

    def _after(self, ids_L: torch.Tensor) -> float:
        """The perplexity of the objective after a step on a window; the weights are put back."""
        model = self._copy()
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        with torch.enable_grad():
            loss = token_nll(model, ids_L[None, :-1], ids_L[None, 1:]).mean()
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
        kept = [parameter.detach().clone() for parameter in parameters]
        step_of_adamw(parameters, found, self.settings.learning_rate, self.settings.clip_norm)
        after = self.perplexity(model)
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.data.copy_(value)
        return after

    def _copy(self) -> Any:
        """This thread's own copy of the model."""
        if not hasattr(self._own, "model"):
            self._own.model = deepcopy(self.model).requires_grad_(True)
        return self._own.model


@torch.no_grad()
def step_of_adamw(
    parameters: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor | None], rate: float, clip_norm: float
) -> None:
    """Moves parameters as the first step of AdamW without weight decay does, after the gradient's norm was clipped.

    With empty moments, corrected for it, the step is rate * g / (|g| + 1e-8) whatever the betas.
    """
    known = [(parameter, grad) for parameter, grad in zip(parameters, gradients, strict=True) if grad is not None]
    norm = torch.stack([grad.square().sum() for _, grad in known]).sum().sqrt()
    share = torch.clamp(clip_norm / (norm + CLIP_EPSILON), max=1.0)
    for parameter, grad in known:
        clipped = grad * share
        parameter.sub_(rate * clipped / (clipped.abs() + ADAM_EPSILON))
