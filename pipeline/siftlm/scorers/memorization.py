"""Measures how much of a text a language model knows by heart: which tokens it continues the beginning with."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import pyarrow as pa

from siftlm.scorers.document_model import DocumentModelScorer
from siftlm.scorers.memorization_options import MemorizationOptions
from siftlm.scorers.score import Pending

if TYPE_CHECKING:
    from siftlm.scorers.greedy_model import GreedyModel, Prompts


class MemorizationSettings(MemorizationOptions):
    """Measures which share of a text's tokens a causal model repeats when it continues the beginning greedily.

    The column `name` is the share of `tokens` positions behind the first `prompt_tokens` at which the text has the
    token of one greedy continuation. It is null for a text of fewer tokens than both; `<name>_too_short` tells which
    these are.
    """

    kind: Literal["memorization"] = "memorization"
    paper: ClassVar = "Marion et al. 2023 (arXiv 2309.04564), section 3.3"
    unchecked: ClassVar[str] = "32 tokens of prompt and of continuation"
    needs: ClassVar = "a causal model"
    example: ClassVar = {"name": "memorized", "model": "model", "device": "cpu", "prompt_tokens": 16, "tokens": 16}

    def scorer(self) -> MemorizationScorer:
        return MemorizationScorer(self)


class MemorizationScorer(DocumentModelScorer["GreedyModel"]):
    """Computes the columns of `MemorizationSettings`."""

    settings: MemorizationSettings

    def fields(self) -> list[pa.Field]:
        return [pa.field(self.settings.name, pa.float32()), pa.field(self.settings.looked_column, pa.bool_())]

    def check(self) -> None:
        self.content()

    def open(self) -> GreedyModel:
        from siftlm.scorers.greedy_model import GreedyModel

        return GreedyModel(self.settings, self.files)

    def metadata(self) -> dict[str, str]:
        return self.loaded().metadata()

    def tokenise(self, texts: pa.Array) -> Prompts:
        return self.loaded().tokenise(texts)

    def begin(self, inputs: Prompts) -> Pending:
        return self.loaded().begin(inputs, pa.schema(self.fields()))
