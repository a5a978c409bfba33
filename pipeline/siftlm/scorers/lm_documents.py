"""Scores documents by a loaded model: tokenises them, runs windows, and sums the nats of each document.

Documents whose nats are not finite are scored a second time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import transformers
from numpy.typing import NDArray

from siftlm.errors import UserError
from siftlm.scorers.contract import TOKEN_OUTPUTS, TokenisedDocuments, score_batch
from siftlm.scorers.devices import pick_device
from siftlm.scorers.lm_agreement import check_agreement, sample_texts
from siftlm.scorers.lm_bf16 import bf16_model, check_cpu_dtype
from siftlm.scorers.lm_files import ModelFiles
from siftlm.scorers.lm_forward import Floats, Forward, Pass, single_threaded_workers
from siftlm.scorers.lm_fp8 import check_fp8, fp8_model
from siftlm.scorers.lm_int8 import check_installed, int8_model
from siftlm.scorers.lm_model import LanguageModel, check_vocabulary, load_model
from siftlm.scorers.lm_options import LMOptions
from siftlm.scorers.lm_packing import Packing, stride_tokens, windows
from siftlm.scorers.lm_tokens import load_tokenizer

log = logging.getLogger(__name__)

CPU_ROW_TOKENS = 2048
CUDA_ROW_VALUES = 1 << 25  # of a hidden state; starting a row costs the host as much however narrow the model is
CUDA_ROW_TOKENS = (1 << 16, 1 << 18)  # least and most
CPU_ALIGNMENT = 8  # wastes 4 tokens a document and lets neighbours share an attention call
CUDA_FILL_STRETCH = 1024
CUDA_WORKERS = 3  # one row is on the device, one in its queue, one being built; 60.1 % of the roofline, 2 gave 59.1
SORT_BYTES = 1 << 26  # text that is tokenised and sorted together, whatever the number of documents
WHOLE_LOGITS = 1 << 29  # of a window: 2 GiB
DEFAULT_CONTEXT = 2048  # of a model that names none


@dataclass(frozen=True)
class Scoring:
    """Holds documents whose windows the model is computing."""

    scorer: DocumentScorer
    documents: TokenisedDocuments
    columns: list[Floats]
    passes: list[Pass]

    def finish(self) -> pa.RecordBatch:
        """Returns the score columns, one row for each document, in order; cancels all remaining work on an error."""
        try:
            for going in self.passes:
                self.scorer.forward.finish(going)
            self.scorer.repeat_infinite(self.documents, self.columns)
        except BaseException:
            self.cancel()
            raise
        named = dict(zip(TOKEN_OUTPUTS, self.columns, strict=False))
        settings = self.scorer.settings
        return score_batch(self.documents, named, settings.per_token, settings.numbers)

    def cancel(self) -> None:
        """Cancels the batches that have not begun, whose results nobody will use."""
        for going in self.passes:
            going.cancel()


class DocumentScorer:
    """Computes the score columns of `siftlm.scorers.contract` for texts under one model."""

    def __init__(self, place: str, settings: LMOptions, files: ModelFiles) -> None:
        self.place, self.settings, self.files = place, settings, files
        self.device = pick_device(f"{place}.device", settings.device)
        self.cores = settings.threads or len(os.sched_getaffinity(0))
        self.workers = single_threaded_workers(self.cores if self.device.type == "cpu" else CUDA_WORKERS)
        self.tokenizer = load_tokenizer(
            f"{place}.model", files, settings.bos_mode, settings.special_tokens_in_text == "as_text",
            settings.tokenizer_backend, settings.trust_remote_code,
        )  # fmt: skip
        self.check_dtype(settings.dtype)
        exact = self._exact_dtype(settings.dtype)
        self.model = self._load(exact or settings.dtype)
        check_vocabulary(f"{place}.model", self.model.model, self.tokenizer.size)
        self.context = self._context()
        self.stride = stride_tokens(settings.stride, self.context)
        self.forward = self._forward(self.model)
        self.agreement = self._round(settings.dtype, exact) if exact else {}  # on sample texts
        if self.device.type == "cuda":
            self._warm_up()

    def tokenise(self, texts: pa.Array) -> TokenisedDocuments:
        """Returns the tokens of the texts; a null text later gives an error row, any other a score."""
        null = pc.is_null(texts).to_numpy(zero_copy_only=False)
        strings = texts.fill_null("").to_pylist()
        encoded = self.tokenizer.encode(strings)
        byte_count = pc.fill_null(pc.binary_length(texts), 0).cast(pa.int64()).to_numpy().copy()
        lengths, truncated = np.diff(encoded.offsets), np.zeros(len(null), bool)
        limit = self.settings.max_tokens
        if limit is not None and (long := lengths > limit).any():
            encoded, truncated = encoded.cut(limit), long
            for index in np.flatnonzero(long).tolist():
                byte_count[index] = self._bytes(strings[index], encoded.text(index))
        prefix = self.tokenizer.prefix
        if prefix is not None:
            encoded = encoded.with_prefix(prefix)
        token_count = lengths if prefix is not None else np.maximum(lengths - 1, 0)  # the first is only read
        return TokenisedDocuments(encoded.ids, encoded.offsets, token_count, byte_count, truncated, null)

    def begin(self, documents: TokenisedDocuments) -> Scoring:
        """Starts scoring documents, queued after those that the model has already, and returns without waiting."""
        columns = self._columns(documents)
        passes = [self._begin(group, documents, self.forward, columns) for group in self._groups(documents)]
        return Scoring(self, documents, columns, passes)

    def run(self, documents: TokenisedDocuments, forward: Forward) -> None:
        """Computes the values of all tokens by another forward pass of this model, and throws them away."""
        columns = self._columns(documents)
        for group in self._groups(documents):
            forward.finish(self._begin(group, documents, forward, columns))

    def rounded(self, dtype: str, model: LanguageModel) -> Forward:
        """Returns a forward pass that takes over the weights of a more exact model.

        That is `bf16` or `int8` on a CPU from a float32 model, or `fp8` on CUDA from one in bfloat16.

        Raises:
            UserError: for an architecture that cannot be rounded so, and what `check_dtype` raises.
        """
        place = f"{self.place}.dtype"
        self.check_dtype(dtype)
        if dtype == "int8":
            return self._forward(int8_model(place, model, self.cores))
        if dtype == "fp8":
            return self._forward(fp8_model(model, self.settings.compiled))
        return self._forward(bf16_model(place, model))

    def check_dtype(self, dtype: str) -> None:
        """Raises a UserError for a dtype that cannot run on this device."""
        if dtype == "int8":
            check_installed(f"{self.place}.dtype", self.device)
        elif self.device.type == "cpu":
            check_cpu_dtype(f"{self.place}.dtype", dtype)
        elif dtype == "fp8":
            check_fp8(f"{self.place}.dtype", self.device)

    def score(self, documents: TokenisedDocuments) -> pa.RecordBatch:
        """Returns the score columns, one row for each document, in order."""
        return self.begin(documents).finish()

    def repeat_infinite(self, documents: TokenisedDocuments, columns: Sequence[Floats]) -> None:
        """Computes documents whose nats are not finite again in float32, and overwrites their values in `columns`."""
        infinite = np.flatnonzero(~np.isfinite(columns[0]))
        if len(infinite) and self.model.dtype != "fp32":
            failed = np.unique(np.searchsorted(documents.offsets, infinite, side="right") - 1)
            self._exact.finish(self._begin(failed, documents, self._exact, columns))

    def metadata(self) -> dict[str, str]:
        """Returns strings that describe the model and its settings, for the metadata of a score file."""
        settings = self.settings
        return {
            "model": settings.model,
            "model_digest": self.files.digest(),
            "revision": self.files.revision or settings.revision or "",
            "model_type": self.model.model_type,
            "dtype": self.model.dtype,
            "device": self.device.type,
            "context_tokens": str(self.context),
            "window_rule": f"windows of {self.context} tokens every {self.stride}, only new tokens scored",
            "bos_mode": settings.bos_mode,
            "prefix_token_id": "" if self.tokenizer.prefix is None else str(self.tokenizer.prefix),
            "special_tokens_in_text": settings.special_tokens_in_text,
            "max_tokens": str(settings.max_tokens or ""),
            "batching": "packed" if self.model.packed else "padded",
            "batch_tokens": str(self.forward.packing.row_tokens),
            "tokenizer_class": self.tokenizer.class_name,
            "tokenizer_backend": self.tokenizer.backend,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        } | self.agreement

    def _bytes(self, text: str, ids: NDArray[np.int32]) -> int:
        """The UTF-8 bytes of the text that its first tokens cover."""
        if self.tokenizer.fast is None:
            raise UserError(
                f"{self.place}.max_tokens: must be unset for {self.tokenizer.class_name}, which does not say "
                f"where in the text a token ends, got {len(ids)}"
            )
        return self.tokenizer.byte_end(text, ids)

    def _groups(self, documents: TokenisedDocuments) -> Iterator[NDArray[np.int64]]:
        """Documents that are sorted together: `window_documents` of them, or SORT_BYTES of text."""
        scored = np.flatnonzero(documents.lengths > 1)
        sizes = documents.byte_count[scored].tolist()
        first = total = 0
        for index, size in enumerate(sizes):
            if index > first and (index - first == self.settings.window_documents or total > SORT_BYTES):
                yield scored[first:index]
                first, total = index, 0
            total += size
        if first < len(sizes):
            yield scored[first:]

    def _begin(
        self, group: NDArray[np.int64], documents: TokenisedDocuments, forward: Forward, columns: Sequence[Floats]
    ) -> Pass:
        stretches = windows(documents.offsets[group], documents.lengths[group], self.context, self.stride)
        return forward.begin(stretches, documents.tokens, columns)

    def _exact_dtype(self, dtype: str) -> str | None:
        """The dtype that a model is loaded in first and measured against; None where it is not measured."""
        if dtype == "fp8":
            return "bf16"
        return "fp32" if dtype == "int8" or (dtype == "bf16" and self.device.type == "cpu") else None

    def _round(self, dtype: str, exact_dtype: str) -> dict[str, str]:
        """Puts the rounded model in the place of the exact one; says how well they agree on sample texts."""
        exact = self.score(self.tokenise(sample_texts()))
        self.forward = self.rounded(dtype, self.model)
        self.model = self.forward.model
        engine = {"engine": f"ctranslate2 {version('ctranslate2')}"} if dtype == "int8" else {}
        rounded = self.score(self.tokenise(sample_texts()))
        return engine | check_agreement(f"{self.place}.dtype", dtype, exact, rounded, exact_dtype)

    def _columns(self, documents: TokenisedDocuments) -> list[Floats]:
        return [np.zeros(len(documents.tokens), np.float32) for _ in range(self.forward.columns)]

    def _warm_up(self) -> None:
        """One row through the model: compilation and the first launch of every kernel."""
        no, one, columns = np.zeros(1, bool), np.ones(1, np.int64), [np.zeros(2, np.float32)] * self.forward.columns
        two = TokenisedDocuments(np.zeros(2, np.int32), np.array([0, 2]), one, one, no, no)
        self.forward.finish(self._begin(np.array([0]), two, self.forward, columns))

    def _load(self, dtype: str) -> LanguageModel:
        chosen = self.settings
        return load_model(
            f"{self.place}.model", self.files, self.device, dtype,  # type: ignore[arg-type]
            pack=chosen.packing, compiled=chosen.compiled, trust=chosen.trust_remote_code,
        )  # fmt: skip

    @cached_property
    def _exact(self) -> Forward:
        """The same model in float32, for documents whose nats are not finite in half precision."""
        log.warning("%s: some nats are not finite in %s; computed again in fp32", self.place, self.model.dtype)
        return self._forward(self._load("fp32"))

    def _context(self) -> int:
        wanted, own = self.settings.context_tokens, self.model.context
        if wanted is not None and own is not None and wanted > own:
            raise UserError(f"{self.place}.context_tokens: must be at most the model's {own}, got {wanted}")
        return wanted or self._affordable(own or DEFAULT_CONTEXT)

    def _affordable(self, context: int) -> int:
        """The window by default: shorter where a model's logits exist for all of it at once."""
        most = WHOLE_LOGITS // self.model.vocabulary
        undivided = self.settings.dtype == "int8" or not (self.model.packed or self.model.parts)
        if not undivided or context <= most:
            return context
        log.warning(
            "%s: windows of %d tokens, not the model's %d: its logits take %.1f GiB of memory for each, and cannot be "
            "made a part at a time; context_tokens sets another length",
            self.place, most, context, WHOLE_LOGITS * 4 / (1 << 30),
        )  # fmt: skip
        return most

    def _forward(self, model: LanguageModel) -> Forward:
        cuda = self.device.type == "cuda"
        row = self.settings.batch_tokens or (cuda_row_tokens(model.width) if cuda else CPU_ROW_TOKENS)
        packing = (
            Packing(max(row, self.context), 1, max(1, row // 32), CUDA_FILL_STRETCH)
            if cuda
            else Packing(row, CPU_ALIGNMENT, max(1, row // CPU_ALIGNMENT), 0)
        )
        longest = max(self.context, packing.fill_stretch)
        chosen, fill = self.settings, self.tokenizer.prefix or 0
        statistics, ranks = chosen.whole_distribution, chosen.ranks
        return Forward(self.place, model, self.workers, packing, statistics, ranks, fill, self.context, longest)


def cuda_row_tokens(width: int) -> int:
    """Returns the default number of tokens in a row on CUDA, a power of two, larger for a narrow model."""
    least, most = CUDA_ROW_TOKENS
    return min(max(1 << (CUDA_ROW_VALUES // width).bit_length() - 1, least), most)
