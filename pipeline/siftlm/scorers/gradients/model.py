"""Takes the gradients of documents under a causal language model of transformers, batch by batch.

A batch has one backward pass, from the losses to the first chosen layer, whatever the number of its documents; no
weight has a gradient in it. What each document needs of its own is made of what chosen layers read and what came back
to them (`products`). For the output matrix there is no backward pass at all, for what comes back to the logits is
known: softmax - one-hot.

Shapes: N texts, B rows of a batch, L tokens, M numbers of a document.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from numpy.typing import NDArray
from transformers.activations import NewGELUActivation

from siftlm.errors import UserError, reason_of
from siftlm.scorers.batches import Batches
from siftlm.scorers.devices import pick_device
from siftlm.scorers.gradients.layers import OUTPUT, Capture, UnknownModuleError, find_layers
from siftlm.scorers.gradients.options import GradientOptions
from siftlm.scorers.gradients.products import FactoredGradients, Gradients, WholeGradient
from siftlm.scorers.gradients.reference import document_gradient
from siftlm.scorers.gradients.windows import Batch, Tokens, Work, batches, plan, trial_batch
from siftlm.scorers.lm_bf16 import check_cpu_dtype
from siftlm.scorers.lm_causal import FORWARD_ERRORS, has_parted_head, usable_positions
from siftlm.scorers.lm_files import ModelFiles
from siftlm.scorers.lm_forward import single_threaded_workers
from siftlm.scorers.lm_model import DTYPES, causal_model, check_vocabulary
from siftlm.scorers.lm_tokens import load_tokenizer

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Measure = Callable[[Gradients], torch.Tensor]
"""Gives M numbers of each of B gradients, float64 [B, M]."""

DEFAULT_CONTEXT = 2048
CUDA_WORKERS = 2
LOGITS = 1 << 25  # float32 values of a batch's logits: 128 MiB
TRIAL_AGREEMENT = {"fp32": 1e-3, "bf16": 0.1}  # of squared norms, relative


@dataclass
class Taking(Batches):
    """Holds the numbers of N texts, float64 [N, M], that the model is computing; NaN of those without a token."""

    place: str
    tokens: Tokens
    values: Floats
    columns: Callable[[Floats, NDArray[np.bool_]], pa.RecordBatch]

    def finish(self) -> pa.RecordBatch:
        """Returns the columns, one row for each text, in order; cancels the remaining work on an error."""
        with self.finished():
            failed = (self.tokens.predicted > 0) & ~np.isfinite(self.values).all(axis=1)
        if failed.any():
            log.warning("%s: %d texts have values that are not finite, so null", self.place, failed.sum())
        return self.columns(self.values, self.tokens.truncated)


class GradientModel:
    """Computes numbers of the gradients of texts.

    Raises:
        UserError: the model does not load, is not causal, lacks the layers, or its device does not suit.
    """

    def __init__(self, settings: GradientOptions, files: ModelFiles) -> None:
        self.settings, self.files, self.place = settings, files, settings.place
        self.device = pick_device(f"{self.place}.device", settings.device)
        if self.device.type == "cpu":
            check_cpu_dtype(f"{self.place}.dtype", settings.dtype, ("fp32",))
        cores = settings.threads or len(os.sched_getaffinity(0))
        self.workers = single_threaded_workers(cores if self.device.type == "cpu" else CUDA_WORKERS)
        place = f"{self.place}.model"
        self.tokenizer = load_tokenizer(place, files, settings.bos_mode, False, "auto", settings.trust_remote_code)
        self.model = with_one_gelu(self.read())
        check_vocabulary(place, self.model, self.tokenizer.size)
        positions = usable_positions(self.model)
        has_parted_head(place, files.name, self.model, positions)  # which refuses models that are not causal
        self.context = self._context(positions)
        self.model = self.model.to(device=self.device, dtype=DTYPES[settings.dtype])
        self.layers = find_layers(f"{self.place}.layers", self.model, settings.chosen_layers)
        self._placed = "position_ids" in inspect.signature(self.model.forward).parameters
        self.capture = self._captured()

    def read(self) -> Any:
        """Returns the model in float32."""
        return causal_model(f"{self.place}.model", self.files, self.settings.trust_remote_code)

    @property
    def vocabulary(self) -> int:
        """Returns how many logits a token has."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    def tokenise(self, texts: pa.Array) -> Tokens:
        """Returns the tokens of the texts, with the one before each."""
        ids = self.tokenizer.encode([text or "" for text in texts.to_pylist()])
        if self.tokenizer.prefix is not None:
            ids = ids.with_prefix(self.tokenizer.prefix)
        return Tokens.of(ids, self.context + 1 if self.settings.long == "cut" else None)

    def begin(
        self,
        tokens: Tokens,
        measure: Measure,
        width: int,
        columns: Callable[[Floats, NDArray[np.bool_]], pa.RecordBatch],
    ) -> Taking:
        """Starts on texts, queued after those that the model has already, and returns without waiting.

        Args:
            tokens: The texts.
            measure: What is computed of gradients.
            width: How many numbers that are.
            columns: What makes columns of float64 [N, width] and of bool [N], which texts were cut.
        """
        going = Taking(self.place, tokens, np.full((len(tokens.truncated), width), np.nan), columns)
        area = max(1, min(self.settings.batch_tokens, LOGITS // self.vocabulary))
        for work in plan(tokens, self.context, area):
            going.batches.append(self.workers.submit(self._fill_in, work, tokens, measure, going.values))
        return going

    def metadata(self) -> dict[str, str]:
        """Returns strings that describe the model and its settings, for the metadata of a file of values."""
        return {
            "model": self.settings.model,
            "model_digest": self.files.digest(),
            "revision": self.files.revision or self.settings.revision or "",
            "model_type": str(self.model.config.model_type),
            "layers": self.settings.chosen_layers,
            "parameters": str(sum(parameter.numel() for parameter in self.layers.parameters.values())),
            "context_tokens": str(self.context),
            "long_documents": self.settings.long,
            "prefix_token": str(self.tokenizer.prefix),
            "gradients": "one document at a time" if self.capture is None else "batches",
            "dtype": self.settings.dtype,
            "device": self.device.type,
            "tokenizer_class": self.tokenizer.class_name,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        }

    def _context(self, positions: int | None) -> int:
        """Tokens that are read of a window."""
        wanted = self.settings.context_tokens
        if wanted is not None and positions is not None and wanted > positions:
            raise UserError(f"{self.place}.context_tokens: must be at most the model's {positions}, got {wanted}")
        return wanted or min(positions or DEFAULT_CONTEXT, DEFAULT_CONTEXT)

    def _fill_in(self, work: Work, tokens: Tokens, measure: Measure, values: Floats) -> None:
        try:
            if self.capture is None or not work.whole:
                for number, gradient in self._one_by_one(work, tokens):
                    values[number] = measure(gradient)[0]
                return
            (batch,) = batches(work, tokens, self.tokenizer.prefix or 0)
            values[work.documents] = measure(self._together(batch, self.capture))[: len(work.documents)]
        except FORWARD_ERRORS as error:
            raise UserError(
                f"{self.place}.model: must give gradients of a text, got {self.files.name!r}; {reason_of(error)}"
            ) from error

    def _one_by_one(self, work: Work, tokens: Tokens) -> Iterator[tuple[int, Gradients]]:
        """(document, gradient) of the documents of some work, each made whole, windows added up."""
        if not work.whole:
            total: dict[str, torch.Tensor] = {}
            for batch in batches(work, tokens, self.tokenizer.prefix or 0):
                part = self._whole(batch, 0)
                total = {name: total[name] + part[name] for name in part} if total else part
            yield work.documents[0], WholeGradient(total)
            return
        (batch,) = batches(work, tokens, self.tokenizer.prefix or 0)
        for row, number in enumerate(work.documents):
            yield number, WholeGradient(self._whole(batch, row))

    def _whole(self, batch: Batch, row: int) -> dict[str, torch.Tensor]:
        capture = self.capture
        return self._by_autograd(batch, row) if capture is None else self._together(batch, capture).whole(row)

    def _by_autograd(self, batch: Batch, row: int) -> dict[str, torch.Tensor]:
        read = int((batch.weights[row] > 0).sum())
        ids_L, target_L = (torch.from_numpy(of[row, :read]).to(self.device) for of in (batch.ids, batch.targets))
        weight = float(batch.weights[row, 0])
        return document_gradient(self.model, self.layers.parameters, ids_L, target_L, weight)

    def _together(self, batch: Batch, capture: Capture) -> FactoredGradients:
        """The gradients of the B documents of a batch."""
        ids_BL, target_BL, weights_BL = (
            torch.from_numpy(of).to(self.device) for of in (batch.ids, batch.targets, batch.weights)
        )
        given: dict[str, Any] = {}
        if self._placed:  # one for each row, so that tables of positions keep documents apart
            given["position_ids"] = torch.arange(ids_BL.shape[1], device=self.device).expand_as(ids_BL)
        with capture.calling() as calls, torch.enable_grad():
            logits_BLV = self.model(ids_BL, attention_mask=torch.ones_like(ids_BL), use_cache=False, **given).logits
            slope_BLV = nll_slope(logits_BLV.detach(), target_BL, weights_BL)
            return capture.gradients(calls, logits_BLV, slope_BLV)

    def _captured(self) -> Capture | None:
        """What catches calls; None where only autograd, a document at a time, gives this model's gradients."""
        try:
            capture = Capture.of(self.layers)
            # The output matrix counts where logits are made alone; autograd adds what it is tied to.
            reason = "" if OUTPUT in self.layers.parameters else self._disagreement(capture)
        except (UnknownModuleError, *FORWARD_ERRORS) as error:
            reason = reason_of(error)
        if not reason:
            return capture
        log.warning("%s: gradients are taken one document at a time, which is slow: %s", self.place, reason)
        for parameter in self.layers.parameters.values():
            parameter.requires_grad_(True)
        return None

    def _disagreement(self, capture: Capture) -> str:
        """How far the gradients of short documents are from autograd's, in words; empty where they agree."""
        batch = trial_batch(self.context, self.vocabulary)
        ours = self._together(batch, capture).squares()
        for parameter in self.layers.parameters.values():
            parameter.requires_grad_(True)
        by_autograd = [WholeGradient(self._by_autograd(batch, row)).squares() for row in range(len(batch.ids))]
        for parameter in self.layers.parameters.values():
            parameter.requires_grad_(False)
        truth = torch.cat(by_autograd)
        apart = float(((ours - truth).abs() / truth.clamp_min(torch.finfo(torch.float32).tiny)).max())
        if not bool(truth.isfinite().all()) or apart <= TRIAL_AGREEMENT[self.settings.dtype]:
            return ""  # a model without finite numbers gives none either way
        return f"in batches the squared norm of one is off by {apart:.1%}"


def with_one_gelu(model: Any) -> Any:
    """Returns the model with GPT-2's GELU as one operation of torch, which is eight of them in transformers."""
    for module in list(model.modules()):
        for name, part in list(module.named_children()):
            if type(part) is NewGELUActivation:
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return model


def nll_slope(logits_BLV: torch.Tensor, target_BL: torch.Tensor, weights_BL: torch.Tensor) -> torch.Tensor:
    """Returns the gradient of the weighted nats at the logits, weight * (softmax - one-hot), in the logits' dtype."""
    slope_BLV = logits_BLV.softmax(-1, dtype=torch.float32)
    slope_BLV.scatter_add_(2, target_BL[..., None], torch.full_like(target_BL, -1, dtype=torch.float32)[..., None])
    return slope_BLV.mul_(weights_BL[..., None]).to(logits_BLV.dtype)
