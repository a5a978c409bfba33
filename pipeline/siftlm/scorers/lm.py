"""Defines the settings and scorer of a causal language model; heavy packages load with the model."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import pyarrow as pa

from siftlm.scorers.contract import LOW_IS_GOOD, TokenisedDocuments, score_fields
from siftlm.scorers.devices import without_number
from siftlm.scorers.held_model import HeldModel
from siftlm.scorers.lm_files import ModelFiles, find_model
from siftlm.scorers.lm_options import LMOptions
from siftlm.scorers.score import TRAINED, ScoreScorer
from siftlm.settings import End
from siftlm.statistics.text_sketch import NAME, TextSketch

if TYPE_CHECKING:
    from siftlm.scorers.lm_documents import DocumentScorer, Scoring

CODE_VERSION = 5  # raised when the same settings and model give other numbers
DTYPE_VERSIONS = {"bf16": 6}  # the same for one dtype alone
SAME_NUMBERS = {"name", "window_documents", "threads", "tokenizer_backend", "model", "gguf_file", "revision", "alone"}
"""Settings that decide no number. The model counts by its digest, not by where it is."""


class LMSettings(LMOptions):
    """Scores documents by the nats of their tokens under a causal language model."""

    kind: Literal["lm"] = "lm"
    paper: ClassVar = "Marion et al. 2023 (arXiv 2309.04564)"
    needs: ClassVar = "a causal model, or [reference] to train one"
    cost: ClassVar = "large model"
    packages: ClassVar = ("torch", "transformers", "tokenizers")
    example: ClassVar = {"name": "lm", "model": "model", "device": "cpu"}

    @property
    def origin(self) -> str:
        return self.model

    @property
    def window(self) -> int:
        return self.window_documents

    @property
    def runs_on(self) -> str:
        return self.device

    @property
    def awaited(self) -> bool:
        return self.model == TRAINED

    def trained(self, folder: str) -> LMSettings:
        return self.model_copy(update={"model": folder})

    def scorer(self) -> LMScorer:
        return LMScorer(self)


class LMScorer(HeldModel["DocumentScorer"], ScoreScorer):
    """Computes the score columns of documents under a causal language model, loaded at the first document."""

    settings: LMSettings

    def fields(self) -> list[pa.Field]:
        return score_fields(self.settings.per_token, self.settings.numbers)

    def good_ends(self) -> dict[str, End]:
        sums: dict[str, End] = {f"{self.settings.name}_{column}": "lowest" for column in LOW_IS_GOOD}
        return sums | self.settings.number_ends()

    def open(self) -> DocumentScorer:
        from siftlm.scorers.lm_documents import DocumentScorer

        return DocumentScorer(self.settings.place, self.settings, self.files)

    def identity(self, content: str) -> str:
        """Returns 32 hex digits over all that decides the numbers: model files, settings and this code's version."""
        import xxhash

        settings = self.settings.model_dump(mode="json", exclude=SAME_NUMBERS)
        settings["device"] = without_number(self.settings.device)
        if not settings["token_masks"]:  # so that older keys stay
            del settings["token_masks"]
        version = DTYPE_VERSIONS.get(self.settings.dtype, CODE_VERSION)
        parts = json.dumps([version, content, settings], sort_keys=True)
        return xxhash.xxh3_128_hexdigest(parts.encode())

    def metadata(self) -> dict[str, str]:
        return self.loaded().metadata()

    def advise(self, texts: pa.Array) -> list[str]:
        from siftlm.scorers.lm_advice import faster_dtypes

        return faster_dtypes(self.loaded(), texts)

    def tokenise(self, texts: pa.Array) -> TokenisedDocuments:
        return self.loaded().tokenise(texts)

    def begin(self, documents: TokenisedDocuments) -> Scoring:
        return self.loaded().begin(documents)

    def trained_on(self) -> TextSketch | None:
        return TextSketch.read(str(self.files.folder / NAME))

    def tokens_digest(self) -> str | None:
        """Returns 32 hex digits that depend on all that decides the tokens of a document; loads nothing."""
        import xxhash

        chosen = self.settings
        if chosen.alone:
            return None
        rules = [chosen.bos_mode, chosen.special_tokens_in_text, chosen.max_tokens, chosen.trust_remote_code]
        return xxhash.xxh3_128_hexdigest(json.dumps([self.files.tokenizer_digest(), *rules]).encode())

    @cached_property
    def files(self) -> ModelFiles:  # type: ignore[override]
        """Returns the files of the model, and downloads a hub model at the first call."""
        chosen = self.settings
        return find_model(f"{chosen.place}.model", chosen.model, chosen.gguf_file, chosen.revision, chosen.allow_pickle)
