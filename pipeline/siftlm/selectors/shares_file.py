"""Reads the shares of a mixture or a rate from a file, with where they come from."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from siftlm import filesystem
from siftlm.errors import UserError

PROVENANCE = b"siftlm.provenance"
"""The key in the metadata of a Parquet file of weights under which JSON says how they were made."""


class SharesFile(NamedTuple):
    """Holds the shares in a file by value, and where they come from: path, digest, how they were made."""

    shares: dict[str, Any]
    origin: Mapping[str, Any]


def read_shares(path: str, target: str | None = None) -> SharesFile:
    """Returns the shares in a JSON file with `shares`, or in a Parquet file with `unit` and `weight`.

    Raises:
        ValueError: The file cannot be read, holds no shares, or has a value twice.
    """
    try:
        content = filesystem.read_bytes(path)
        shares, told = _of_parquet(content, target) if path.endswith((".parquet", ".pq")) else _of_json(content)
    except (OSError, UserError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"path must name a file of shares, got {path}: {_first_line(error)}") from None
    return SharesFile(shares, {"path": path, "digest": xxhash.xxh3_128_hexdigest(content), **told})


def read_rate(path: str) -> float:
    """Returns the `keep_rate` in a JSON file, which `siftlm mix` has written.

    Raises:
        ValueError: The file cannot be read, or holds no rate above 0 and up to 1.
    """
    try:
        rate = orjson.loads(filesystem.read_bytes(path))["keep_rate"]
    except (OSError, UserError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"path must name a file with keep_rate, got {path}: {_first_line(error)}") from None
    if not isinstance(rate, float | int) or not 0 < rate <= 1:
        raise ValueError(f"path must name a file whose keep_rate is above 0 and at most 1, got {path} with {rate!r}")
    return float(rate)


def _first_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    return next(iter(str(error).splitlines()), type(error).__name__)


def _of_json(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shares, and the file's other keys."""
    tree = orjson.loads(content)
    return dict(tree["shares"]), {name: value for name, value in tree.items() if name != "shares"}


def _of_parquet(content: bytes, target: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights of a target, and what the metadata says of them."""
    table = pq.read_table(io.BytesIO(content))
    told = {}
    if "target" in table.schema.names:
        targets = table["target"].unique().to_pylist()
        chosen = target if target is not None or len(targets) != 1 else targets[0]
        if chosen not in targets:
            raise ValueError(f"target must be one of {targets}, got {target!r}")
        table, told = table.filter(pc.equal(table["target"], chosen)), {"target": chosen}
    for name in ("unit", "weight"):
        if name not in table.schema.names:
            raise KeyError(name)
    units = table["unit"].cast(pa.string()).to_pylist()
    if again := [unit for unit, times in Counter(units).items() if times > 1]:
        raise ValueError(f"it has the unit {again[0]!r} more than once")
    made = orjson.loads((table.schema.metadata or {}).get(PROVENANCE, b"{}"))
    return dict(zip(units, table["weight"].to_pylist(), strict=True)), told | made
