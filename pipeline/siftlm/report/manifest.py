"""Writes manifest.json: what went in, what was done with it, what came out, with all digests."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from siftlm import filesystem
from siftlm.engine.audit import Lineage
from siftlm.errors import UserError
from siftlm.seals import Seal
from siftlm.store import Marker, digest

FORMAT = 3  # 3: `papers`, the checksums of report and card
MANIFEST = "manifest.json"
REPORT = "report.html"
CARD = "README.md"
SKIPPED = 100  # files that are no documents whose paths are told, of every source
PACKAGES = (
    "siftlm",
    "apache-beam",
    "pyarrow",
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "fasttext-numpy2",
)


def build_manifest(
    *,
    name: str,
    identity: str,
    config: Mapping[str, Any],
    models: Mapping[str, Mapping[str, str]],
    shards: Sequence[Mapping[str, Any]],
    lineage: Lineage,
    statistics: Mapping[str, Any],
    benchmarks: Mapping[str, Mapping[str, int]],
    warnings: Sequence[str] = (),
    skipped: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Returns the manifest of a run.

    Args:
        name: of the run.
        identity: digest of everything the output depends on.
        config: the configuration as it was read.
        models: metadata of every model by name: digest, revision, dtype, window rule.
        shards: per input shard its path, source, fingerprint, sizes, and the keys of its outputs by stage.
        lineage: the markers of all stages, or of all but the written files.
        benchmarks: by name, how many items it has, and how many are found whole only, or not at all, and why.
        statistics: quantiles, sums and counts over all documents, see `siftlm.stages.summary`.
        warnings: what a user should look at, a sentence each.
        skipped: files of folders that are no documents, by source.
    """
    return {
        "format": FORMAT,
        "name": name,
        "identity": identity,
        "versions": versions(),
        "config": dict(config),
        "models": {key: dict(value) for key, value in models.items()},
        "warnings": list(warnings),
        "counts": counts(lineage),
        "benchmarks": {key: dict(value) for key, value in benchmarks.items()},
        "statistics": dict(statistics),
        "data": [_part(marker) for marker in lineage.markers.get("data", [])],
        "rejects": [_part(marker) for marker in lineage.markers.get("rejects", [])],
        "inputs": [dict(shard) for shard in shards],
        "skipped": [
            {"source": source, "files": len(paths), "paths": list(paths[:SKIPPED])}
            for source, paths in (skipped or {}).items()
            if paths
        ],
        "seconds": {stage: lineage.seconds(stage) for stage in lineage.markers},
    }


def write_manifest(folder: str, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest into a run's folder, with a checksum of itself."""
    told = orjson.loads(orjson.dumps(manifest))
    content = orjson.dumps({**told, "check": digest(told)}, option=orjson.OPT_INDENT_2)
    filesystem.write_bytes(f"{folder}/{MANIFEST}", content)


def paper(folder: str, path: str) -> dict[str, Any]:
    """Returns what the manifest says of the report or the card that lies in a run's folder."""
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
    """Returns the versions of what computed the output, null for a package that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def counts(lineage: Lineage) -> dict[str, Any]:
    """Returns rows in, rows out, dropped and errors by reason, for every stage."""
    return {stage: lineage.total(stage) for stage in lineage.markers if lineage.markers[stage]}


def _part(marker: Marker) -> dict[str, Any]:
    return {
        "path": marker.facts["path"],
        "rows": marker.rows_out,
        "bytes": marker.facts["bytes"],
        "checksum": f"xxh3_128:{marker.facts['checksum']}",
    }
