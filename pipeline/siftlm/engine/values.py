"""Writes statistics (trees of dataclasses, arrays and numbers) to files, and reads them, without pickle.

A store may be shared and remote, so what is read back from it must not be able to run code. A value becomes one
JSON tree with the shapes of its arrays, and behind it their bytes; dataclasses marked `stored` are named in it, and
nothing else is ever built. (Not .npz: its headers are Python literals, and CPython 3.11 may fail to parse these in
threads.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from siftlm.statistics.stored import STORED
from siftlm.store import Store

SUFFIX = ".value"
LENGTH_BYTES = 8  # of the length of the tree


def write_value(path: str, value: object, store: Store) -> None:
    """Writes a value to a file atomically, from which `read_value` returns an equal value."""
    arrays: list[np.ndarray] = []
    tree = _pack(value, arrays)
    shapes = [[array.dtype.str, array.shape] for array in arrays]
    head = json.dumps([tree, shapes]).encode()
    parts = [len(head).to_bytes(LENGTH_BYTES, "little"), head, *(array.tobytes() for array in arrays)]
    store.write_sealed(path, b"".join(parts))


def read_value(path: str, store: Store) -> Any:
    """Returns the value that `write_value` wrote to a file; raises UserError if it is damaged or gone."""
    content = memoryview(store.read_sealed(path))
    start = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    tree, shapes = json.loads(bytes(content[LENGTH_BYTES:start]))
    arrays: list[np.ndarray] = []
    for kind, shape in shapes:
        count, dtype = math.prod(shape), np.dtype(kind)
        array: np.ndarray = np.ndarray(shape, dtype, content, start)
        arrays.append(array.copy())
        start += count * dtype.itemsize
    return _unpack(tree, arrays)


def _pack(value: Any, arrays: list[np.ndarray]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        assert value.dtype.kind in "biufUSM", f"cannot write an array of {value.dtype}"
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, Fraction):
        return {"fraction": [value.numerator, value.denominator]}
    if isinstance(value, tuple | list):
        return {"tuple": [_pack(part, arrays) for part in value]}
    if isinstance(value, frozenset):
        return {"set": sorted(value)}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(part, arrays)] for key, part in value.items()]}
    assert is_dataclass(value), f"cannot write a {type(value).__name__}"
    assert type(value).__name__ in STORED, f"cannot write a {type(value).__name__}"
    return {"kind": type(value).__name__, "of": {f.name: _pack(getattr(value, f.name), arrays) for f in fields(value)}}


def _unpack(tree: Any, arrays: Sequence[np.ndarray]) -> Any:
    if not isinstance(tree, dict):
        return tree
    match tree:
        case {"array": index}:
            return arrays[index]
        case {"fraction": [numerator, denominator]}:
            return Fraction(numerator, denominator)
        case {"tuple": parts}:
            return tuple(_unpack(part, arrays) for part in parts)
        case {"set": parts}:
            return frozenset(parts)
        case {"dict": pairs}:
            return {key: _unpack(part, arrays) for key, part in pairs}
        case {"kind": kind, "of": parts}:
            return STORED[kind](**{name: _unpack(part, arrays) for name, part in parts.items()})
    raise ValueError(f"not a value: {sorted(tree)}")
