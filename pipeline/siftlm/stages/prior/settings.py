"""Defines the settings of token priors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from siftlm.settings import Settings


class PriorSettings(Settings):
    """Configures columns that say how frequent a document's tokens are in the whole corpus.

    They need no model, and rank documents much as perplexity does (Seo et al. 2025, arXiv 2509.18577).
    """

    name: str = Field("prior", pattern=r"^[a-z][a-z0-9_]*$", description="Name of the columns.")
    tokenizer: str = Field(description="A tokenizer.json, a folder with a tokenizer, or a hub id.")
    revision: str | None = Field(None, description="Branch, tag or commit of a tokenizer from the hub.")
    counts: Literal["tokens", "tokens_and_documents"] = Field(
        "tokens",
        description="A token's prior is its share of the corpus's tokens, as the paper has it; or in proportion to its "
        "tokens times the documents that hold it, as the published code has it.",
    )
