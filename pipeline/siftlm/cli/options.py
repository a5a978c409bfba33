"""Takes the settings of the correlation commands from a configuration or from their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from siftlm import paths
from siftlm.classifiers.train import two_corpora
from siftlm.config import validated
from siftlm.correlate.settings import CorrelateSettings
from siftlm.errors import UserError
from siftlm.loop import LoopConfig, load
from siftlm.mixing.settings import ProjectSettings
from siftlm.ngram.settings import NgramTraining

OPTIONS = "command line"
Given = str | None
"""An option or argument; None where the command line does not have it."""


def correlate_options(
    config: Given, matrix: Given, errors: Given, estimator: Given, out: Given, sets: list[str] | None
) -> tuple[CorrelateSettings, str]:
    """Returns the settings of `correlate` and the folder of its tables.

    Options win over the configuration; without one, `--set` names keys of [correlate] (`matrix.clean.missing=stop`).
    """
    if config is not None:
        given = {"correlate.matrix.path": matrix, "correlate.benchmarks.path": errors, "correlate.estimator": estimator}
        loop = load(config, [*(sets or []), *(f"{key}={value}" for key, value in given.items() if value is not None)])
        return loop.correlate, _out(out, f"{loop.folder}/correlation")
    if matrix is None or errors is None or out is None:
        raise UserError("command line: must name CONF, or --matrix, --errors and --out")
    tree: dict[str, Any] = {"matrix": {"path": matrix}, "benchmarks": {"path": errors}}
    tree |= {"estimator": estimator} if estimator else {}
    return validated(CorrelateSettings, tree, sets, OPTIONS), _out(out, out)


def project_options(
    config: Given, estimates: Given, units: Given, given: Mapping[str, Any], out: Given, sets: list[str] | None
) -> tuple[ProjectSettings, str, str, str]:
    """Returns (settings, estimates path, units path, output folder) of `project`.

    A budget given as an option replaces that of the configuration, of either kind.
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    if config is None:
        if estimates is None or units is None or out is None:
            raise UserError("command line: must name CONF, or --estimates, --units and --out")
        settings = validated(ProjectSettings, dict(chosen), sets, OPTIONS)
        return settings, _table("--estimates", estimates), _table("--units", units), _out(out, out)
    loop = load(config, sets)
    kept = loop.project.model_dump() if loop.project else {}
    if {"budget_tokens", "keep_share"} & set(chosen):
        kept |= {"budget_tokens": None, "keep_share": None}
    settings = validated(ProjectSettings, {**kept, **chosen}, None, config)
    folder = _out(out, f"{loop.folder}/correlation")
    table = _table("--estimates", estimates, f"{loop.folder}/correlation/estimates.parquet")
    return settings, table, _table("--units", units, f"{loop.folder}/units.parquet"), folder


def _out(out: Given, default: str) -> str:
    """The folder of the results; an empty option is a mistake, not the default."""
    return paths.given("--out", default if out is None else out)


def _table(option: str, path: Given, default: str = "") -> str:
    return paths.given(option, default if path is None else path, paths.readable)


def corpora_options(
    config: Given, good: Sequence[str] | None, web: Sequence[str] | None, out: Given, sets: list[str] | None, name: str
) -> tuple[LoopConfig, str]:
    """Returns the configuration and the folder of the result, from CONF or from the files of two corpora."""
    if config is not None:
        loop = load(config, sets)
        return loop, _out(out, f"{loop.folder}/{name}")
    if not good or not web or out is None:
        raise UserError("command line: must name CONF, or the files of both corpora and --out")
    folder = _out(out, out)
    return two_corpora(good, web, folder, sets or []), folder


def ngram_options(
    texts: Sequence[str], out: Sequence[str], given: Mapping[str, Any]
) -> tuple[list[str], list[str], NgramTraining]:
    """Returns the texts, the files of the model and the settings of `train-ngram`."""
    read = [paths.given("TEXTS", path, paths.readable) for path in texts]
    written = [paths.given("--out", path) for path in out]
    return read, written, validated(NgramTraining, dict(given), None, OPTIONS)
