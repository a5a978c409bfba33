"""Defines the options of a model whose gradients are taken, document by document."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from siftlm.scorers.document_model import DocumentModelSettings


class GradientOptions(DocumentModelSettings):
    """Configures which gradient is taken of a document: of which layers, over which tokens.

    The loss of a document is the mean nll of its tokens, so length does not enter.

    Attributes:
        own_layers: The layers of the method where none are named.
    """

    told: ClassVar = "truncated"
    cost: ClassVar = "gradients"
    own_layers: ClassVar[str] = "output"
    layers: str | None = Field(
        None,
        min_length=1,
        description="Parameters whose gradient is taken: `output`, the output matrix where logits are made, also if "
        "embeddings are tied to it; `first_block`, `last_block`; `all`; or a pattern of names, "
        "`model.layers.3.mlp.*`, where a tied matrix counts with both its uses. Default: those of the method.",
    )  # fmt: skip
    context_tokens: int | None = Field(
        None, ge=2, description="Tokens of a window. Default: what the model has positions for, at most 2,048."
    )
    long: Literal["average", "cut"] = Field(
        "average",
        description="Documents longer than a window: `average` takes the gradient over all their tokens, in windows "
        "that do not see each other; `cut` reads the first window, and `<name>_truncated` tells which these are.",
    )
    bos_mode: Literal["auto", "bos", "eos", "none"] = Field(
        "auto", description="Token before the text: the separator of the model's training, its BOS, its EOS or none."
    )
    dtype: Literal["fp32", "bf16"] = Field(
        "fp32", description="Of the model; products of gradients add up in float32 or more whatever it is."
    )
    batch_tokens: int = Field(512, ge=1, description="Tokens that go through the model together.")

    @property
    def chosen_layers(self) -> str:
        """Returns the layers that are named, or those of the method."""
        return self.layers or self.own_layers
