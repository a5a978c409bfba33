"""Finds the store that a command line names: by itself, by the folder of a run, or by a configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass

from siftlm import filesystem, paths
from siftlm.errors import UserError
from siftlm.loop import load
from siftlm.patterns import OWNER
from siftlm.report.manifest import MANIFEST, read_manifest
from siftlm.stages.folders import STORE, is_store


@dataclass(frozen=True)
class Place:
    """Holds the folder of a store, and that of the run by which it was named."""

    store: str
    run: str | None = None


def place_of(named: str) -> Place:
    """Returns the store that an argument names; raises UserError where there is none."""
    path = paths.given("STORE", named, paths.readable)
    if paths.is_local(path) and os.path.isfile(path):
        config = load(path)
        return _checked(named, Place(config.store_folder, config.output.folder))
    if is_store(path):
        return Place(path.rstrip("/"))
    return _checked(named, Place(store_of(path), path))


def _checked(named: str, place: Place) -> Place:
    if not is_store(place.store):
        raise UserError(f"STORE: must be a store, the folder of a run or a configuration, got {named}, which has none")
    return place


def store_of(run: str) -> str:
    """Returns the store of a run that is in a folder, finished or not; raises UserError where none is known."""
    if filesystem.exists(f"{run}/{MANIFEST}"):
        return str(read_manifest(run)["config"]["store"] or f"{run}/{STORE}")
    if filesystem.exists(f"{run}/{OWNER}") and not is_store(f"{run}/{STORE}"):
        raise UserError(f"STORE: must be a store where a run has not finished, got {run}; name its store")
    return f"{run}/{STORE}"
