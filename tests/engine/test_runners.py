"""One small corpus on every runner, byte for byte: engines are real, started here on free ports and stopped after.

The engines are in ../shared/tools beside the repository, where it says how they are started; without them a test is
skipped and says so. The truth is FnApiRunner in memory.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from glob import glob
from pathlib import Path

import pytest
from tests.engine.devices.fakes import FakeDevices
from tests.models import Models

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT.parent / "shared" / "tools"
JARS = TOOLS / "beam-jvm"
BIN = Path(sys.executable).parent
START_SECONDS = 120
RUN_SECONDS = 420
SLOW = "SIFTLM_SLOW_ENGINES"
POOL = "apache_beam.runners.worker.worker_pool_main"
OWNER = "SIFTLM_TEST_FOLDER"  # the environment variable by which a test knows its processes
QUICK_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # a test's JVM lives for seconds
CONFIGURATION = """
name = "engines"
seed = 3

[[input]]
source = "made"
paths = ["{folder}/input"]
id_field = "id"
columns = {{ quality = "float", kind = "string" }}
shard_bytes = 32768

[[join]]
path = "{folder}/edu.jsonl"
columns = ["edu"]

[dedup]

[[score]]
name = "small"
model = "{folder}/model"
device = "cpu"

[[columns]]
name = "mean_rank"
expr = "(rank(quality, within=kind) + rank(edu) + quantile(small_perplexity, 10, weight=byte_count) / 10) / 3"

[[columns]]
name = "above"
expr = "zscore(mean_rank) > -1"

[select]
tokens = "small_token_count"

[select.weights]
budget_tokens = 4000
factors = [{{ kind = "mixture", column = "kind", shares = {{ odd = 0.4, even = 0.6 }} }}]

[[select.rules]]
kind = "threshold"
column = "mean_rank"
min = 0.2
missing = "keep"

[[select.rules]]
kind = "band"
column = "small_perplexity"
criterion = "medium"
rate = 0.7

[output]
folder = "unset"
shard_bytes = 65536
shuffle = true
rejects = true
"""


def environment(**extra: str) -> dict[str, str]:
    """This process's variables with its environment first on PATH, as engines and worker pools need it."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", **extra}


def texts() -> list[str]:
    """Made-up sentences, two exact copies, five near ones, an empty and a short text."""
    rng = random.Random(5)
    starts, ends = ["ba", "ke", "li", "mo", "nu", "ra", "si", "to"], ["ban", "dor", "fel", "gim", "hal", "jun"]
    words = [start + end for start in starts for end in ends]
    made = [" ".join(rng.choices(words, k=rng.randint(30, 90))) + "." for _ in range(40)]
    return [*made, made[0], made[7], *(text.replace(" ", " odd ", 1) for text in made[3:8]), "", "short one"]


def large_rows() -> list[dict[str, object]]:
    """Rows of 5 kB, enough of them for a file of several slices."""
    rng = random.Random(6)
    words = [f"{start}{middle}ra" for start in ("ta", "ve", "zo") for middle in ("bi", "ko", "lu", "me")]
    return [
        {"id": f"large{n}", "text": " ".join(rng.choices(words, k=700)), "quality": n % 7, "kind": "odd"}
        for n in range(40)
    ]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny_model: Models) -> Path:
    """A folder with four small files and one that is read in slices, a model and the configuration of the run."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "input").mkdir()
    rows = [
        {"id": f"d{n}", "text": text, "quality": n * 7 % 11, "kind": "odd" if n % 2 else "even"}
        for n, text in enumerate(texts())
    ]
    for shard in range(4):
        (folder / "input" / f"{shard}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[shard::4]))
    (folder / "input" / "large.jsonl").write_text("".join(json.dumps(row) + "\n" for row in large_rows()))
    scores = [{"doc_id": row["id"], "edu": n * 5 % 13 / 4} for n, row in enumerate(rows) if n % 9]
    (folder / "edu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores))
    tiny_model(folder / "model", n_embd=32, n_positions=128)
    (folder / "run.toml").write_text(CONFIGURATION.format(folder=folder))
    return folder


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below data/ and rejects/, by its path in the run's folder."""
    files = [path for part in ("data", "rejects") for path in sorted((folder / part).iterdir())]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


Run = Callable[..., dict[str, str]]


@pytest.fixture
def run(corpus: Path, tmp_path: Path) -> Run:
    """Runs the corpus by the command line with these arguments in a fresh folder; gives its checksums."""

    def start(*arguments: str, logs: tuple[Path, ...] = ()) -> dict[str, str]:
        command = [str(BIN / "siftlm"), "run", str(corpus / "run.toml"), "--set", f"output.folder={tmp_path}/run"]
        with running([*command, *arguments], tmp_path / "siftlm.log") as process:
            try:
                code = process.wait(RUN_SECONDS)
            except subprocess.TimeoutExpired:
                code = None
        shown = "".join(f"\n--- {log}\n{tail(log)}" for log in (tmp_path / "siftlm.log", *logs))
        assert code == 0, f"ended with {code}{shown}"
        return checksums(tmp_path / "run")

    return start


@pytest.fixture(scope="module")
def truth(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The checksums of a run in memory."""
    folder = tmp_path_factory.mktemp("truth")
    command = [str(BIN / "siftlm"), "run", str(corpus / "run.toml"), "--set", f"output.folder={folder}/run"]
    subprocess.run(command, check=True, timeout=RUN_SECONDS, env=environment())
    found = checksums(folder / "run")
    assert any(name.startswith("data/") for name in found)
    assert any(name.startswith("rejects/") for name in found)
    return found


# --- engines ----------------------------------------------------------------------------------------------------------


def tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(nothing)"


@contextmanager
def running(command: list[str], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, whose whole group is gone when the block ends."""
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment(**variables), start_new_session=True
        )
    try:
        yield process
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Asks a process group to end and then makes it."""
    for number, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 15.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            process.poll()
            if not group_lives(process.pid):
                return
            time.sleep(0.1)
    raise AssertionError(f"group {process.pid} is still there")


def group_lives(group: int) -> bool:
    """Whether a process group has a member that is not a zombie."""
    found = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(int(pgid) == group and not stat.startswith("Z") for pgid, stat in map(str.split, found.splitlines()))


def free_port(*offsets: int) -> int:
    """A port that is free, and so are those at the offsets from it."""
    for _ in range(100):
        port = random.randint(20_000, 30_000)  # below the ports that the system gives to clients
        if all(is_free(port + offset) for offset in (0, *offsets)):
            return port
    raise AssertionError("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for(what: str, ready: Callable[[], bool], log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while not ready():
        assert time.monotonic() < limit, f"{what} did not start in {START_SECONDS} s\n{tail(log)}"
        time.sleep(0.2)


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def needs(package: str | None = None) -> None:
    """Skips unless the tools, and the package an engine comes from, are here."""
    if not TOOLS.is_dir():
        pytest.skip(f"the engines of {TOOLS} are not here")
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install '.[spark,flink]'")


@contextmanager
def job_server(folder: Path, engine: str, master: str, jvm: str = "") -> Iterator[str]:
    """The endpoint of Beam's job server for an engine."""
    port, log = free_port(-1, -2), folder / "job-server.log"
    command = [str(TOOLS / "job-server"), engine, master, str(port)]
    with running(command, log, JAVA_TOOL_OPTIONS=f"{QUICK_JVM} {jvm}"):
        wait_for(f"the job server for {engine}", lambda: answers(port), log)
        yield f"localhost:{port}"


@contextmanager
def spark_cluster(folder: Path, **variables: str) -> Iterator[str]:
    """The master's url of a Spark standalone cluster of two workers."""
    port, log = free_port(1, 2, 1000, 1001, 1002), folder / "cluster.log"
    command = [str(TOOLS / "spark-cluster"), "start", str(folder), "2", str(port)]
    with running(command, log, JAVA_TOOL_OPTIONS=QUICK_JVM, **variables):
        master = folder / "master.log"
        wait_for("the cluster", lambda: master.exists() and tail(master, 10**6).count("Registering worker") == 2, log)
        yield f"spark://127.0.0.1:{port}"


@contextmanager
def flink_cluster(folder: Path) -> Iterator[str]:
    """The address of a Flink session cluster: a job manager and two task managers with a slot each, all processes."""
    rest, rpc = free_port(1), free_port(2)
    (folder / "conf").mkdir()
    settings = {
        "rest.port": rest,
        "rest.address": "127.0.0.1",
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": rpc,
        "taskmanager.host": "127.0.0.1",
        "taskmanager.numberOfTaskSlots": 1,
        "taskmanager.cpu.cores": 1.0,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
        "taskmanager.memory.task.heap.size": "384m",
        "taskmanager.memory.task.off-heap.size": "0m",
        "taskmanager.memory.network.min": "64m",
        "taskmanager.memory.network.max": "64m",
        "taskmanager.memory.managed.size": "128m",
    }
    (folder / "conf" / "flink-conf.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    package = importlib.util.find_spec("pyflink")
    assert package is not None
    opens = [
        f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.lang", "java.util", "java.nio", "sun.nio.ch")
    ]
    java = ["java", *opens, "-cp", f"{(package.submodule_search_locations or [''])[0]}/lib/*"]
    entry = "org.apache.flink.runtime"
    manager = [*java, f"{entry}.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", str(folder / "conf")]
    tasks = [*java, f"{entry}.taskexecutor.TaskManagerRunner", "--configDir", str(folder / "conf")]
    with ExitStack() as stack:
        for name, command in (("manager", manager), ("tasks-1", tasks), ("tasks-2", tasks)):
            stack.enter_context(running(command, folder / f"{name}.log", JAVA_TOOL_OPTIONS=QUICK_JVM))
        wait_for("the Flink cluster", lambda: _slots(rest) == 2, folder / "manager.log")
        yield f"127.0.0.1:{rest}"


def _slots(port: int) -> int:
    """The free slots of a Flink cluster; 0 where it does not answer yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/overview", timeout=2) as answer:
            return int(json.load(answer)["slots-available"])
    except (OSError, ValueError):
        return 0


@contextmanager
def worker_pool(folder: Path) -> Iterator[str]:
    """The address of Beam's worker pool, a process of its own."""
    port, log = free_port(), folder / "pool.log"
    command = [sys.executable, "-m", POOL, f"--service_port={port}"]
    with running(command, log, **{OWNER: str(folder)}):
        wait_for("the worker pool", lambda: answers(port), log)
        yield f"localhost:{port}"


# --- the same bytes ---------------------------------------------------------------------------------------------------


def test_two_processes_give_the_same_bytes(run: Run, truth: dict[str, str]) -> None:
    """FnApiRunner with two worker processes writes what it writes in memory."""
    assert run("--set", "runner.processes=2") == truth


@pytest.mark.parametrize("runner", ["DirectRunner", "PrismRunner"])
def test_prism_gives_the_same_bytes(runner: str, run: Run, truth: dict[str, str]) -> None:
    """Prism, by its own name and as what DirectRunner uses."""
    needs()
    assert run(f"--runner={runner}", f"--prism_location={TOOLS / 'prism'}") == truth


def test_a_worker_pool_gives_the_same_bytes(run: Run, truth: dict[str, str], tmp_path: Path) -> None:
    """Beam's embedded job server, with the work done in the processes of a separate pool."""
    with local_engine("embedded", tmp_path) as arguments:
        found = run(*arguments, logs=(tmp_path / "pool.log",))
    assert found == truth
    assert "Starting worker" in (tmp_path / "pool.log").read_text()


@pytest.mark.parametrize("engine", ["prism", "embedded"])
def test_kills_at_every_stage_change_no_byte(engine: str, corpus: Path, truth: dict[str, str], tmp_path: Path) -> None:
    """SIGKILL for the run and all it started, once at the first marker of each stage; then it is let run.

    What was committed is never written again. The same in memory and with processes is in `tests/runs`.
    """
    command = [str(BIN / "siftlm"), "run", str(corpus / "run.toml"), "--set", f"output.folder={tmp_path}/run"]
    store, log, killed = tmp_path / "run" / "store", tmp_path / "siftlm.log", set[str]()
    with local_engine(engine, tmp_path) as arguments:
        finished = False
        while not finished:
            before = {marker: marker.stat().st_ino for marker in markers(store)}
            with running([*command, *arguments], log, **{OWNER: str(tmp_path)}) as process:
                stages = kill_at_new_stage(process, store, killed)
            wait_for("the end of all workers", lambda: are_gone(tmp_path), log)
            killed |= stages
            finished = process.returncode == 0
            assert finished or process.returncode == -signal.SIGKILL, tail(log)
            assert {marker: marker.stat().st_ino for marker in before} == before
    assert len(killed) >= 6
    assert checksums(tmp_path / "run") == truth


def workers_of(folder: Path) -> list[int]:
    """The processes that were started for a test, but for the pool that starts others: workers outlive their run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{OWNER}={folder}\0".encode() in variables and POOL.encode() not in command:
            found.append(int(process.name))
    return found


def are_gone(folder: Path, looks: int = 4) -> bool:
    """Tells whether no worker is there at several looks: one that has just been forked has no environment yet."""
    for _ in range(looks):
        if workers_of(folder):
            return False
        time.sleep(0.25)
    return True


def markers(folder: Path) -> list[Path]:
    """The markers below a folder in which others work: what goes away meanwhile is no error, as it is for `rglob`."""
    return [folder / name for name in glob("**/*.done", root_dir=folder, recursive=True)]


def kill_at_new_stage(process: subprocess.Popen[bytes], store: Path, known: set[str]) -> set[str]:
    """Waits for the run; kills it where a stage that is not known has a marker, and gives that stage."""
    while process.poll() is None:
        begun = {marker.relative_to(store).parent.as_posix() for marker in markers(store)} - known
        if begun:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return begun
        time.sleep(0.01)
    return set()


@contextmanager
def local_engine(name: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """What sends a run to Prism, or to Beam's embedded job server with a worker pool."""
    if name == "prism":
        needs()
        yield "--runner=PrismRunner", f"--prism_location={TOOLS / 'prism'}"
        return
    with worker_pool(folder) as address:
        pool = ("--environment_type=EXTERNAL", f"--environment_config={address}")
        yield "--runner=PortableRunner", "--job_endpoint=embed", *pool


def test_spark_in_one_process_gives_the_same_bytes(run: Run, truth: dict[str, str], tmp_path: Path) -> None:
    """Spark's local master through Beam's job server, its Python work in the process that submits."""
    needs("pyspark")
    with job_server(tmp_path, "spark", "local[2]") as endpoint:
        arguments = (f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK")
        assert run("--runner=SparkRunner", *arguments, logs=(tmp_path / "job-server.log",)) == truth


def test_a_spark_cluster_of_two_workers_gives_the_same_bytes(run: Run, truth: dict[str, str], tmp_path: Path) -> None:
    """A standalone cluster: executors start siftlm's worker command, each its own."""
    with cluster_arguments(tmp_path) as arguments:
        assert run(*arguments, logs=cluster_logs(tmp_path)) == truth
    for worker in ("worker-1", "worker-2"):
        assert list((tmp_path / worker).glob("app-*/*/stderr")), f"{worker} had no executor"


def test_a_lost_spark_executor_changes_no_byte(run: Run, truth: dict[str, str], tmp_path: Path) -> None:
    """Killed once the first shard is done, with all that runs in it: Spark does its work again elsewhere."""
    killed: list[int] = []

    def kill() -> None:
        while not (markers(tmp_path / "run") and executors(tmp_path / "worker-1")):
            time.sleep(0.05)
        killed.extend(executors(tmp_path / "worker-1")[:1])
        for process in killed:
            os.kill(process, signal.SIGKILL)

    with cluster_arguments(tmp_path) as arguments:
        threading.Thread(target=kill, daemon=True).start()
        assert run(*arguments, logs=cluster_logs(tmp_path)) == truth
    assert killed
    assert len(list((tmp_path / "worker-1").glob("app-*/*/stderr"))) > 1, "the executor was not started again"


def test_spark_says_which_devices_an_executor_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`spark.executor.resource.gpu`: each sees those that its worker gave it, and siftlm's workers see no others.

    The discovery script gives the first worker of Spark that asks the address 4, the second one 5.
    """
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    script = tmp_path / "discover"
    script.write_text(
        f"#!/bin/sh\nif mkdir {tmp_path}/first 2>/dev/null; then n=4; else n=5; fi\n"
        """echo "{\\"name\\": \\"gpu\\", \\"addresses\\": [\\"$n\\"]}"\n"""
    )
    script.chmod(0o755)
    discovery = f"-Dspark.worker.resource.gpu.amount=1 -Dspark.worker.resource.gpu.discoveryScript={script}"
    asked = ("-Dspark.executor.resource.gpu.amount=1", "-Dspark.task.resource.gpu.amount=1")
    with cluster_arguments(tmp_path, *asked, SPARK_WORKER_OPTS=discovery) as arguments:
        probe = [sys.executable, "-c", PROBE, str(tmp_path), *(word.split("=", 1)[1] for word in arguments[1:])]
        subprocess.run(probe, check=True, timeout=RUN_SECONDS, env=environment())
    seen = {path.name: path.read_text() for path in tmp_path.glob("seen-*")}
    assert sorted(seen.values()) == ["4 PCI_BUS_ID", "5 PCI_BUS_ID"], seen


def test_executors_of_spark_share_out_devices(
    tmp_path: Path, tiny_model: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By locks: two executors on a machine that says nothing of its three made-up devices never use the same one."""
    site, notes, shards = (tmp_path / name for name in ("site", "notes", "in"))
    for folder in (site, notes, shards):
        folder.mkdir()
    (site / "sitecustomize.py").write_text(THREE_DEVICES.format(notes=notes))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")]))
    for shard in range(8):
        rows = [{"id": f"{shard}-{n}", "text": "rain in the north " * (shard + n + 1)} for n in range(4)]
        (shards / f"{shard}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    conf = tmp_path / "run.toml"
    conf.write_text(ON_DEVICES.format(folder=tmp_path, model=tiny_model.kept(scale=8.0)))
    command = [str(BIN / "siftlm"), "run", str(conf), "--set", f"output.folder={tmp_path}"]
    subprocess.run([*command[:-1], f"{command[-1]}/here"], check=True, timeout=RUN_SECONDS, env=environment())
    for note in notes.iterdir():
        note.unlink()
    with cluster_arguments(tmp_path) as arguments:
        there = [*command[:-1], f"{command[-1]}/there", *arguments]
        subprocess.run(there, check=True, timeout=RUN_SECONDS, env=environment())
    calls = FakeDevices(3, notes).calls()
    assert len(calls) == 8
    assert len({call["process"] for call in calls}) == len({call["device"] for call in calls}) == 2, calls
    assert checksums(tmp_path / "here") == checksums(tmp_path / "there")


THREE_DEVICES = """
from pathlib import Path
try:
    from tests.engine.devices.fakes import FakeDevices
    from siftlm.engine.devices import pool
    pool.shared.__dict__ = FakeDevices(3, Path("{notes}"), together=2).pool().__dict__
except ImportError:
    pass  # of another Python than ours
"""
ON_DEVICES = """
name = "devices"
annotate = {{ language = false, signals = false }}
input = [{{ source = "made", paths = ["{folder}/in"], id_field = "id", shard_bytes = 1 }}]
score = [{{ name = "tiny", model = "{model}", device = "cuda" }}]
output = {{ folder = "{folder}/here", rejects = true }}
"""
PROBE = """
import sys, time
from pathlib import Path
import apache_beam as beam
from apache_beam.internal.cloudpickle import cloudpickle
from siftlm.engine.runner import RunnerSettings, run_pipeline
cloudpickle.register_pickle_by_value(sys.modules["__main__"])
folder, endpoint, staged = sys.argv[1:]
def look(number):
    import os
    told = f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.environ['CUDA_DEVICE_ORDER']}"
    Path(folder, f"seen-{os.getpid()}").write_text(told)
    while len(list(Path(folder).glob("seen-*"))) < 2:  # until both executors have work
        time.sleep(0.1)
settings = RunnerSettings(name="SparkRunner", options={"job_endpoint": endpoint, "files_to_stage": staged})
run_pipeline(settings, "probe", lambda p: p | beam.Create(range(8)) | beam.Reshuffle() | beam.Map(look))
"""


@contextmanager
def cluster_arguments(folder: Path, *options: str, **variables: str) -> Iterator[tuple[str, ...]]:
    """What sends a run to a standalone cluster, which is there while the block runs.

    One Spark application serves all stages, and executors find Beam's classes on this machine: starting JVMs and
    shipping 380 MB of classes to each for every stage would be all that is measured here.
    """
    needs("pyspark")
    jvm = " ".join(["-Dbeam.spark.test.reuseSparkContext=true", f"-Dspark.executor.extraClassPath={JARS}/*", *options])
    with spark_cluster(folder, **variables) as master, job_server(folder, "spark", master, jvm) as endpoint:
        yield "--runner=SparkRunner", f"--job_endpoint={endpoint}", f"--files_to_stage={JARS / 'args4j-2.33.jar'}"


def cluster_logs(folder: Path) -> tuple[Path, ...]:
    return folder / "job-server.log", folder / "master.log"


def executors(folder: Path) -> list[int]:
    """The executors of the Spark worker whose folder this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"CoarseGrainedExecutorBackend" in (process / "cmdline").read_bytes():
                found += [int(process.name)] if folder in (process / "cwd").resolve().parents else []
        except OSError:
            continue
    return found


def test_flink_gives_the_same_bytes(run: Run, truth: dict[str, str], tmp_path: Path) -> None:
    """Flink's mini cluster through Beam's job server, with siftlm's worker command."""
    needs("pyflink")
    with job_server(tmp_path, "flink", "[local]") as endpoint:
        arguments = (f"--job_endpoint={endpoint}", "--parallelism=2")
        assert run("--runner=FlinkRunner", *arguments, logs=(tmp_path / "job-server.log",)) == truth


def test_a_flink_session_cluster_gives_the_same_bytes(run: Run, truth: dict[str, str], tmp_path: Path) -> None:
    """Two task managers, processes of their own, whose workers read portions of one file.

    Every step waits half a minute for its class path to be shipped, so this runs on request only.
    """
    needs("pyflink")
    if not os.environ.get(SLOW):
        pytest.skip(f"takes minutes: set {SLOW}=1")
    with flink_cluster(tmp_path) as master, job_server(tmp_path, "flink", master) as endpoint:
        arguments = (f"--job_endpoint={endpoint}", "--parallelism=2")
        logs = tuple(tmp_path / f"{name}.log" for name in ("job-server", "manager", "tasks-1"))
        assert run("--runner=FlinkRunner", *arguments, logs=logs) == truth
