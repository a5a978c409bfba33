"""Says who works in a store on an object store, where the system has no locks.

Whoever works there keeps a small file `.in-use/<id>.json` as long as it does. A run and a prune each write theirs
first and look at the others' then, so that of two that begin at once one at least sees the other. A killed process
leaves its lease: what it says is told, and a person decides whether that process is gone.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

import orjson

from siftlm import filesystem
from siftlm.errors import UserError

FOLDER = ".in-use"
Kind = Literal["run", "prune"]


@contextmanager
def shared(store: str) -> Iterator[None]:
    """Holds a lease that several runs may have of a store; raises UserError while it is pruned."""
    with _held(store, "run") as own:
        _refuse(store, own, ("prune",))
        yield


@contextmanager
def sole(store: str) -> Iterator[None]:
    """Holds a lease of a store that nobody else has; raises UserError while anybody works there."""
    with _held(store, "prune") as own:
        _refuse(store, own, ("run", "prune"))
        yield


@contextmanager
def _held(store: str, kind: Kind) -> Iterator[str]:
    name = f"{kind}-{uuid.uuid4().hex}.json"
    told = {"host": socket.gethostname(), "process": os.getpid(), "since": datetime.now(UTC).isoformat("T", "seconds")}
    filesystem.write_bytes(f"{store}/{FOLDER}/{name}", orjson.dumps(told))
    try:
        yield name
    finally:
        filesystem.remove(f"{store}/{FOLDER}/{name}")


def _refuse(store: str, own: str, kinds: tuple[Kind, ...]) -> None:
    for name in filesystem.list_names(f"{store}/{FOLDER}"):
        if name != own and name.startswith(kinds):
            raise UserError(
                f"store: must not be in use, got {store}; {_holder(f'{store}/{FOLDER}/{name}')} works in it; if that "
                f"process is gone, remove {store}/{FOLDER}/{name}"
            )


def _holder(path: str) -> str:
    """Who holds a lease, in words."""
    try:
        told = orjson.loads(filesystem.read_bytes(path))
        return f"process {told['process']} on {told['host']}, since {told['since']},"
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return "somebody"
