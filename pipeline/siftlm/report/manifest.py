"""Reads and writes manifest.json: the inputs, steps and outputs of a run, with all digests."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.seals import Seal
from siftlm.store import digest

FORMAT = 3  # 3: `papers`, the checksums of report and card
MANIFEST = "manifest.json"
REPORT = "report.html"
CARD = "README.md"
PACKAGES = ("siftlm", "apache-beam", "pyarrow", "numpy", "torch", "transformers", "tokenizers", "fasttext-numpy2")


def write_manifest(folder: str, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest into a run's folder, with a checksum of itself."""
    told = orjson.loads(orjson.dumps(manifest))
    content = orjson.dumps({**told, "check": digest(told)}, option=orjson.OPT_INDENT_2)
    filesystem.write_bytes(f"{folder}/{MANIFEST}", content)


def paper(folder: str, path: str) -> dict[str, Any]:
    """Returns the path, size and checksum of a run's report or card, for the manifest."""
    seal = Seal.of(f"{folder}/{path}")
    return {"path": path, "bytes": seal.size, "checksum": f"xxh3_128:{seal.digest}"}


def read_manifest(folder: str) -> dict[str, Any]:
    """Returns the manifest in a run's folder.

    Raises:
        UserError: it is not as a run wrote it.
    """
    path = f"{folder}/{MANIFEST}"
    try:
        manifest = orjson.loads(filesystem.read_bytes(path))
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path}: must be as the run wrote it, got no JSON: {error}; run again") from None
    except OSError as error:
        raise UserError(f"{path}: must be as the run wrote it, got {error.strerror or error}; run again") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: must be as the run wrote it, got no object; run again")
    if manifest.get("format", FORMAT) != FORMAT:
        raise UserError(
            f"{path}: must be of a run of this version of siftlm, got format {manifest.get('format')}; run again: "
            "decisions and output alone are made anew"
        )
    if manifest.pop("check", None) != digest(manifest):
        raise UserError(f"{path}: must be as the run wrote it, got another checksum; run again")
    return manifest


def versions() -> dict[str, str | None]:
    """Returns the versions of Python and the packages that computed the output; None for packages not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
