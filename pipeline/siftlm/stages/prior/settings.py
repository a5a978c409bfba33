"""Defines the settings of token priors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from siftlm.scorers.protocol import Cost
from siftlm.settings import Settings


class PriorSettings(Settings):
    """Measures how frequent a document's tokens are in the whole corpus.

    It needs no model, and its mean ranks documents much as perplexity does.
    """

    paper: ClassVar = "Seo et al. 2025 (arXiv 2509.18577)"
    needs: ClassVar = "a tokenizer"
    packages: ClassVar = ("tokenizers", "transformers")
    cost: ClassVar[Cost] = "tokenises"
    unchecked: ClassVar[str] = "the paper's rule of cuts, which is known from notes on it"
    example: ClassVar[Mapping[str, Any]] = {"tokenizer": "openai-community/gpt2"}

    name: str = Field("prior", pattern=r"^[a-z][a-z0-9_]*$", description="Name of the columns.")
    tokenizer: str = Field(min_length=1, description="A tokenizer.json, a folder with a tokenizer, or a hub id.")
    revision: str | None = Field(None, description="Branch, tag or commit of a tokenizer from the hub.")
    counts: Literal["tokens", "tokens_and_documents"] = Field(
        "tokens",
        description="A token's prior is its share of the corpus's tokens, as the paper has it; or in proportion to its "
        "tokens times the documents that hold it, as the published code has it.",
    )

    def columns(self) -> list[pa.Field]:
        """Returns the columns that rules can name."""
        return [pa.field(f"{self.name}_{number}", pa.float64()) for number in ("mean", "log_std", "std")]
