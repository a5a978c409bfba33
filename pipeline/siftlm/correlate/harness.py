"""Reads benchmark errors from a folder of lm-evaluation-harness results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siftlm.correlate.tables import NamedTable, table_of_cells
from siftlm.errors import UserError
from siftlm.findings import Finding, finding_of

LOWER_IS_BETTER = frozenset(
    {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "likelihood_diff"}
)
"""Metrics of the harness that are errors as they are; every other metric m is used as 1 - m, unless the results file
itself says `higher_is_better: false`."""


def read_harness(folder: str, metrics: Sequence[str]) -> tuple[NamedTable, list[Finding]]:
    """Returns errors, tasks by models, from all `results*.json` below a folder, and findings about unusable results.

    A metric m that is better when higher becomes 1 - m; a perplexity stays as it is. Of several results for
    one model and task, the one with the newest `date` counts (of equal dates, the file whose path sorts
    last).
    """
    paths = sorted(Path(folder).rglob("results*.json"))
    if not paths:
        raise UserError(f"{folder}: the folder must hold results*.json of lm-evaluation-harness, got none")
    newest: dict[tuple[str, str], tuple[float, str, float]] = {}
    repeated, unknown = set(), set()
    for path in paths:
        content = _read_results(path)
        model, date = model_of(content, path), _date_of(content, path)
        for task, metric, error in _errors_of(content, metrics):
            if metric is None:
                unknown.add(task)
                continue
            previous = newest.get((task, model))
            if previous and previous[2] != error:
                repeated.add(f"{model} {task}")
            if previous is None or (date, str(path)) >= previous[:2]:
                newest[task, model] = (date, str(path), error)
    detail = "several results that differ for one model and task"
    findings = finding_of("repeated_result", sorted(repeated), detail, "newest kept")
    findings += finding_of(
        "task_without_metric", sorted(unknown), f"tasks without any of the metrics {', '.join(metrics)}"
    )
    return table_of_cells({cell: newest[cell][2] for cell in sorted(newest)}), findings


def _read_results(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: must be a file that can be read, got {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: must be JSON, got {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise UserError(f"{path}: must be results of lm-evaluation-harness, got no object `results`")
    for place, value in (("config", content.get("config")), ("higher_is_better", content.get("higher_is_better"))):
        if not isinstance(value, dict | None):
            raise UserError(f"{path}: {place} must be an object, got {type(value).__name__}")
    for task, reported in content["results"].items():
        if not isinstance(reported, dict):
            raise UserError(f"{path}: results.{task} must be an object, got {type(reported).__name__}")
    return content


def _date_of(content: dict[str, Any], path: Path) -> float:
    try:
        return float(content.get("date") or 0)
    except (TypeError, ValueError):
        raise UserError(f"{path}: date must be a number of seconds, got {content['date']!r}") from None


def _model_arguments(content: dict[str, Any]) -> dict[str, str]:
    arguments = (content.get("config") or {}).get("model_args") or {}
    if not isinstance(arguments, dict | str):
        return {}
    if isinstance(arguments, str):
        pairs = (part.split("=", 1) for part in arguments.split(",") if "=" in part)
        return {key.strip(): value.strip() for key, value in pairs}
    return {str(key): str(value) for key, value in arguments.items() if value is not None}


def model_of(content: dict[str, Any], path: Path) -> str:
    """Returns the name of the model in a results file: `pretrained` or `model_name`, with `_revision` where given.

    The names are those of the published matrices: `EleutherAI/pythia-160m_step1000`; revision main has no
    suffix.
    """
    arguments = _model_arguments(content)
    name = arguments.get("pretrained") or content.get("model_name") or arguments.get("model")
    if not name:
        raise UserError(f"{path}: must name its model in config.model_args or model_name, got neither")
    revision = arguments.get("revision", "main")
    return str(name) if revision in ("", "main") else f"{name}_{revision}"


def _errors_of(content: dict[str, Any], metrics: Sequence[str]) -> Iterator[tuple[str, str | None, float]]:
    """(task, metric, error) of every task; metric None where none of the metrics is reported."""
    directions = content.get("higher_is_better") or {}
    for task, reported in content["results"].items():
        # A key is `acc`, `acc,none` or `exact_match,strict-match`; of several filters the first counts.
        values = [(key.split(",")[0], value) for key, value in reported.items() if _is_number(value)]
        named = ((name, value) for wanted in metrics for name, value in values if name == wanted)
        metric, value = next(named, (None, np.nan))
        known = directions.get(task)
        higher = (known if isinstance(known, dict) else {}).get(metric, metric not in LOWER_IS_BETTER)
        yield task, metric, 1.0 - float(value) if higher else float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
