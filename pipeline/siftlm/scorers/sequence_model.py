"""Runs a transformers model with a sequence classification head over texts.

On a CPU every text goes through the model alone, without padding: a matrix library's last bits depend on the shape of
its inputs and on a row's place among others, so a value would depend on a text's neighbours. Single-threaded passes in
parallel make up for it. On CUDA texts of similar length share a padded batch.

Shapes: N texts, B texts of a batch, L tokens, K outputs.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from numpy.typing import NDArray

from siftlm.errors import NoRoomError, UserError, reason_of
from siftlm.scorers.batches import Batches
from siftlm.scorers.devices import pick_device
from siftlm.scorers.lm_agreement import check_values, sample_texts
from siftlm.scorers.lm_bf16 import check_cpu_dtype, round_products
from siftlm.scorers.lm_blocks import use_blocked_attention
from siftlm.scorers.lm_causal import FORWARD_ERRORS, usable_positions
from siftlm.scorers.lm_files import ModelFiles
from siftlm.scorers.lm_forward import out_of_memory, padded_length, single_threaded_workers
from siftlm.scorers.lm_model import DTYPES, check_vocabulary, checked, half_precision, read_model
from siftlm.scorers.lm_tokens import read_tokenizer
from siftlm.scorers.sequence_heads import ClassifierHead
from siftlm.scorers.sequence_options import SequenceClassifierOptions

log = logging.getLogger(__name__)

CUDA_WORKERS = 2
MOST_TOKENS = 8192  # by default: attention of some families takes memory by the square of it
CHARACTERS = 16  # of a text for each token that the model reads, at first: more are looked at where they are too few
IDS = "input_ids"
Row = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class ModelInputs:
    """Holds the inputs of a model for N texts, by name; those of an empty or white text are none."""

    rows: list[Row]
    truncated: list[bool]


@dataclass
class Rating(Batches):
    """Holds the outputs of N texts, float32 [N, K], that the model is computing."""

    model: SequenceModel
    inputs: ModelInputs
    chosen: Sequence[int] | None
    schema: pa.Schema
    outputs: NDArray[np.float32]

    def finish(self) -> pa.RecordBatch:
        """Returns the columns, one row for each text, in order; cancels the remaining work on an error."""
        with self.finished():
            self.model.repeat_infinite(self.inputs, self.outputs)
        self._warn_of_failed()
        return columns(self.outputs, self.inputs.truncated, self.model.head, self.chosen, self.schema)

    def _warn_of_failed(self) -> None:
        if number := len(failed_texts(self.inputs, self.outputs)):
            log.warning("%s: %d texts have values that are not finite, so null", self.model.place, number)


def failed_texts(inputs: ModelInputs, outputs: NDArray[np.float32]) -> list[int]:
    """Returns the numbers of the texts that the model read and gave values that are not finite."""
    failed = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    return [number for number in failed.tolist() if _tokens(inputs.rows[number])]


def columns(
    outputs: NDArray[np.float32],
    truncated: list[bool],
    head: ClassifierHead,
    chosen: Sequence[int] | None,
    schema: pa.Schema,
) -> pa.RecordBatch:
    """Returns the columns of a scorer from the outputs of N texts; those that are not finite are null.

    Args:
        chosen: The outputs that have a column each; None for the highest one and its label, of equals the first.
    """
    failed = ~np.isfinite(outputs).all(axis=1)
    if chosen is not None:
        arrays = [pa.array(outputs[:, number], mask=failed) for number in chosen]
    else:
        best = np.where(failed, 0, np.where(np.isnan(outputs), -np.inf, outputs).argmax(axis=1))
        labels = pa.array(head.labels, pa.string()).take(pa.array(best, mask=failed))
        arrays = [pa.array(outputs[np.arange(len(best)), best], mask=failed), labels]
    return pa.RecordBatch.from_arrays([*arrays, pa.array(truncated, pa.bool_())], schema=schema)


class SequenceModel:
    """Computes the outputs of a sequence classification model for texts."""

    def __init__(self, settings: SequenceClassifierOptions, files: ModelFiles, head: ClassifierHead) -> None:
        self.settings, self.files, self.head, self.place = settings, files, head, settings.place
        self.device = pick_device(f"{self.place}.device", settings.device)
        cores = settings.threads or len(os.sched_getaffinity(0))
        self.workers = single_threaded_workers(cores if self.device.type == "cpu" else CUDA_WORKERS)
        self.tokenizer = read_tokenizer(f"{self.place}.model", files, settings.trust_remote_code)
        self._tokenising = Lock()  # how a tokenizer truncates is a state of it
        self.model, self.dtype = self._read(), "fp32"
        check_vocabulary(f"{self.place}.model", self.model, len(self.tokenizer))
        self.max_tokens = self._most_tokens(usable_positions(self.model))
        self.agreement: dict[str, str] = {}  # with float32 on sample texts
        if self.device.type == "cpu":
            check_cpu_dtype(f"{self.place}.dtype", settings.dtype, ("fp32",))
            self._check_outputs()
            if settings.dtype == "bf16":
                self._round()
            return
        self.dtype = half_precision(self.model, self.device) if settings.dtype == "auto" else settings.dtype
        self.model = self.model.to(device=self.device, dtype=DTYPES[self.dtype])
        self._check_outputs()

    def tokenise(self, texts: pa.Array) -> ModelInputs:
        """Returns what the model reads of every text: nothing of one that is null, empty or white.

        Of a long text its tokenizer sees a beginning that has at least twice the tokens that the model reads.
        """
        strings = [text or "" for text in texts.to_pylist()]
        rows: list[Row] = [{} for _ in strings]
        waiting = [number for number, text in enumerate(strings) if text.strip()]
        read, most = CHARACTERS * self.max_tokens, self.max_tokens
        with self._tokenising:
            while waiting:
                encoded = self._encode([strings[number][:read] for number in waiting])
                rows_now = dict(zip(waiting, encoded, strict=True))
                waiting = [n for n, row in rows_now.items() if len(strings[n]) > read and _tokens(row) < 2 * most]
                for number in rows_now.keys() - set(waiting):
                    rows[number], strings[number] = rows_now[number], strings[number][:read]
                read *= 4
            truncated = [_tokens(row) > most for row in rows]
            long = [number for number, cut in enumerate(truncated) if cut]
            cut_rows = self._encode([strings[number] for number in long], truncation=True, max_length=most)
        for number, row in zip(long, cut_rows, strict=True):
            rows[number] = row
        return ModelInputs(rows, truncated)

    def begin(self, inputs: ModelInputs, chosen: Sequence[int] | None, schema: pa.Schema) -> Rating:
        """Starts the model on texts, queued after those that it has already, and returns without waiting."""
        outputs = np.full((len(inputs.rows), len(self.head.labels)), np.nan, np.float32)
        batches = [
            self.workers.submit(self._fill_in, self.model, members, length, inputs, outputs)
            for members, length in self._batches(inputs)
        ]
        return Rating(self, inputs, chosen, schema, outputs, batches=batches)

    def repeat_infinite(self, inputs: ModelInputs, outputs: NDArray[np.float32]) -> None:
        """Computes texts whose outputs are not finite again in float32, and overwrites these."""
        if self.dtype == "fp32":
            return
        for number in failed_texts(inputs, outputs):
            length = _tokens(inputs.rows[number])
            self.workers.submit(self._fill_in, self._exact, [number], length, inputs, outputs).result()

    def metadata(self) -> dict[str, str]:
        """Returns strings that describe the model and its settings, for the metadata of a file of values."""
        return {
            "model": self.settings.model,
            "model_digest": self.files.digest(),
            "revision": self.files.revision or self.settings.revision or "",
            "model_type": str(self.model.config.model_type),
            "outputs": ", ".join(self.head.labels),
            "activation": self.head.activation,
            "max_tokens": str(self.max_tokens),
            "dtype": self.dtype,
            "device": self.device.type,
            "batching": "padded" if self._together else "one text at a time",
            "tokenizer_class": type(self.tokenizer).__name__,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        } | self.agreement

    def _round(self) -> None:
        """Rounds the products of the model to bfloat16; UserError where its values of sample texts are others then."""
        rows = self.tokenise(sample_texts()).rows
        exact = self._each(rows)
        round_products(self.model)
        self.dtype, probabilities = "bf16", self.head.activation != "none"
        self.agreement = check_values(f"{self.place}.dtype", exact, self._each(rows), probabilities)

    def _each(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """The outputs [N, K] of texts, one at a time."""
        values = [self.workers.submit(self._values, self.model, [row], _tokens(row)) for row in rows]
        return np.concatenate([value.result() for value in values])

    def _encode(self, texts: list[str], **truncation: Any) -> list[Row]:
        if not texts:
            return []
        encoded = self.tokenizer(texts, verbose=False, **truncation)
        names = [name for name in encoded if name in self._accepted]
        return [{name: encoded[name][row] for name in names} for row in range(len(texts))]

    @cached_property
    def _accepted(self) -> set[str]:
        """The inputs that the model's forward takes by name."""
        return set(inspect.signature(self.model.forward).parameters)

    @property
    def _together(self) -> bool:
        """Whether texts share a batch; a decoder without a padding token would not find the end of a text."""
        return self.device.type == "cuda" and self.model.config.pad_token_id is not None

    def _batches(self, inputs: ModelInputs) -> Iterator[tuple[list[int], int]]:
        """The texts that go through the model together, the longest first, and the length that they are padded to.

        Equal lengths are in the order of their tokens, so that batches do not depend on the order of the texts.
        """
        lengths = [_tokens(row) for row in inputs.rows]
        texts = [number for number, length in enumerate(lengths) if length]
        texts.sort(key=lambda number: (-lengths[number], inputs.rows[number][IDS]))
        if not self._together:
            yield from (([number], lengths[number]) for number in texts)
            return
        for length, same in groupby(texts, key=lambda n: min(padded_length(lengths[n]), self.max_tokens)):
            waiting, rows = list(same), max(1, self.settings.batch_tokens // length)
            yield from ((waiting[start : start + rows], length) for start in range(0, len(waiting), rows))

    def _fill_in(
        self, model: Any, members: list[int], length: int, inputs: ModelInputs, outputs: NDArray[np.float32]
    ) -> None:
        """Fills in the outputs of some texts, in two batches where memory has no room for one."""
        try:
            outputs[members] = self._values(model, [inputs.rows[number] for number in members], length)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(members) == 1:
                raise NoRoomError(
                    f"{self.place}.max_tokens: must fit in the memory of {self.device}, got texts of {length} tokens"
                ) from error
            half = len(members) // 2
            for part in (members[:half], members[half:]):
                self._fill_in(model, part, length, inputs, outputs)

    @torch.inference_mode()
    def _values(self, model: Any, rows: Sequence[Row], length: int) -> NDArray[np.float32]:
        """The outputs [B, K] of texts that are padded on the right to one length."""
        inputs = {name: self._padded(rows, name, length).to(self.device) for name in rows[0]}
        logits_BK = model(**inputs).logits.float()
        if self.head.activation == "softmax":
            logits_BK = logits_BK.softmax(-1)
        elif self.head.activation == "sigmoid":
            logits_BK = logits_BK.sigmoid()
        values: NDArray[np.float32] = logits_BK.cpu().numpy()
        return values

    def _padded(self, rows: Sequence[Row], name: str, length: int) -> torch.Tensor:
        """One input [B, L] of several texts; what pads is 0 but among the tokens."""
        padding = (self.model.config.pad_token_id or 0) if name == IDS else 0
        values_BL = torch.full((len(rows), length), padding)
        for row, inputs in enumerate(rows):
            values_BL[row, : len(inputs[name])] = torch.tensor(inputs[name])
        return values_BL

    def _most_tokens(self, positions: int | None) -> int:
        """How many tokens of a text the model reads."""
        place, wanted = f"{self.place}.max_tokens", self.settings.max_tokens
        special = int(self.tokenizer.num_special_tokens_to_add())
        if wanted is None:
            return int(min(positions or MOST_TOKENS, self.tokenizer.model_max_length, MOST_TOKENS))
        if positions is not None and wanted > positions:
            raise UserError(f"{place}: must be at most the model's {positions}, got {wanted}")
        if wanted <= special:
            raise UserError(f"{place}: must be more than the {special} special tokens of every text, got {wanted}")
        return wanted

    def _check_outputs(self) -> None:
        """UserError for a model that does not run on a text, or that has other outputs than its config.json names."""
        place = f"{self.place}.model"
        rows = self.tokenise(pa.array(["A text."])).rows
        try:
            values = self._values(self.model, rows, _tokens(rows[0]))
        except FORWARD_ERRORS as error:
            raise UserError(f"{place}: must rate a text, got {self.files.name!r}; {reason_of(error)}") from error
        if values.shape != (1, len(self.head.labels)):
            raise UserError(
                f"{place}: must have one output for each of its {len(self.head.labels)} labels, got an output of "
                f"{values.shape[-1]} of {self.files.name!r}"
            )

    def _read(self) -> Any:
        from transformers import AutoModelForSequenceClassification as Loader

        place, trust = f"{self.place}.model", self.settings.trust_remote_code
        loaded = read_model(place, self.files, "a sequence classification model", Loader, trust=trust)
        model = checked(place, self.files, loaded)
        use_blocked_attention(place, model, usable_positions(model))
        return model

    @cached_property
    def _exact(self) -> Any:
        """The same model in float32, for texts whose outputs are not finite in half precision."""
        log.warning("%s: some values are not finite in %s; computed again in fp32", self.place, self.dtype)
        return self._read().to(self.device)


def _tokens(row: Row) -> int:
    return len(row.get(IDS, ()))
