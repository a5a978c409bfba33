"""What is submitted, built without an engine: how large graphs are, who gets an accelerator, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, WorkerOptions
from apache_beam.transforms import environments

from siftlm.config import parse
from siftlm.engine import drive, gather
from siftlm.engine.beam_options import of_arguments
from siftlm.engine.drive import Context, run_shards
from siftlm.engine.runner import (
    ACCELERATED,
    RUNNERS,
    RunnerSettings,
    beam_options,
    check,
    flags,
    resource_hints,
    run_pipeline,
    with_options,
)
from siftlm.engine.shards import Task
from siftlm.engine.step import Step
from siftlm.errors import UserError
from siftlm.stages.annotate import Annotate
from siftlm.stages.columns import MODELS, SCORES
from siftlm.stages.commonness.settings import CommonnessSettings
from siftlm.stages.commonness.step import Commonness
from siftlm.stages.commonness.work import NGRAMS
from siftlm.stages.dedup.settings import DedupSettings
from siftlm.stages.dedup.step import Clusters
from siftlm.stages.ids.step import UniqueIds
from siftlm.stages.paragraphs.settings import ParagraphSettings
from siftlm.stages.paragraphs.step import Paragraphs
from siftlm.statistics.summary import Summary
from siftlm.store import Marker, Store

GPU = "type:nvidia-l4;count:1;install-nvidia-driver"
ACCELERATOR_URN, RAM_URN = "beam:resources:accelerator:v1", "beam:resources:min_ram_bytes:v1"


class Submitted(Exception):  # noqa: N818
    """Takes the place of running the pipeline that was built."""

    def __init__(self, name: str, proto: Any) -> None:
        super().__init__(name)
        self.proto = proto


def submitted(settings: RunnerSettings, name: str, build: Callable[[beam.Pipeline], None]) -> None:
    """`run_pipeline` up to the point where Beam would send the graph away, raised as Submitted."""
    options = PipelineOptions(flags(settings, name))
    pipeline = beam.Pipeline(options=options)
    build(pipeline)
    image = options.view_as(WorkerOptions).sdk_container_image
    if settings.name == "DataflowRunner":
        workers = environments.DockerEnvironment.from_container_image(image)
    else:
        workers = environments.Environment.from_options(options.view_as(PortableOptions))
    raise Submitted(name, pipeline.to_runner_api(default_environment=workers))


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (drive, gather):
        monkeypatch.setattr(module, "run_pipeline", submitted)


@dataclass(frozen=True)
class Named:
    """A stage that is never run."""

    name: str

    def run(self, task: Task, store: Store) -> Marker:
        raise AssertionError(f"{self.name} of {task.name} was run in {store.root}")


def tasks(count: int) -> list[Task]:
    return [Task(n, f"s3://bucket/shard-{n:06d}.warc.gz", f"{n:032x}", {"signals": f"{n:032x}"}) for n in range(count)]


def sourced(count: int) -> list[Task]:
    """Shards that were read."""
    return [
        replace(task, inputs={**task.inputs, "documents": task.key}, facts={"source": "web"}) for task in tasks(count)
    ]


def counted(count: int) -> list[Task]:
    return [replace(task, facts={NGRAMS: "table"}) for task in tasks(count)]


def graph(start: Callable[[], object]) -> Any:
    """The proto of the pipeline that `start` would run."""
    with pytest.raises(Submitted) as found:
        start()
    return found.value.proto


def of_shards(name: str, settings: RunnerSettings, store: Store, count: int = 10) -> Any:
    return graph(lambda: run_shards(Named(name), tasks(count), Context(store, settings)))


def of_step(step: Step, work: list[Task], store: Store) -> Any:
    return graph(lambda: step.work(work, Context(store, RunnerSettings(), 1 << 30, 1 << 40)))


def hints(proto: Any) -> dict[str, dict[str, bytes]]:
    """The resource hints of every step that has any."""
    environments = proto.components.environments
    steps = proto.components.transforms.values()
    found = {step.unique_name: dict(environments[step.environment_id].resource_hints) for step in steps}
    return {name: wanted for name, wanted in found.items() if wanted}


# --- size -------------------------------------------------------------------------------------------------------------

GRAPHS: dict[str, Callable[[Store, int], Any]] = {
    "a stage": lambda store, count: of_shards("documents", RunnerSettings(), store, count),
    "annotate": lambda store, count: graph(
        lambda: run_shards(Annotate(()), tasks(count), Context(store, RunnerSettings()))
    ),
    "statistics": lambda store, count: graph(
        lambda: gather.gather(
            "summary", Summary.of, Summary.merged, tasks(count), Context(store, RunnerSettings(), 1 << 30)
        )
    ),
    "dedup": lambda store, count: of_step(Clusters(DedupSettings()), tasks(count), store),
    "ids": lambda store, count: of_step(UniqueIds(("web",)), sourced(count), store),
    "paragraphs": lambda store, count: of_step(Paragraphs(ParagraphSettings(), 0, True), tasks(count), store),
    "ngrams": lambda store, count: of_step(Commonness(CommonnessSettings(), True), counted(count), store),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_graph_does_not_grow_with_its_shards(kind: str, tmp_path: Path) -> None:
    """Ten and 100,000 shards give the same steps and the same bytes: shards are read from a file.

    The names of plans and answers are hashes, and pickled functions are compressed: the same graph for the same shards
    differs by a hundred bytes or so. A hundredth of a byte a shard would be 1,000.
    """
    few, many = (GRAPHS[kind](Store(str(tmp_path)), count) for count in (10, 100_000))
    assert [t.unique_name for t in few.components.transforms.values()] == [
        t.unique_name for t in many.components.transforms.values()
    ]
    assert many.ByteSize() - few.ByteSize() < 1_000
    assert many.ByteSize() < 100_000


# --- accelerators and images ------------------------------------------------------------------------------------------


def test_only_the_score_stage_has_an_accelerator(tmp_path: Path) -> None:
    """Of the score stage's graph the one step that scores, and no step of another stage."""
    settings = RunnerSettings(
        name="DataflowRunner",
        accelerator=GPU,
        score_memory="30GB",
        options={"sdk_container_image": "registry/siftlm:gpu"},
    )
    store = Store(str(tmp_path))
    wanted = {ACCELERATOR_URN: GPU.encode(), RAM_URN: b"30000000000"}
    assert hints(of_shards(f"{SCORES}small", settings, store)) == {f"{SCORES}small": wanted}
    for name in ("documents", "signals", "decisions", "shuffled", "parts", "rejects"):
        assert hints(of_shards(name, settings, store)) == {}
    assert ACCELERATED == (MODELS, SCORES)


def test_no_accelerator_is_asked_for_by_default() -> None:
    assert resource_hints(RunnerSettings(), f"{SCORES}small") == {}


@pytest.mark.parametrize(
    "settings",
    [
        RunnerSettings(name="DataflowRunner", options={"sdk_container_image": "registry/siftlm:gpu"}),
        RunnerSettings(
            name="SparkRunner",
            options={"spark_master_url": "spark://host:7077", "sdk_container_image": "registry/siftlm:gpu"},
        ),
        RunnerSettings(
            name="FlinkRunner",
            options={
                "environment_type": "DOCKER",
                "environment_config": "registry/siftlm:gpu",
                "flink_master": "host:8081",
            },
        ),
    ],
    ids=lambda settings: settings.name,
)
def test_workers_run_in_the_image_that_was_asked_for(settings: RunnerSettings, tmp_path: Path) -> None:
    """Every step runs in that image; an engine's own image has no siftlm."""
    proto = of_shards("documents", settings, Store(str(tmp_path)))
    steps = [t for t in proto.components.transforms.values() if t.environment_id]
    assert steps
    for step in steps:
        assert b"registry/siftlm:gpu" in proto.components.environments[step.environment_id].payload


# --- workers of engines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SparkRunner", "FlinkRunner"])
def test_executors_of_a_cluster_start_the_worker_command(name: str) -> None:
    """Where nothing is said of workers, executors start the command that is installed beside this Python."""
    master = {"spark_master_url": "spark://host:7077", "flink_master": "host:8081"}
    options = beam_options(RunnerSettings(name=name, options=dict(master)), "documents")
    assert options["environment_type"] == "PROCESS"
    assert Path(json.loads(str(options["environment_config"]))["command"]).is_file()
    assert int(options["environment_cache_millis"]) > 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SparkRunner", {"spark_master_url": "local[2]"}),
        ("FlinkRunner", {}),
        ("FlinkRunner", {"flink_master": "[local]"}),
        ("PortableRunner", {"job_endpoint": "embed"}),
    ],
)
def test_an_engine_in_this_process_has_its_workers_here(name: str, options: dict[str, Any]) -> None:
    """Local masters work in the process that submits."""
    assert beam_options(RunnerSettings(name=name, options=options), "documents")["environment_type"] == "LOOPBACK"


def test_the_users_workers_are_the_users() -> None:
    """What is said of workers is passed on as it is, and a shared pool keeps its workers for minutes."""
    given = {"job_endpoint": "host:8099", "environment_type": "EXTERNAL", "environment_config": "localhost:50000"}
    options = beam_options(RunnerSettings(name="PortableRunner", options=dict(given)), "documents")
    assert {name: options[name] for name in given} == given
    assert int(options["environment_cache_millis"]) >= 60_000
    kept = beam_options(RunnerSettings(name="PortableRunner", options={**given, "environment_cache_millis": 5}), "x")
    assert kept["environment_cache_millis"] == 5


def test_beams_options_reach_beam() -> None:
    """Options of the command line, repeated ones and flags, in the form that Beam reads."""
    words = ["--runner=apache_beam.runners.SparkRunner", "--spark_master_url", "spark://host:7077"]
    words += ["--experiments=use_runner_v2,no_use_multiple_sdk_containers", "--save_main_session"]
    settings = with_options(RunnerSettings(), of_arguments([*words, "--spark_job_server_jar=server.jar"])[0])
    assert settings.name == "SparkRunner"
    given = flags(settings, "scores/small")
    assert {"--experiments=use_runner_v2", "--experiments=no_use_multiple_sdk_containers"} <= set(given)
    assert {"--save_main_session", "--spark_job_server_jar=server.jar", "--job_name=siftlm-scores-small"} <= set(given)


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "DaskRunner"}, "runner.name: must be a runner with right results, got 'DaskRunner'"),
        ({"name": "InteractiveRunner"}, "runner.name: must be a runner with right results"),
        ({"name": "BundleBasedDirectRunner"}, "runner.name: must be a runner with right results"),
        ({"name": "SamzaRunner"}, "runner.name: must be one of FnApiRunner"),
        ({"name": "SparkRunner"}, "runner.options.spark_master_url: must name the cluster"),
        ({"name": "PortableRunner"}, "runner.options.job_endpoint: must name a job server"),
        (
            {"accelerator": GPU, "options": {"dataflow_service_options": "worker_accelerator=type:nvidia-l4;count:1"}},
            "runner.accelerator: must not be combined",
        ),
        ({"options": {"direct_running_mode": "multi_threading"}}, "runner.options.direct_running_mode: must be"),
        (
            {"name": "DirectRunner", "options": {"direct_running_mode": "multi_threading"}},
            "runner.options.direct_running_mode: must be",
        ),
    ],
)
def test_runners_and_modes_with_wrong_results_are_refused(settings: dict[str, Any], message: str) -> None:
    """A user's mistake, said before any pipeline is built."""
    with pytest.raises(UserError) as found:
        check(RunnerSettings(**settings))
    assert str(found.value).startswith(message)
    with pytest.raises(UserError):
        run_pipeline(RunnerSettings(**settings), "documents", lambda pipeline: pytest.fail("a pipeline was built"))


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_known_runner_is_not_refused(runner: str) -> None:
    check(RunnerSettings(name=runner, options={"spark_master_url": "local", "job_endpoint": "localhost:8099"}))


@pytest.mark.parametrize("accelerator", ["nvidia-l4", "type:nvidia-l4", "type:;count:1", "type:nvidia-l4;count:0"])
def test_an_accelerator_that_dataflow_would_not_know_is_refused(accelerator: str) -> None:
    """The form of the hint is checked with the configuration, not after a day of ingestion."""
    tree = {"name": "x", "input": [{"source": "s", "paths": ["p"]}], "output": {"folder": "o"}}
    with pytest.raises(UserError, match=r"runner\.accelerator"):
        parse({**tree, "runner": {"accelerator": accelerator}}, [])
