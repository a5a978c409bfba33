"""Defines settings and scorer of a causal language model; heavy packages load with the model."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from siftlm.paths import ModelPlace
from siftlm.scorers.contract import LOW_IS_GOOD, TokenisedDocuments, score_fields
from siftlm.scorers.files import Held
from siftlm.scorers.lm_files import ModelFiles, find_model
from siftlm.scorers.score import ScoreScorer, ScoreSettings
from siftlm.settings import End

if TYPE_CHECKING:
    from siftlm.scorers.lm_documents import DocumentScorer, Scoring

TRAINED = "trained"  # the model that the run's own [reference] table trains
CODE_VERSION = 3  # raised when the same settings and model give other numbers
SAME_NUMBERS = {"name", "window_documents", "threads", "tokenizer_backend", "model", "gguf_file", "revision", "alone"}
"""Settings that decide no number. The model counts by its digest, not by where it is."""


class LMSettings(ScoreSettings):
    """Scores documents by the nats of their tokens under a causal language model."""

    kind: Literal["lm"] = "lm"
    paper: ClassVar = "Marion et al. 2023 (arXiv 2309.04564)"
    packages: ClassVar = ("torch", "transformers", "tokenizers")
    example: ClassVar = {"name": "lm", "model": "model", "device": "cpu"}
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the score; columns are `<name>_nll_sum` ...")
    model: ModelPlace = Field(description="A hub id, a local folder, or a .gguf file.")
    gguf_file: str | None = Field(None, description="The GGUF file in the folder or repository of `model`.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub model.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto` takes CUDA where there is one.")
    dtype: Literal["auto", "fp32", "fp16", "bf16", "int8"] = Field(
        "auto", description="`auto` is fp32 on a CPU; on CUDA fp16 if a probe stays finite, else bf16. `int8` is a "
        "CPU's, by CTranslate2, if it ranks sample texts as fp32 does.",
    )  # fmt: skip
    context_tokens: int | None = Field(None, ge=2, description="Tokens of a window; default the model's context.")
    stride: Annotated[float, Field(gt=0, le=1)] | Literal["disjoint"] = Field(
        0.75, description="Step between windows as a share of the context; only new tokens are scored."
    )
    bos_mode: Literal["auto", "bos", "eos", "none"] = Field(
        "auto", description="Token before the text: the separator of the model's training, its BOS, its EOS or none."
    )
    special_tokens_in_text: Literal["as_tokenizer", "as_text"] = Field(
        "as_tokenizer", description="What a literal `<|endoftext|>` in a document is: what the tokenizer makes of it "
        "(the special token, for most), or plain text.",
    )  # fmt: skip
    max_tokens: int | None = Field(
        None, ge=1, description="Score only this many tokens of a document; default all. `<name>_token_count` counts "
        "all the same.",
    )  # fmt: skip
    batch_tokens: int | None = Field(
        None, ge=16, description="Tokens of a forward pass; default 2,048 on a CPU, on CUDA 65,536, and up to 262,144 "
        "for models narrower than 512.",
    )  # fmt: skip
    window_documents: int = Field(4096, ge=1, description="Documents that are sorted by length together.")
    threads: int | None = Field(
        None, ge=1, description="Rows in the model at a time on a CPU, one thread each; default one a core."
    )
    packing: bool = Field(True, description="Pack documents into rows where the architecture allows it.")
    compiled: bool = Field(True, description="Compile the model on CUDA, once for its fixed shape.")
    tokenizer_backend: Literal["auto", "tokenizers", "gigatoken"] = Field(
        "auto", description="`auto` takes gigatoken where it is installed and gives identical ids on sample texts."
    )
    per_token: list[Literal["nll", "entropy", "el2n"]] = Field(
        [], description="Columns with one value a token: nats, entropy of the prediction (nats), EL2N norm."
    )
    alone: bool = Field(
        False, description="Score in a pass of its own; models with the same tokenizer share one else, and memory."
    )
    trust_remote_code: bool = Field(False, description="Run model code that comes with the model.")
    allow_pickle: bool = Field(False, description="Load pickled weights, which can run any code.")

    @field_validator("per_token")
    @classmethod
    def _differ(cls, per_token: list[str]) -> list[str]:
        if len(set(per_token)) < len(per_token):
            raise ValueError(f"columns must differ, got {per_token}")
        return per_token

    @property
    def origin(self) -> str:
        return self.model

    @property
    def window(self) -> int:
        return self.window_documents

    @property
    def awaited(self) -> bool:
        return self.model == TRAINED

    def trained(self, folder: str) -> LMSettings:
        return self.model_copy(update={"model": folder})

    def scorer(self) -> LMScorer:
        return LMScorer(self)


class LMScorer(Held["DocumentScorer"], ScoreScorer):
    """Gives the score columns of documents. Nothing is loaded before the first document."""

    settings: LMSettings

    def __reduce__(self) -> tuple[type[LMScorer], tuple[LMSettings]]:
        return LMScorer, (self.settings,)  # a worker loads its own model

    def fields(self) -> list[pa.Field]:
        return score_fields(self.settings.per_token)

    def good_ends(self) -> dict[str, End]:
        return {f"{self.settings.name}_{column}": "lowest" for column in LOW_IS_GOOD}

    def reads(self) -> list[str]:
        try:
            return [str(path) for path in self.files.paths]
        except OSError:  # the folder is gone
            return [str(self.files.folder)]

    def content(self) -> str:
        return self.files.digest()

    def open(self) -> DocumentScorer:
        from siftlm.scorers.lm_documents import DocumentScorer

        return DocumentScorer(self.settings.place, self.settings, self.files)

    def identity(self, content: str) -> str:
        """32 hex digits over all that decides the numbers: the model's files, the settings, this code's version."""
        import xxhash

        settings = self.settings.model_dump(mode="json", exclude=SAME_NUMBERS)
        parts = json.dumps([CODE_VERSION, content, settings], sort_keys=True)
        return xxhash.xxh3_128_hexdigest(parts.encode())

    def metadata(self) -> dict[str, str]:
        return self.loaded().metadata()

    def tokenise(self, texts: pa.Array) -> TokenisedDocuments:
        return self.loaded().tokenise(texts)

    def begin(self, documents: TokenisedDocuments) -> Scoring:
        return self.loaded().begin(documents)

    def tokens_digest(self) -> str | None:
        """32 hex digits over all that decides the tokens of a document; loads nothing."""
        import xxhash

        chosen = self.settings
        if chosen.alone:
            return None
        rules = [chosen.bos_mode, chosen.special_tokens_in_text, chosen.max_tokens, chosen.trust_remote_code]
        return xxhash.xxh3_128_hexdigest(json.dumps([self.files.tokenizer_digest(), *rules]).encode())

    @cached_property
    def files(self) -> ModelFiles:
        """Where the model is; a hub model is fetched when first asked for."""
        chosen = self.settings
        return find_model(f"{chosen.place}.model", chosen.model, chosen.gguf_file, chosen.revision, chosen.allow_pickle)
