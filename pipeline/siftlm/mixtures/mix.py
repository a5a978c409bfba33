"""Runs `siftlm mix`: finds shares of domains by a method, and writes them with what they were made of."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import orjson

from siftlm import filesystem
from siftlm.mixtures.regmix import MixResult, Regmix
from siftlm.mixtures.runs import read_runs
from siftlm.mixtures.settings import MixConfig
from siftlm.store import digest


def mix(config: MixConfig) -> MixResult:
    """Returns the mixture of a configuration after writing it to the output file; raises UserError."""
    settings = config.mix
    runs = read_runs(settings)
    made = Regmix(settings, runs).result()
    told: dict[str, Any] = {
        "shares": made.shares,
        "method": settings.method,
        "paper": settings.paper,
        "siftlm": version("siftlm"),
        "settings": settings.model_dump(mode="json", exclude_defaults=True),
        "runs": len(runs),
        "runs_digest": digest(runs.domains, runs.targets, runs.shares, runs.losses),
        **{name: value for name, value in asdict(made).items() if name != "shares"},
    }
    filesystem.write_bytes(config.output, orjson.dumps(told, option=orjson.OPT_INDENT_2))
    return made
