"""Scores documents under an n-gram model in ARPA format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from siftlm import filesystem
from siftlm.paths import ReadPath
from siftlm.scorers.files import OneFile
from siftlm.scorers.per_document import PerDocumentSettings, TokenScorer
from siftlm.store import digest

VERSION = 1
BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"


class NgramModelSettings(PerDocumentSettings):
    """Scores documents by the nats of their words under an n-gram model with backing off."""

    kind: Literal["ngram"] = "ngram"
    paper: ClassVar = "Wenzek et al. 2020 (arXiv 1911.00359); Heafield 2011"
    needs: ClassVar = "an n-gram model"
    cost: ClassVar = "small model"
    example: ClassVar = {"name": "ngram", "path": "model.arpa"}
    path: ReadPath = Field(description="The model in ARPA format, .arpa or .arpa.gz, with an entry `<unk>`.")
    lowercase: bool = Field(False, description="Lower the case of a text first, for a model of such texts.")

    @property
    def origin(self) -> str:
        return self.path

    def scorer(self) -> NgramScorer:
        return NgramScorer(self)


class NgramScorer(TokenScorer, OneFile["Arpa"]):
    """Scores every word, and the end of every line that has a word, under an n-gram model.

    White space separates words.
    `token_count` counts the words and these ends.
    """

    settings: NgramModelSettings
    wanted = "an n-gram model in ARPA format"

    def parse(self) -> Arpa:
        compression = "gzip" if self.settings.path.endswith(".gz") else None
        with filesystem.open_read(self.settings.path) as file, pa.input_stream(file, compression=compression) as stream:
            return Arpa.parse(stream.read().decode().splitlines())

    def identity(self, content: str) -> str:
        chosen = self.settings
        numbers = chosen.per_document, chosen.worst_window_tokens, *chosen.mask_content()
        return digest("ngram", VERSION, chosen.lowercase, *numbers, content)

    def nats(self, texts: Sequence[str]) -> list[list[float]]:
        model = self.loaded()
        return [model.nats(text.lower() if self.settings.lowercase else text) for text in texts]


@dataclass(frozen=True)
class Arpa:
    """Holds an n-gram model's natural log-probabilities and backoff weights, by words joined by a space."""

    order: int
    logs: dict[str, float]  # of the last word given those before it
    backoffs: dict[str, float]

    @classmethod
    def parse(cls, lines: Sequence[str]) -> Arpa:
        """Returns the model in the lines of a file; raises ValueError where they are not in ARPA format."""
        order, logs, backoffs = 0, dict[str, float](), dict[str, float]()
        for line in lines:
            if line.startswith("\\") and line.endswith("-grams:"):
                order = int(line[1:].removesuffix("-grams:"))
            elif order and line.strip() and not line.startswith("\\"):
                value, *rest = line.split()
                words = " ".join(rest[:order])
                logs[words] = float(value) * log(10)
                if len(rest) > order:
                    backoffs[words] = float(rest[order]) * log(10)
        if UNKNOWN not in logs or END not in logs:
            raise ValueError(f"there is no entry {UNKNOWN if END in logs else END}")
        return cls(order, logs, backoffs)

    def nats(self, text: str) -> list[float]:
        """Returns -ln P of each word and line end of a text, given the `order - 1` tokens before it."""
        return [nat for line in text.splitlines() for nat in self._of_line(line.split())]

    def _of_line(self, words: list[str]) -> Iterator[float]:
        known = [word if word in self.logs else UNKNOWN for word in words]
        tokens = [BEGIN, *known, END] if words else []
        for end in range(1, len(tokens)):
            yield -self._log(tokens[max(0, end + 1 - self.order) : end + 1])

    def _log(self, ngram: list[str]) -> float:
        """Katz: the n-gram's own entry, else the backoff weight of its context and the n-gram without its first word.

        A context without a weight has the weight 1.
        """
        total = 0.0
        for start in range(len(ngram)):
            entry = self.logs.get(" ".join(ngram[start:]))
            if entry is not None:
                return total + entry
            total += self.backoffs.get(" ".join(ngram[start:-1]), 0.0)
        raise AssertionError(f"every token has an entry of its own, {ngram[-1]!r} has none")
