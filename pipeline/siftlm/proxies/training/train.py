"""Trains a model on the windows of a token file, into a folder or the store.

Every small model of siftlm is trained here: reference models, families, and those that compare selections or mixtures.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from siftlm import filesystem, paths
from siftlm.errors import UserError
from siftlm.proxies.training.alone import alone_in
from siftlm.proxies.training.job import Job, Progress, Trained
from siftlm.store import Marker, Store

CHECKPOINT_SECONDS = 60.0


def train(
    job: Job,
    store: Store,
    stage: str,
    key: str,
    *,
    name: str = "all",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: Progress | None = None,
) -> Trained:
    """Returns a model from the store, which is trained first if it is missing, from its last checkpoint on.

    The same job gives the same bytes on one machine, interrupted or not. Where another process trains this model, it is
    waited for.

    Raises:
        UserError: the groups have too few windows, the device is not there, or the store is not local.
    """
    folder = store.path(stage, key, "")
    if not paths.is_local(folder):
        raise UserError(f"output.store: must be a local folder where models are trained, got {store.root}")
    if marker := store.find(stage, key):
        return Trained(folder, marker.facts)
    with alone_in(Path(folder)):
        marker = store.find(stage, key)  # another process may have made it meanwhile
        if marker is None:
            facts = train_into(Path(folder), job, checkpoint_seconds=checkpoint_seconds, progress=progress)
            marker = store.commit(Marker(stage, key, name, 0, 0, files=store.seals(stage, key), facts=facts))
    return Trained(folder, marker.facts)


def train_into(
    folder: Path,
    job: Job,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains a model into a folder of its own, and returns its figures.

    While it is trained, its checkpoint is in the folder; afterwards the model is, and nothing else.
    """
    from siftlm.proxies.training.running import run

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".train-") as temporary:
        facts = run(job, folder, Path(temporary), checkpoint_seconds, progress)
        made = sorted(Path(temporary).iterdir())
        for path in made:
            path.replace(folder / path.name)
    for path in set(folder.iterdir()) - {folder / path.name for path in made}:
        filesystem.remove(str(path), recursive=True)
    return facts
