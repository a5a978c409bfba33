"""Runs pipelines on the configured Beam runner, and refuses runners that give wrong results."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from pydantic import ByteSize, Field, TypeAdapter

from siftlm.engine.allocator import limit_arenas
from siftlm.engine.beam import import_beam
from siftlm.engine.beam_options import check_options
from siftlm.engine.devices.pool import WantedDevice, shared
from siftlm.engine.devices.process import AT_ONCE
from siftlm.errors import UserError
from siftlm.settings import Settings

if TYPE_CHECKING:
    import apache_beam as beam

LOCAL = "FnApiRunner"
RUNNERS = (LOCAL, "DirectRunner", "PrismRunner", "PortableRunner", "SparkRunner", "FlinkRunner", "DataflowRunner")
ENGINES = frozenset({"PortableRunner", "SparkRunner", "FlinkRunner"})  # reached through a Beam job server
ENGINE_MASTERS = {"SparkRunner": ("spark_master_url", r"local(\[.+\])?"), "FlinkRunner": ("flink_master", r"\[\w+\]")}
WORKER_OPTIONS = ("environment_type", "environment_config", "environment_options")
WORKER_COMMAND = "siftlm-worker"
ENGINE_FAILURE = re.compile(r"failed in state \w+: *(.+)")
REPEATED = frozenset({"experiments", "dataflow_service_options", "files_to_stage"})
ACCELERATED = ("models/", "scores/")  # prefixes of the stages that a transformers model runs in
SIZE = r"[1-9][0-9]*(KB|MB|GB|TB|KiB|MiB|GiB|TiB)"
SHARD_MEMORY = 1 << 30  # what a shard at a time may take where batches have their default sizes
LEAST_MEMORY = 1 << 28  # for the interpreter and its libraries, and for a shard at a time each
REACHED_WITHIN = 8.0  # seconds for an engine that is being started
_ADDRESS = r"(?P<host>[^:/\s]+):(?P<port>\d+)"
ADDRESSES = {
    "job_endpoint": _ADDRESS,
    "spark_master_url": r"spark://(?P<host>[^:/,\s]+):(?P<port>\d+)",
    "spark_rest_url": r"https?://(?P<host>[^:/\s]+):(?P<port>\d+).*",
    "flink_master": r"(?:https?://)?(?P<host>[^:/\s]+):(?P<port>\d+)",
}
"""Options that say where an engine listens, for those runners that are engines."""
REFUSED = {
    "DaskRunner": "it delivers tagged outputs to the wrong consumer",
    "BundleBasedDirectRunner": "it holds every bundle in memory and is not maintained",
    "InteractiveRunner": "it caches every collection",
}


class RunnerSettings(Settings):
    """Configures the Beam runner that executes the stages: its processes, threads, memory and options."""

    name: str = Field(LOCAL, description=f"Beam runner: one of {', '.join(RUNNERS)}.")
    processes: int = Field(
        1, ge=1, le=1024, description=f"Worker processes of {LOCAL}; 1 runs in this process. Others ignore it."
    )
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Shards at a time in one process; 0 is every core locally and 1 elsewhere. On this machine a step "
        "on CUDA devices takes two for each of them where that is more.",
    )
    worker_memory: str | None = Field(
        None,
        pattern=rf"^{SIZE}$",
        description="Memory of a worker process, 2GB for instance: shards at a time, batches and partitions are made "
        "to fit it, at the price of speed; default what a gigabyte for every shard at a time allows. It changes no "
        "byte of the output.",
    )
    accelerator: str | None = Field(
        None,
        pattern=r"^type:[A-Za-z0-9_-]+;count:[1-9][0-9]*(;[A-Za-z0-9_-]+(:[A-Za-z0-9_.-]+)?)*$",
        description="Accelerator of the workers that score or rate by models, a Beam resource hint that Dataflow "
        "honours: type:nvidia-l4;count:1;install-nvidia-driver. Other stages run without.",
    )
    score_memory: str | None = Field(
        None,
        pattern=rf"^{SIZE}$",
        description="Memory of the workers that score, at least: a Beam resource hint, 30GB for instance.",
    )
    hour_price: float | None = Field(
        None, gt=0, description="Price of an hour of a worker's core: the report then says what every stage cost."
    )
    score_hour_price: float | None = Field(
        None, gt=0, description="The same for stages that a language model runs in; default hour_price."
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Beam pipeline options, by name without the dashes."
    )


def with_options(settings: RunnerSettings, given: Mapping[str, str | int | float | bool]) -> RunnerSettings:
    """Returns the settings overridden by command-line options, of which `runner` is the runner's name."""
    options = {**settings.options, **given}
    name = str(options.pop("runner", settings.name)).rsplit(".", 1)[-1]
    return settings.model_copy(update={"name": name, "options": options})


def check(settings: RunnerSettings) -> None:
    """Raises UserError for a runner or a mode that gives wrong results or does not exist."""
    if settings.name in REFUSED:
        raise UserError(
            f"runner.name: must be a runner with right results, got {settings.name!r}; {REFUSED[settings.name]}"
        )
    if settings.name not in RUNNERS:
        raise UserError(f"runner.name: must be one of {', '.join(RUNNERS)}, got {settings.name!r}")
    given = settings.options
    if given:
        check_options(given)
    if given.get("direct_running_mode") == "multi_threading":
        raise UserError(
            "runner.options.direct_running_mode: must be in_memory or multi_processing, got 'multi_threading'; "
            "its workers corrupt each other's streams, use runner.threads instead"
        )
    if settings.worker_memory and memory(settings) < 2 * LEAST_MEMORY:
        raise UserError(
            f"runner.worker_memory: must be {2 * LEAST_MEMORY >> 20}MiB or more, got {settings.worker_memory}; the "
            "interpreter and its libraries take half of that"
        )
    if settings.accelerator and "worker_accelerator" in str(given.get("dataflow_service_options", "")):
        raise UserError(
            "runner.accelerator: must not be combined with worker_accelerator of dataflow_service_options, got both; "
            "the one is for the workers that score, the other for those of every stage"
        )
    if settings.name == "SparkRunner" and not {"spark_master_url", "job_endpoint", "spark_rest_url"} & set(given):
        raise UserError(
            "runner.options.spark_master_url: must name the cluster for SparkRunner, got nothing; "
            "or runner.options.job_endpoint a job server that runs already"
        )
    if settings.name == "PortableRunner" and "job_endpoint" not in given:
        raise UserError("runner.options.job_endpoint: must name a job server for PortableRunner, got nothing")


def _check_reached(settings: RunnerSettings) -> None:
    """UserError where nothing listens at an address of the options: Beam itself would wait for minutes."""
    given = settings.options
    patterns = dict(ADDRESSES) if settings.name in ENGINES else {}
    if given.get("job_endpoint") == "embed" and given.get("environment_type") == "EXTERNAL":
        patterns["environment_config"] = _ADDRESS  # elsewhere it is the engine's machines that look for the pool
    for option, pattern in patterns.items():
        address = re.fullmatch(pattern, str(given.get(option, "")))
        if address and (reason := _unreached(address["host"], int(address["port"]))):
            raise UserError(
                f"runner.options.{option}: must be where somebody listens, got {address[0]!r}; nothing answered in "
                f"{REACHED_WITHIN:.0f} s: {reason}"
            )


def _unreached(host: str, port: int) -> str | None:
    """Why nobody answers there, or None where somebody does; tries again until REACHED_WITHIN is over."""
    give_up = time.monotonic() + REACHED_WITHIN
    while True:
        try:
            socket.create_connection((host, port), timeout=REACHED_WITHIN).close()
            return None
        except socket.gaierror as error:  # a name that nobody knows stays unknown
            return str(error.strerror)
        except (OSError, OverflowError) as error:
            if time.monotonic() > give_up:
                return str(getattr(error, "strerror", None) or error)
        time.sleep(0.5)


def is_local(settings: RunnerSettings) -> bool:
    """Tells whether the stages run in this process."""
    return settings.name == LOCAL and settings.processes == 1


def threads(settings: RunnerSettings) -> int:
    """Returns how many shards one process works on at once; the kernels release the interpreter lock."""
    wanted = settings.threads or ((os.cpu_count() or 1) if is_local(settings) else 1)
    return max(1, min(wanted, memory(settings) // LEAST_MEMORY - 1)) if settings.worker_memory else wanted


def shards_at_once(settings: RunnerSettings, wanted: WantedDevice | None) -> int:
    """Returns how many shards of a step one process works on at once: all devices of this machine are used.

    On other machines it is `threads` of each process, whatever devices these have.
    """
    devices = len(shared.devices(wanted)) if settings.name == LOCAL else 0
    return max(threads(settings), AT_ONCE * devices if settings.processes == 1 else -(-devices // settings.processes))


def workers(settings: RunnerSettings, wanted: WantedDevice | None) -> int:
    """Returns how many devices share the work of a step, or shards at a time if it has no device."""
    return len(shared.devices(wanted)) or threads(settings)


def memory(settings: RunnerSettings) -> int:
    """Returns the memory of a worker process in bytes, by default enough for all its shards at once."""
    if settings.worker_memory is None:
        return threads(settings) * SHARD_MEMORY
    return int(TypeAdapter(ByteSize).validate_python(settings.worker_memory))


def batch_size(settings: RunnerSettings, default: int) -> int:
    """Returns how much a shard may hold in memory at once: `default`, or less with little worker memory."""
    if settings.worker_memory is None:
        return default
    left = (memory(settings) - LEAST_MEMORY) / threads(settings)
    return max(1, int(default * min(1.0, left / SHARD_MEMORY)))


def run_pipeline(settings: RunnerSettings, name: str, build: Callable[[beam.Pipeline], None]) -> None:
    """Builds a pipeline, runs it and waits for its end; raises the worker's error if it fails.

    Raises:
        UserError: nothing listens where an engine is said to be, or the engine says that it failed and no worker is
            behind it: too little memory, for instance.
    """
    check(settings)
    _check_reached(settings)
    limit_arenas()
    beam, PipelineOptions = import_beam()
    options = PipelineOptions(flags(settings, name))
    pipeline = beam.Pipeline(runner=_runner(settings), options=options)
    build(pipeline)
    try:
        with _deaths_named(settings):
            state = pipeline.run().wait_until_finish()
    except RuntimeError as error:
        told = ENGINE_FAILURE.search(str(error))
        if settings.name in ENGINES and told and "Traceback" not in str(error):
            raise UserError(f"runner: {settings.name} failed in stage {name}: {told[1]}") from error
        raise
    if str(state) not in ("DONE", "None"):
        raise RuntimeError(f"the {name} pipeline ended {state} on {settings.name}")


def _deaths_named(settings: RunnerSettings) -> AbstractContextManager[None]:
    if settings.name != LOCAL or settings.processes == 1:
        return nullcontext()
    from siftlm.engine.processes import deaths_named

    return deaths_named()


def _runner(settings: RunnerSettings) -> object:
    if settings.name in ENGINES and "job_endpoint" in settings.options:
        return "PortableRunner"
    if settings.name != LOCAL:
        return settings.name
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    if settings.processes == 1:
        return FnApiRunner()
    from siftlm.engine.processes import environment

    return FnApiRunner(default_environment=environment())


def flags(settings: RunnerSettings, name: str) -> list[str]:
    """Returns Beam's command-line flags; an option that may repeat is comma-separated in our settings."""
    given = []
    for key, value in beam_options(settings, name).items():
        if isinstance(value, bool):
            given += [f"--{key}"] if value else []
        elif key in REPEATED and isinstance(value, str):
            given += [f"--{key}={part}" for part in value.split(",")]
        else:
            given.append(f"--{key}={value}")
    return given


def beam_options(settings: RunnerSettings, name: str) -> dict[str, str | int | float | bool]:
    """Returns the Beam options for one pipeline: the user's, and siftlm's defaults for the others."""
    options: dict[str, str | int | float | bool] = {"job_name": f"siftlm-{re.sub('[^a-z0-9]+', '-', name.lower())}"}
    if settings.name == LOCAL and settings.processes > 1:
        options["direct_num_workers"] = settings.processes
    if settings.name in ENGINES:
        options |= _worker_options(settings)
    return {**options, **settings.options}


def _worker_options(settings: RunnerSettings) -> dict[str, str | int | float | bool]:
    """How an engine gets its Python workers, and how long it keeps them.

    By default executors start this environment's own worker command. Beam would end a worker after every step of a
    stage, and a new one imports for seconds; but a shared worker pool ends workers by a number that the executors
    on a machine have in common, so there they are kept for longer than an executor idles.
    """
    given = settings.options
    if any(name in given for name in WORKER_OPTIONS):
        external = given.get("environment_type") == "EXTERNAL"
        return {"environment_cache_millis": 300_000 if external else 10_000}
    image = given.get("sdk_container_image")
    if image:  # Beam's engines look for it under another name and would take their own image
        return {"environment_type": "DOCKER", "environment_config": image, "environment_cache_millis": 10_000}
    if given.get("job_endpoint") == "embed" or _engine_is_local(settings):
        return {"environment_type": "LOOPBACK"}
    command = json.dumps({"command": os.path.join(os.path.dirname(sys.executable), WORKER_COMMAND)})
    return {"environment_type": "PROCESS", "environment_config": command, "environment_cache_millis": 10_000}


def _engine_is_local(settings: RunnerSettings) -> bool:
    """Whether the engine runs in a job server that Beam starts for this process."""
    if "job_endpoint" in settings.options or settings.name not in ENGINE_MASTERS:
        return False
    option, local = ENGINE_MASTERS[settings.name]
    return re.fullmatch(local, str(settings.options.get(option, "[auto]"))) is not None


def resource_hints(settings: RunnerSettings, stage: str) -> dict[str, str]:
    """Returns a stage's Beam resource hints: accelerator and memory for scoring stages, none for others."""
    if not stage.startswith(ACCELERATED):
        return {}
    wanted = {"accelerator": settings.accelerator, "min_ram": settings.score_memory}
    return {name: value for name, value in wanted.items() if value}
