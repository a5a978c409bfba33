"""Defines Beam transforms that score documents in other pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from siftlm.scorers import LMSettings, open_score
from siftlm.scorers.contract import with_derived


class ScoreDocuments(beam.PTransform):  # type: ignore[type-arg]
    """Adds a language model's scores to documents, which are dictionaries with a text.

        documents | siftlm.ScoreDocuments(model="HuggingFaceTB/SmolLM2-135M")

    Each element gets `<name>_nll_sum`, `<name>_token_count`, `<name>_perplexity` and the other columns of a score,
    which do not depend on which documents are scored together.
    """

    def __init__(
        self, model: str, *, name: str = "lm", text: str = "text", batch_documents: int = 512, **settings: Any
    ) -> None:
        """Takes the model, the name that begins its columns, and any key of a `[[score]]` table.

        Args:
            model: A hub id, a local folder, or a .gguf file, which every worker can read.
            name: Begins the names of the columns.
            text: The key of an element that holds its text.
            batch_documents: Documents that a worker scores together, at most.
            **settings: `device`, `dtype`, `max_tokens` ...
        """
        super().__init__()
        self._settings = LMSettings.model_validate({"name": name, "model": model, **settings})
        self._text, self._most = text, batch_documents

    def expand(self, documents: Any) -> Any:
        batches = documents | "batches" >> beam.BatchElements(min_batch_size=1, max_batch_size=self._most)
        return batches | "score" >> beam.ParDo(_Score(self._settings, self._text))


class _Score(beam.DoFn):
    def __init__(self, settings: LMSettings, text: str) -> None:
        self._settings, self._text = settings, text

    def start_bundle(self) -> None:
        open_score(self._settings).check()  # loads the model again where its files changed since the last bundle

    def process(self, documents: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        scorer = open_score(self._settings)  # one a process
        texts = pa.array([document[self._text] for document in documents], pa.large_string())
        scored = scorer.begin(scorer.tokenise(texts)).finish()
        columns = {f"{self._settings.name}_{name}": column for name, column in with_derived(scored).items()}
        rows = pa.table(columns).to_pylist()
        for document, row in zip(documents, rows, strict=True):
            yield {**document, **row}
