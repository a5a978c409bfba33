"""Where the pipelines run: the settings of the runner, what is refused, and how one is started."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from siftlm.errors import UserError
from siftlm.settings import Settings

if TYPE_CHECKING:
    import apache_beam as beam

LOCAL = "FnApiRunner"
RUNNERS = (
    LOCAL,
    "DirectRunner",
    "PrismRunner",
    "PortableRunner",
    "SparkRunner",
    "FlinkRunner",
    "DataflowRunner",
)
REFUSED = {
    "DaskRunner": "it delivers tagged outputs to the wrong consumer",
    "BundleBasedDirectRunner": "it holds every bundle in memory and is not maintained",
    "InteractiveRunner": "it caches every collection",
}


class RunnerSettings(Settings):
    """Which Beam runner executes the stages, and with what."""

    name: str = Field(LOCAL, description=f"Beam runner: one of {', '.join(RUNNERS)}.")
    processes: int = Field(
        1,
        ge=1,
        le=1024,
        description=f"Worker processes of {LOCAL}; 1 runs in this process. Others ignore it.",
    )
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Shards at a time in one process; 0 is every core locally and 1 elsewhere.",
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Beam pipeline options, by name without the dashes."
    )


def with_arguments(settings: RunnerSettings, arguments: list[str]) -> RunnerSettings:
    """The settings with `--option=value` arguments of the command line laid over them."""
    name, options = settings.name, dict(settings.options)
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(f"command line: Beam options are written --name=value, got {word!r}")
        key, _, value = word[2:].partition("=")
        if not _ and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        if key == "runner":
            name = value.rsplit(".", 1)[-1]
        else:
            options[key] = value if (_ or value) else True
    return settings.model_copy(update={"name": name, "options": options})


def check(settings: RunnerSettings) -> None:
    """Raises UserError for a runner or a mode that gives wrong results or does not exist."""
    if settings.name in REFUSED:
        raise UserError(
            f"runner.name: must be a runner with right results, got {settings.name!r}; {REFUSED[settings.name]}"
        )
    if settings.name not in RUNNERS:
        raise UserError(f"runner.name: must be one of {', '.join(RUNNERS)}, got {settings.name!r}")
    mode = settings.options.get("direct_running_mode")
    if mode == "multi_threading":
        raise UserError(
            "runner.options.direct_running_mode: must be in_memory or multi_processing, got 'multi_threading'; "
            "its workers corrupt each other's streams, use runner.threads instead"
        )
    if settings.name == "SparkRunner" and "spark_master_url" not in settings.options:
        raise UserError("runner.options.spark_master_url: must name the cluster for SparkRunner, got nothing")


def is_local(settings: RunnerSettings) -> bool:
    return settings.name == LOCAL and settings.processes == 1


def threads(settings: RunnerSettings) -> int:
    """Shards that one process works on at a time; the kernels release the interpreter lock."""
    return settings.threads or ((os.cpu_count() or 1) if is_local(settings) else 1)


def run_pipeline(settings: RunnerSettings, name: str, build: Callable[[beam.Pipeline], None]) -> None:
    """Builds one pipeline, runs it and waits; a failed pipeline raises what the worker raised."""
    check(settings)
    beam, PipelineOptions = _import_beam()
    options = PipelineOptions(_flags(settings, name))
    pipeline = beam.Pipeline(runner=_runner(settings), options=options)
    build(pipeline)
    result = pipeline.run()
    state = result.wait_until_finish()
    if str(state) not in ("DONE", "None"):
        raise RuntimeError(f"the {name} pipeline ended {state} on {settings.name}")


def _import_beam() -> tuple[Any, Any]:
    """Beam and its options class, without what it warns of while it is imported (optional packages)."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    finally:
        logging.disable(previous)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    return apache_beam, PipelineOptions


def _runner(settings: RunnerSettings) -> object:
    if settings.name != LOCAL:
        return settings.name
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    return FnApiRunner()


def _flags(settings: RunnerSettings, name: str) -> list[str]:
    """Command-line flags for Beam, in which repeated options are comma-separated in our settings."""
    options: dict[str, str | int | float | bool] = {
        "job_name": f"siftlm-{name.replace('_', '-')}",
        **settings.options,
    }
    if settings.name == LOCAL and settings.processes > 1:
        options.setdefault("direct_running_mode", "multi_processing")
        options.setdefault("direct_num_workers", settings.processes)
    flags = []
    for key, value in options.items():
        if isinstance(value, bool):
            flags += [f"--{key}"] if value else []
        elif key in ("experiments", "dataflow_service_options") and isinstance(value, str):
            flags += [f"--{key}={part}" for part in value.split(",")]
        else:
            flags.append(f"--{key}={value}")
    return flags
