"""Runs `siftlm train-family`: trains small models of several mixtures, sizes and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from siftlm.corpus import FAMILY, Corpus, open_corpus
from siftlm.correlate.pages import keyed_uniform
from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.loop import LoopConfig
from siftlm.proxies.trainer import ReferenceSettings
from siftlm.selectors.reasons import HELD_OUT
from siftlm.stages.columns import read_columns
from siftlm.stages.eligible import out_already
from siftlm.stages.reference import trained


def train_family(config: LoopConfig, progress: Progress) -> list[dict[str, Any]]:
    """Trains the models that do not exist yet; returns a dict of facts for each, in the order of names."""
    if config.family is None:
        raise UserError("family: must be a table of settings for this command, got nothing")
    with open_corpus(config, progress, "train-family") as corpus:
        members = config.family.members()
        return [_member(corpus, name, *member) for name, member in sorted(members.items())]


def _member(corpus: Corpus, name: str, sources: Sequence[str], settings: ReferenceSettings) -> dict[str, Any]:
    key = corpus.family_key(sources, settings)
    corpus.work.needs.add(FAMILY, [key])
    with corpus.progress.working(f"family/{name}"):
        marker = trained(FAMILY, key, name, settings, _training_texts(corpus, sources), corpus.store)
    return {"model": name, "folder": corpus.store.path(FAMILY, key, ""), **marker.facts}


def _training_texts(corpus: Corpus, sources: Sequence[str]) -> Iterator[str]:
    """The texts of the split that trains models, of some sources, in a keyed order; read when the first is asked for.

    So the first `max_bytes` are a fair share of all sources. They are held in memory.
    """
    placed: list[tuple[float, str, str]] = []
    for task in corpus.shards:
        if task.facts["source"] in sources:
            reasons, _ = out_already(task, corpus.store)
            rows = reasons.to_numpy(zero_copy_only=False) == HELD_OUT
            doc_ids = read_columns(task, corpus.store, {"doc_id"})["doc_id"].filter(pa.array(rows)).to_pylist()
            place = keyed_uniform(doc_ids, corpus.config.seed, "family order").tolist()
            placed += zip(place, doc_ids, corpus.texts(task, rows), strict=True)
    yield from (text for *_, text in sorted(placed))
