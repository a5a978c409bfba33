"""Scores documents under an n-gram model: ARPA text, or a binary file of KenLM or of `siftlm train-ngram`."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from siftlm import filesystem
from siftlm.paths import ReadPath, is_local
from siftlm.scorers.files import OneFile
from siftlm.scorers.ngram_units import Normaliser, TokenLines, Unit, open_pieces
from siftlm.scorers.per_document import PerDocumentSettings, TokenScorer
from siftlm.scorers.score import TRAINED, TRAINED_NGRAMS
from siftlm.statistics.text_sketch import SUFFIX, TextSketch
from siftlm.store import digest
from siftlm_kernels.ngram_model import NgramModel, ragged

VERSION = 2
LN10 = log(10)


class NgramModelSettings(PerDocumentSettings):
    """Scores documents by the nats of their words under an n-gram model with backing off."""

    kind: Literal["ngram"] = "ngram"
    paper: ClassVar = "Wenzek et al. 2020 (arXiv 1911.00359); Heafield 2011"
    needs: ClassVar = "an n-gram model, or [reference.ngram] to train one"
    cost: ClassVar = "small model"
    example: ClassVar = {"name": "ngram", "path": "model.arpa"}
    path: ReadPath = Field(
        description="The model: ARPA (.arpa, .arpa.gz), or a binary file of KenLM (probing or trie, quantised or not) "
        "or of `siftlm train-ngram`; or `trained`, for that which [reference.ngram] trains."
    )
    normalise: Normaliser = Field(
        "none",
        description="What is done to a text first, as to the texts of the model: nothing, `lower` case, or `ccnet`.",
    )
    unit: Unit = Field(
        "words",
        description="The model's tokens: `words` between white space, `bytes`, or `pieces` of a SentencePiece model.",
    )
    pieces: ReadPath | None = Field(None, description="The SentencePiece model of `unit = 'pieces'`.")

    @model_validator(mode="after")
    def _pieces_for_pieces(self) -> NgramModelSettings:
        if (self.unit == "pieces") != (self.pieces is not None):
            raise ValueError("pieces: must name a SentencePiece model where unit is 'pieces', and only there")
        return self

    @property
    def origin(self) -> str:
        return self.path

    @property
    def awaited(self) -> bool:
        return self.path == TRAINED

    def trained(self, folder: str) -> NgramModelSettings:
        return self.model_copy(update={"path": f"{folder}/{TRAINED_NGRAMS}"})

    def scorer(self) -> NgramScorer:
        return NgramScorer(self)


class NgramScorer(TokenScorer, OneFile[NgramModel]):
    """Scores every token, and the end of every line that has one, under an n-gram model.

    White space of ASCII separates words, and a line feed lines. `token_count` counts the tokens and these ends.
    """

    settings: NgramModelSettings
    wanted = "an n-gram model in ARPA format or a binary file of KenLM"

    def reads(self) -> list[str]:
        return [path for path in (self.settings.path, self.settings.pieces) if path is not None]

    def content(self) -> str:
        own = super().content()
        return own if self.settings.pieces is None else digest(own, filesystem.fingerprint(self.settings.pieces))

    def parse(self) -> NgramModel:
        if self.settings.pieces is not None:
            open_pieces(self.settings.pieces)
        path = self.path()
        return (
            NgramModel.load(filesystem.local(path)) if is_local(path) else NgramModel.parse(filesystem.read_bytes(path))
        )

    def identity(self, content: str) -> str:
        chosen = self.settings
        numbers = chosen.per_document, chosen.worst_window_tokens, *chosen.mask_content()
        return digest("ngram", VERSION, chosen.normalise, chosen.unit, *numbers, content)

    def trained_on(self) -> TextSketch | None:
        return TextSketch.read(f"{self.settings.path}{SUFFIX}")

    def nats(self, texts: Sequence[str]) -> list[list[float]]:
        chosen = self.settings
        lines = TokenLines(chosen.normalise, chosen.unit, chosen.pieces).of(texts)
        logs, bounds = self.loaded().log10(*ragged(lines))
        nats = (-LN10 * logs).tolist()
        return [nats[start:end] for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
