"""Defines the options of a model that continues the beginnings of texts."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from siftlm.scorers.document_model import DocumentModelSettings


class MemorizationOptions(DocumentModelSettings):
    """Configures how many tokens of a text a model is given, and how many it must find."""

    told: ClassVar = "too_short"
    prompt_tokens: int = Field(32, ge=1, le=4096, description="Tokens of a text that the model is given.")
    tokens: int = Field(32, ge=1, le=4096, description="Tokens behind these that it must find.")
    bos_mode: Literal["auto", "bos", "eos", "none"] = Field(
        "auto", description="Token before the text: the separator of the model's training, its BOS, its EOS or none."
    )
    batch_texts: int = Field(256, ge=1, description="Texts of a forward pass on CUDA; on a CPU it is one text.")

    def charts(self) -> list[str]:
        return [self.name]
