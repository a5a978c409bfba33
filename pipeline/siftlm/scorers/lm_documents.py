"""A loaded model at work on documents: tokens, windows, sums, and the second try for what is not finite."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
import transformers

from siftlm.errors import UserError
from siftlm.scorers.contract import NON_FINITE, NULL_TEXT, TOKEN_OUTPUTS, DocumentScore, score_batch
from siftlm.scorers.lm_files import ModelFiles
from siftlm.scorers.lm_forward import Columns, Forward, single_threaded_workers
from siftlm.scorers.lm_int8 import check_installed, check_ranks, int8_model, sample_texts
from siftlm.scorers.lm_model import LanguageModel, check_vocabulary, load_model, pick_device
from siftlm.scorers.lm_packing import Packing, Window, stride_tokens, windows
from siftlm.scorers.lm_tokens import load_tokenizer

if TYPE_CHECKING:
    from siftlm.scorers.lm import LMSettings

log = logging.getLogger(__name__)

CPU_ROW_TOKENS = 2048
CUDA_ROW_TOKENS = 65536
CPU_ALIGNMENT = 8  # wastes 4 tokens a document and lets neighbours share an attention call
CUDA_FILL_STRETCH = 1024
CUDA_WORKERS = 2  # one builds its row while the other's is on the device
SORT_BYTES = 1 << 26  # text that is tokenised and sorted together, whatever the number of documents
DEFAULT_CONTEXT = 2048  # of a model that names none


@dataclass
class Tokenised:
    """Documents as tokens with their prefix, and the scores that wait for them; None where nothing is to score."""

    scores: list[DocumentScore]
    tokens: list[np.ndarray | None]


class DocumentScorer:
    """Scores texts by the contract of `siftlm.scorers.contract` with one model."""

    def __init__(self, place: str, settings: LMSettings, files: ModelFiles) -> None:
        self.place, self.settings, self.files = place, settings, files
        self.device = pick_device(f"{place}.device", settings.device)
        self.cores = settings.threads or len(os.sched_getaffinity(0))
        self.workers = single_threaded_workers(self.cores if self.device.type == "cpu" else CUDA_WORKERS)
        self.tokenizer = load_tokenizer(
            f"{place}.model", files, settings.bos_mode, settings.special_tokens_in_text == "as_text",
            settings.tokenizer_backend, settings.trust_remote_code,
        )  # fmt: skip
        int8 = settings.dtype == "int8"
        if int8:
            check_installed(f"{place}.dtype", self.device)
        self.model = self._load("fp32" if int8 else settings.dtype)
        check_vocabulary(f"{place}.model", self.model, self.tokenizer.size)
        self.context = self._context()
        self.stride = stride_tokens(settings.stride, self.context)
        self.forward = self._forward(self.model)
        self.rank_agreement: float | None = self._quantise() if int8 else None
        if self.device.type == "cuda":
            self._warm_up()

    def tokenise(self, texts: pa.Array) -> Tokenised:
        """The texts as tokens. A null text gives an error row; a text of any other kind gives a score."""
        strings = texts.to_pylist()
        ids = self.tokenizer.encode([text or "" for text in strings])
        pairs = [self._prepared(text, encoded) for text, encoded in zip(strings, ids, strict=True)]
        return Tokenised([score for score, _ in pairs], [tokens for _, tokens in pairs])

    def score(self, work: Tokenised) -> pa.RecordBatch:
        """The score columns, one row a document, in order."""
        for group in self._groups(work):
            self._score_group(group, work, self.forward)
        failed = [index for index, score in enumerate(work.scores) if not _finite(score.tokens)]
        if failed and self.model.dtype != "fp32":
            self._score_group(failed, work, self._exact)
        for index in failed:
            if not _finite(work.scores[index].tokens):
                work.scores[index].error = NON_FINITE
        return score_batch(work.scores, self.settings.per_token)

    def metadata(self) -> dict[str, str]:
        """Strings for the metadata of a score file."""
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
        } | self._engine()

    def _engine(self) -> dict[str, str]:
        """What computed the scores where it was not torch."""
        if self.rank_agreement is None:
            return {}
        return {"engine": f"ctranslate2 {version('ctranslate2')}", "rank_agreement": f"{self.rank_agreement:.4f}"}

    def _prepared(self, text: str | None, ids: np.ndarray) -> tuple[DocumentScore, np.ndarray | None]:
        """The document's score without its nats, and its tokens if there is anything to predict."""
        if text is None:
            return DocumentScore(0, error=NULL_TEXT), None
        score = DocumentScore(len(text.encode()))
        limit = self.settings.max_tokens
        if limit is not None and len(ids) > limit:
            ids, score.byte_count = self._cut(text, ids, limit)
            score.truncated = True
        prefix = [] if self.tokenizer.prefix is None else [self.tokenizer.prefix]
        tokens = np.concatenate([np.array(prefix, np.int32), ids])
        return score, tokens if len(tokens) > 1 else None

    def _cut(self, text: str, ids: np.ndarray, limit: int) -> tuple[np.ndarray, int]:
        if self.tokenizer.fast is None:
            raise UserError(
                f"{self.place}.max_tokens: must be unset for {self.tokenizer.class_name}, which does not say "
                f"where in the text a token ends, got {limit}"
            )
        return self.tokenizer.cut(text, ids, limit)

    def _groups(self, work: Tokenised) -> Iterator[list[int]]:
        """Documents that are sorted together: `window_documents` of them, or SORT_BYTES of text."""
        group: list[int] = []
        size = 0
        for index, tokens in enumerate(work.tokens):
            if tokens is None:
                continue
            if group and (len(group) == self.settings.window_documents or size > SORT_BYTES):
                yield group
                group, size = [], 0
            group.append(index)
            size += work.scores[index].byte_count
        if group:
            yield group

    def _score_group(self, group: Sequence[int], work: Tokenised, forward: Forward) -> None:
        """Fills in the nats of these documents."""
        documents = [tokens for index in group if (tokens := work.tokens[index]) is not None]
        stretches = [
            window
            for position, tokens in enumerate(documents)
            for window in windows(position, len(tokens), self.context, self.stride)
        ]
        columns = forward.nats(stretches, documents)
        for position, parts in enumerate(_by_document(stretches, columns, len(documents))):
            whole = [np.concatenate(column) for column in zip(*parts, strict=True)]
            work.scores[group[position]].tokens = dict(zip(TOKEN_OUTPUTS, whole, strict=False))

    def _quantise(self) -> float:
        """Puts the int8 model in the place of the float32 one; their rank agreement on sample texts."""
        exact = self.score(self.tokenise(sample_texts()))
        self.model = int8_model(f"{self.place}.dtype", self.model, self.cores)
        self.forward = self._forward(self.model)
        return check_ranks(f"{self.place}.dtype", exact, self.score(self.tokenise(sample_texts())))

    def _warm_up(self) -> None:
        """One row through the model: compilation and the first launch of every kernel."""
        self.forward.nats([Window(0, 0, 2, 1)], [np.zeros(2, np.int32)])

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
        return wanted or own or DEFAULT_CONTEXT

    def _forward(self, model: LanguageModel) -> Forward:
        cuda = self.device.type == "cuda"
        row = self.settings.batch_tokens or (CUDA_ROW_TOKENS if cuda else CPU_ROW_TOKENS)
        packing = (
            Packing(max(row, self.context), 1, max(1, row // 32), CUDA_FILL_STRETCH)
            if cuda
            else Packing(row, CPU_ALIGNMENT, max(1, row // CPU_ALIGNMENT), 0)
        )
        statistics = any(name != "nll" for name in self.settings.per_token)
        longest = max(self.context, packing.fill_stretch)
        return Forward(self.place, model, self.workers, packing, statistics, self.tokenizer.prefix or 0, longest)


def _by_document(stretches: Sequence[Window], columns: Sequence[Columns], documents: int) -> list[list[Columns]]:
    parts: list[list[Columns]] = [[] for _ in range(documents)]
    for window, column in zip(stretches, columns, strict=True):
        parts[window.document].append(column)
    return parts


def _finite(tokens: dict[str, np.ndarray]) -> bool:
    return not tokens or bool(np.isfinite(tokens["nll"]).all())
