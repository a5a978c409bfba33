"""Statistics as files: trees of dataclasses, arrays and numbers, without pickles.

A store may be shared and remote, so what is read back from it must not be able to run code. A value becomes one
JSON tree beside its arrays, in one .npz file; dataclasses are named in `KINDS`, and nothing else is ever built.
"""

from __future__ import annotations

import io
import json
import uuid
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from siftlm import filesystem
from siftlm.selectors import Plan, SelectSettings, Statistics
from siftlm.selectors.filling import Filling, Sums
from siftlm.selectors.segments import Segments, SegmentSums
from siftlm.statistics.cuts import Cuts, Search, Target, _Open, _Pending
from siftlm.statistics.radix import RankHistogram
from siftlm.statistics.scores import ScoreSearch, ScoreStatistics
from siftlm.statistics.summary import Summary

KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        Plan, Statistics, Filling, Sums, Cuts, Search, Target, _Open, _Pending, RankHistogram, ScoreSearch,
        ScoreStatistics, Summary, Segments, SegmentSums,
    )
}  # fmt: skip


def write_value(path: str, value: object) -> None:
    """Writes a value atomically; `read_value` gives an equal one."""
    arrays: list[np.ndarray] = []
    tree = json.dumps(_pack(value, arrays))
    buffer = io.BytesIO()
    named = {f"a{index}": array for index, array in enumerate(arrays)}
    np.savez(buffer, allow_pickle=False, tree=np.frombuffer(tree.encode(), np.uint8), **named)
    filesystem.write_bytes(path, buffer.getvalue())


def write_version(path: str, value: object) -> str:
    """Writes a value under a name that no other writer has, and returns it: `path` with something behind it."""
    unique = f"{path}.{uuid.uuid4().hex}"
    write_value(unique, value)
    return unique


@lru_cache(maxsize=1)
def read_version(path: str) -> Any:
    """The value in a file of `write_version`, which never changes: read once a process, not once a shard."""
    return read_value(path)


def read_value(path: str) -> Any:
    """The value in a file that `write_value` wrote."""
    with np.load(io.BytesIO(filesystem.read_bytes(path)), allow_pickle=False) as stored:
        tree = json.loads(stored["tree"].tobytes())
        return _unpack(tree, stored)


def _pack(value: Any, arrays: list[np.ndarray]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, Fraction):
        return {"fraction": [value.numerator, value.denominator]}
    if isinstance(value, SelectSettings):
        return {"settings": value.model_dump(mode="json", by_alias=True)}
    if isinstance(value, tuple | list):
        return {"tuple": [_pack(part, arrays) for part in value]}
    if isinstance(value, frozenset):
        return {"set": sorted(value)}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(part, arrays)] for key, part in value.items()]}
    assert is_dataclass(value), f"cannot write a {type(value).__name__}"
    assert type(value).__name__ in KINDS, f"cannot write a {type(value).__name__}"
    return {
        "kind": type(value).__name__,
        "of": {f.name: _pack(getattr(value, f.name), arrays) for f in fields(value)},
    }


def _unpack(tree: Any, arrays: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    match tree:
        case {"array": index}:
            return arrays[f"a{index}"]
        case {"fraction": [numerator, denominator]}:
            return Fraction(numerator, denominator)
        case {"settings": settings}:
            return SelectSettings.model_validate(settings)
        case {"tuple": parts}:
            return tuple(_unpack(part, arrays) for part in parts)
        case {"set": parts}:
            return frozenset(parts)
        case {"dict": pairs}:
            return {key: _unpack(part, arrays) for key, part in pairs}
        case {"kind": kind, "of": parts}:
            return KINDS[kind](**{name: _unpack(part, arrays) for name, part in parts.items()})
    raise ValueError(f"not a value: {sorted(tree)}")
