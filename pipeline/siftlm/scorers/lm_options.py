"""Defines the options of a score by a causal language model."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from siftlm.paths import ModelPlace
from siftlm.scorers.devices import DeviceName
from siftlm.scorers.per_document import PerDocumentSettings
from siftlm.scorers.token_numbers import RANKS, TOKEN_VALUES


class LMOptions(PerDocumentSettings):
    """Configures which model scores, on which device, and how texts become rows of tokens."""

    token_values: ClassVar = tuple(TOKEN_VALUES)
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the score; columns are `<name>_nll_sum` ...")
    model: ModelPlace = Field(description="A hub id, a local folder, or a .gguf file.")
    gguf_file: str | None = Field(None, description="The GGUF file in the folder or repository of `model`.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub model.")
    device: DeviceName = Field(
        "auto", description="`cpu`; `cuda`, all CUDA devices of a machine, each in a process of its own; `cuda:N`, the "
        "one of that number; `auto`, which is `cuda` where there is a device.",
    )  # fmt: skip
    dtype: Literal["auto", "fp32", "fp16", "bf16", "int8", "fp8"] = Field(
        "auto", description="`auto` is fp32 on a CPU; on CUDA fp16 if a probe stays finite, else bf16. On a CPU "
        "`bf16` needs instructions for it (AVX512-BF16 or AMX), `int8` is CTranslate2's, and both are refused where "
        "they score sample texts otherwise than fp32. `fp8` is CUDA's from compute capability 8.9, refused where it "
        "ranks sample texts otherwise than bf16.",
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
        "auto", description="`auto` takes gigatoken where it gives identical ids on sample texts; where not, a warning "
        "says why.",
    )  # fmt: skip
    per_token: list[Literal["nll", "entropy", "el2n", "max_log_p", "quantile", "top_p"]] = Field(
        [], description="Columns with one value a token: nats, entropy of the prediction (nats), EL2N norm; the "
        "highest log-probability, the share of the vocabulary that is at most as probable as the token, the "
        "probability of all that is at least as probable.",
    )  # fmt: skip
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
    def whole_distribution(self) -> bool:
        """Tells whether a value of tokens is needed that depends on the predictions of all tokens of the vocabulary."""
        return bool(self._values_wanted - {"nll"})

    @property
    def ranks(self) -> bool:
        """Tells whether a value of tokens is needed that says where they stand among all tokens."""
        return bool(self._values_wanted & set(RANKS))

    @property
    def _values_wanted(self) -> set[str]:
        return {*self.per_token, *self.numbers.values}
