"""Runs `siftlm train-family`: trains small models of several mixtures, sizes and lengths."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from siftlm import filesystem
from siftlm.corpus import FAMILY, Corpus, open_corpus
from siftlm.correlate.pages import keyed_uniform
from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.loop import LoopConfig
from siftlm.proxies.trainer import ReferenceSettings
from siftlm.proxies.training.texts import TextFile
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

    So the first `max_bytes` are a fair share of all sources. They wait in a file, not in memory.
    """
    places: list[tuple[float, str, int]] = []
    folder = Path(filesystem.local(f"{corpus.store.root}/{FAMILY}"))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".train-") as temporary:
        waiting = TextFile(Path(temporary) / "texts", _placed_texts(corpus, sources, places))
        yield from waiting.texts(number for *_, number in sorted(places))


def _placed_texts(corpus: Corpus, sources: Sequence[str], places: list[tuple[float, str, int]]) -> Iterator[str]:
    """The same texts as they come; (place in the order, doc_id, number) of each is added to `places`."""
    for task in corpus.shards:
        if task.facts["source"] in sources:
            reasons, _ = out_already(task, corpus.store)
            rows = reasons.to_numpy(zero_copy_only=False) == HELD_OUT
            doc_ids = read_columns(task, corpus.store, {"doc_id"})["doc_id"].filter(pa.array(rows)).to_pylist()
            place = keyed_uniform(doc_ids, corpus.config.seed, "family order").tolist()
            places += zip(place, doc_ids, range(len(places), len(places) + len(doc_ids)), strict=True)
            yield from corpus.texts(task, rows)
