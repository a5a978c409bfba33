"""Reads the texts of single documents of a finished run, and the losses of their tokens in nats if stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from siftlm import filesystem, paths
from siftlm.engine.shards import Task
from siftlm.inspect.run import SelectedRun
from siftlm.report.excerpt import Excerpt, Span, excerpt
from siftlm.stages.columns import SCORES
from siftlm.stages.texts import document_batches

Place = tuple[int, int]  # shard, row
TOKEN_NLL = "token_nll"
LONGEST = 200_000  # characters of a text whose tokens are looked up


@dataclass(frozen=True)
class Excerpts:
    """Reads the texts of some documents, every shard once and only the rows between the first and the last."""

    run: SelectedRun
    texts: dict[Place, str] = field(default_factory=dict)
    tokenizers: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def tasks(self) -> list[Task]:
        return self.run.tasks()

    def read(self, places: Iterable[Place]) -> None:
        """Reads the texts of the documents at `places`, (shard, row) each, into `texts`."""
        wanted: dict[int, list[int]] = defaultdict(list)
        for shard, row in sorted(set(places) - self.texts.keys()):
            wanted[shard].append(row)
        for shard, rows in wanted.items():
            texts = self._column("documents", self.tasks[shard], rows, "text")
            self.texts.update({(shard, row): text for row, text in zip(rows, texts, strict=True)})

    def excerpt(self, place: Place, model: str | None = None) -> Excerpt:
        """Returns the start of a text, with the tokens least likely under `model` marked where they are known."""
        text = self.texts[place]
        return excerpt(text, self._spans(place, text, model) if model else ())

    def _spans(self, place: Place, text: str, model: str) -> list[Span]:
        tokenizer = self._tokenizer(model)
        stage = SCORES + model
        task = self.tasks[place[0]]
        if tokenizer is None or len(text) > LONGEST:
            return []
        if TOKEN_NLL not in self.run.store.schema(stage, task.inputs[stage]).names:
            return []
        (nats,) = self._column(stage, task, [place[1]], TOKEN_NLL)
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        unscored = len(offsets) - len(nats or [])  # the first token, where nothing stands before it
        if not nats or unscored not in (0, 1):
            return []
        return [Span(start, end, nat) for (start, end), nat in zip(offsets[unscored:], nats, strict=True)]

    def _tokenizer(self, model: str) -> Any:
        """The tokenizer in the model's folder; None where there is no such file any more."""
        path = f"{self.run.manifest['models'].get(model, {}).get('model', '')}/tokenizer.json"
        if path not in self.tokenizers:
            self.tokenizers[path] = _load(path)
        return self.tokenizers[path]

    def _column(self, stage: str, task: Task, rows: Sequence[int], name: str) -> list[Any]:
        """The values of a column at ascending rows."""
        values: list[Any] = []
        start, end, store = rows[0], rows[-1] + 1, self.run.store
        waiting = list(reversed(rows))
        if stage == "documents":
            batches = document_batches(task, store, columns=[name], start=start, end=end)
        else:
            batches = store.row_range(stage, task.inputs[stage], start, end, columns=[name])
        for batch in batches:
            while waiting and waiting[-1] < start + batch.num_rows:
                values.append(batch.column(0)[waiting.pop() - start].as_py())
            start += batch.num_rows
        return values


def _load(path: str) -> Any:
    if not paths.is_local(path) or not filesystem.exists(path):
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
