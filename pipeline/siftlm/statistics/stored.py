"""Registers the dataclasses that may be written to a store and read back (`stored`)."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

STORED: dict[str, type] = {}  # the marked dataclasses by name: a reader of a store builds nothing else


def stored(kind: type[T]) -> type[T]:
    """Registers a dataclass, so that it may be written to files and read back, and returns it."""
    known = STORED.setdefault(kind.__name__, kind)
    assert known.__module__ == kind.__module__, f"{kind.__module__} and {known.__module__} have a {kind.__name__}"
    STORED[kind.__name__] = kind
    return kind
