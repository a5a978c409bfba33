"""reference: trains the reference model on a held-out share of the deduplicated corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow.compute as pc
from pydantic import Field

from siftlm import filesystem, paths
from siftlm.engine.shards import Task
from siftlm.proxies.trainer import ReferenceSettings
from siftlm.selectors.reasons import HELD_OUT
from siftlm.stages.columns import Survivors
from siftlm.stages.texts import document_batches, document_identity
from siftlm.store import Marker, Store, digest

VERSION = 2
STAGE = "reference"


class ReferenceJobSettings(ReferenceSettings):
    """A reference model that the run trains itself, on documents that it then leaves out of the selection."""

    holdout: float = Field(0.1, gt=0, lt=1, description="Share of the deduplicated documents that train the model.")


def key(settings: ReferenceJobSettings, survivors: Survivors, clusters: Sequence[Task], contents: list[str]) -> str:
    shards = [[*document_identity(task), content] for task, content in zip(clusters, contents, strict=True)]
    return digest("reference", VERSION, settings.model_dump(), survivors.training_identity(), shards)


def folder(store: Store, model_key: str) -> str:
    return f"{store.root}/{STAGE}/{model_key}"


def train(
    settings: ReferenceJobSettings,
    survivors: Survivors,
    clusters: Sequence[Task],
    model_key: str,
    store: Store,
) -> str:
    """The folder of the trained model; trains it when it is not there yet."""
    trained(STAGE, model_key, "all", settings, held_out_texts(survivors, clusters, store), store)
    return folder(store, model_key)


def trained(stage: str, key: str, name: str, settings: ReferenceSettings, texts: Iterable[str], store: Store) -> Marker:
    """The marker of a model in the store, which is trained where it is not there as it was trained."""
    found = store.find(stage, key)
    if found is not None:
        return found
    from siftlm.proxies.trainer import train_reference

    target = store.path(stage, key, "")
    if not paths.is_local(target):
        raise NotImplementedError(f"{target}: reference models are trained on a local file system")
    filesystem.remove(target, recursive=True)
    facts = train_reference(texts, settings, target)
    return store.commit(Marker(stage, key, name, rows_in=0, rows_out=0, files=store.seals(stage, key), facts=facts))


def held_out_texts(survivors: Survivors, clusters: Sequence[Task], store: Store) -> Iterator[str]:
    """The texts of the held-out split, in the order of the run."""
    for task in clusters:
        mine = pc.equal(survivors.reasons(task, store), HELD_OUT)
        row = 0
        for batch in document_batches(task, store, columns=["text"]):
            chosen = pc.fill_null(mine.slice(row, batch.num_rows), False)
            row += batch.num_rows
            yield from batch.filter(chosen)["text"].to_pylist()
