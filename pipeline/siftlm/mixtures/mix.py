"""Runs `siftlm mix`: finds shares of domains by a method, and writes them with what they were made of."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from os.path import normpath
from typing import Any

import xxhash

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.mixtures.protocol import MixOutcome, MixSettings
from siftlm.mixtures.settings import MixConfig


def mix(config: MixConfig) -> MixOutcome:
    """Returns the result of a configuration after writing it to the output file; raises UserError."""
    settings = config.settings
    settings.check_packages()
    if normpath(config.written) in map(normpath, settings.reads()):
        raise UserError(f"output: must not be a file that the method reads, got {config.written!r}")
    made = settings.result()
    made.write(config.written, provenance(settings))
    return made


def provenance(settings: MixSettings) -> dict[str, Any]:
    """Returns what a result was made of: the method, its settings, and the digests of the files that it read."""
    return {
        "method": settings.method,
        "paper": settings.paper,
        "siftlm": version("siftlm"),
        "settings": settings.model_dump(mode="json", exclude_defaults=True),
        "read": _digests(settings.reads()),
    }


def _digests(paths: Sequence[str]) -> dict[str, str]:
    return {path: xxhash.xxh3_128_hexdigest(filesystem.read_bytes(path)) for path in paths}
