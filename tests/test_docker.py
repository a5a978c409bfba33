"""The images in docker/, checked without a container engine: what they copy, pin and run exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMAGES = ("cpu", "gpu")
PYTHON = {"cpu": "3.11", "gpu": "3.12"}


class Instruction(NamedTuple):
    name: str
    words: list[str]


def dockerfile(image: str) -> list[Instruction]:
    """The instructions of a Dockerfile, continued lines joined, comments left out."""
    text = (DOCKER / f"{image}.Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [Instruction(line.split()[0], line.split()[1:]) for line in text.splitlines() if line.strip()]


def flags(instruction: Instruction) -> dict[str, str]:
    pairs = (word.removeprefix("--").partition("=") for word in instruction.words if word.startswith("--"))
    return {name: value for name, _, value in pairs}


def operands(instruction: Instruction) -> list[str]:
    return [word for word in instruction.words if not word.startswith("--")]


def run_lines(image: str) -> list[str]:
    """Every command of every RUN, apart."""
    lines = (" ".join(entry.words) for entry in dockerfile(image) if entry.name == "RUN")
    return [command.strip() for line in lines for command in line.split("&&")]


def pins(image: str) -> dict[str, Version]:
    """The constraints file as a mapping; a line that is not `name==version` fails."""
    lines = (DOCKER / f"constraints-{image}.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 and re.fullmatch(r"[a-z0-9-]+", pair[0]) for pair in pairs)
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: Version(version) for name, version in pairs}


def requirements(extras: set[str]) -> list[Requirement]:
    lines = list(PROJECT["dependencies"])
    for extra in sorted(extras):
        lines += PROJECT["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def unmet(needed: list[Requirement], pinned: Mapping[str, Version], environment: dict[str, str]) -> list[str]:
    """The requirements that apply in `environment` and that no pin satisfies."""
    return [
        str(need)
        for need in needed
        if (need.marker is None or need.marker.evaluate(environment))
        and not need.specifier.contains(pinned.get(canonicalize_name(need.name), Version("0")), prereleases=True)
    ]


def environment_of(image: str) -> dict[str, str]:
    marker_environment = {str(key): str(value) for key, value in default_environment().items()}
    version = PYTHON[image]
    return {
        **marker_environment,
        "python_version": version,
        "python_full_version": f"{version}.0",
        "extra": "",
    }


@pytest.mark.parametrize("image", IMAGES)
def test_every_copied_path_exists(image: str) -> None:
    """COPY takes files of the repository, which is the build context, or of another stage."""
    stages = {entry.words[2] for entry in dockerfile(image) if entry.name == "FROM" and len(entry.words) == 3}
    for entry in (entry for entry in dockerfile(image) if entry.name == "COPY"):
        if "from" in flags(entry):
            assert flags(entry)["from"] in stages
        else:
            missing = [source for source in operands(entry)[:-1] if not (ROOT / source).exists()]
            assert not missing


@pytest.mark.parametrize("image", IMAGES)
def test_the_copied_files_are_enough_to_build_the_package(image: str) -> None:
    """The package is built from what was copied: its metadata names no file that stayed behind."""
    copied = {s for e in dockerfile(image) if e.name == "COPY" and "from" not in flags(e) for s in operands(e)}
    named = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "pipeline", "kernels"}
    assert named <= copied


@pytest.mark.parametrize("image", IMAGES)
def test_the_requirements_of_the_project_are_pinned_and_met(image: str) -> None:
    """Each requirement of the extras that the image installs is satisfied by its constraints file."""
    install = next(line for line in run_lines(image) if line.startswith("pip install --no-deps"))
    extras = set(re.findall(r"\[([a-z0-9,]+)\]", install)[0].split(","))
    assert extras <= set(PROJECT["optional-dependencies"])
    assert unmet(requirements(extras), pins(image), environment_of(image)) == []


@pytest.mark.parametrize("image", IMAGES)
def test_the_pins_agree_with_each_other(image: str) -> None:
    """What the installed packages require of each other holds among the pins, as `pip check` asks."""
    pinned, environment = pins(image), environment_of(image)
    for name, version in pinned.items():
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        if Version(installed.version).public == str(version):
            needed = [Requirement(line) for line in installed.requires or []]
            assert unmet(needed, pinned, environment) == [], name


def test_both_images_pin_the_same_versions() -> None:
    """At the same versions the GPU image has all but what scores in 8 bits on a CPU, and CUDA packages beyond that."""
    cpu, gpu = pins("cpu"), pins("gpu")
    assert cpu.keys() - gpu.keys() == {"ctranslate2"}
    assert all(gpu[name] == version for name, version in cpu.items() if name in gpu)
    assert all(re.match(r"cuda-|nvidia-|triton$", name) for name in gpu.keys() - cpu.keys())


def test_the_pins_name_neither_hosts_nor_local_builds() -> None:
    """`torch==X` takes the CPU and the CUDA build alike, from whatever index pip is told of."""
    for image in IMAGES:
        text = (DOCKER / f"constraints-{image}.txt").read_text(encoding="utf-8")
        assert "://" not in text
        assert all(version.local is None for version in pins(image).values())


@pytest.mark.parametrize("image", IMAGES)
def test_the_beam_of_the_harness_is_the_beam_that_is_installed(image: str) -> None:
    """boot comes from Beam's own image of the same version and the same Python."""
    arguments = dict(
        entry.words[0].split("=") for entry in dockerfile(image) if entry.name == "ARG" and "=" in entry.words[0]
    )
    assert Version(arguments["BEAM_VERSION"]) == pins(image)["apache-beam"]
    bases = [entry.words[0] for entry in dockerfile(image) if entry.name == "FROM"]
    assert bases[0] == f"apache/beam_python{PYTHON[image]}_sdk:${{BEAM_VERSION}}"
    python = bases[1] if image == "cpu" else " ".join(run_lines(image))
    assert re.search(rf"python:?{re.escape(PYTHON[image])}", python)


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_runs_as_an_ordinary_user(image: str) -> None:
    """The last USER is one that the image itself makes, and not root."""
    user = [entry.words[0] for entry in dockerfile(image) if entry.name == "USER"][-1]
    assert user not in {"root", "0"}
    assert any(line.startswith("useradd") and line.endswith(user) for line in run_lines(image))


@pytest.mark.parametrize("image", IMAGES)
def test_the_modules_that_the_build_runs_exist(image: str) -> None:
    """`python -m package` needs a __main__, and the entry point the command that pyproject.toml declares."""
    modules = [line.split()[2] for line in run_lines(image) if line.startswith("python -m")]
    assert modules == ["siftlm_kernels"]
    assert find_spec("siftlm_kernels.__main__") is not None
    module, function = PROJECT["scripts"]["siftlm"].split(":")
    command = f"import importlib; assert callable(importlib.import_module({module!r}).{function})"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.parametrize("image", IMAGES)
def test_the_entry_point_is_the_script_that_was_copied(image: str) -> None:
    """ENTRYPOINT is in exec form, and COPY put an executable there."""
    entry = json.loads(" ".join(next(e.words for e in dockerfile(image) if e.name == "ENTRYPOINT")))
    copied = [e for e in dockerfile(image) if e.name == "COPY" and operands(e)[0] == "docker/entrypoint.sh"]
    assert [operands(e)[1] for e in copied] == entry
    assert all(int(flags(e)["chmod"], 8) & 0o111 == 0o111 for e in copied)


@pytest.fixture
def callers(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The entry point with a boot program and a siftlm that print their name and arguments."""
    for name in ("boot", "siftlm"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        program.chmod(0o755)
    script = (DOCKER / "entrypoint.sh").read_text(encoding="utf-8")
    copy = tmp_path / "entrypoint.sh"
    copy.write_text(script.replace("/opt/apache/beam/boot", str(tmp_path / "boot")))
    return copy, {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--id=1-1", "--logging_endpoint=a:1"], "boot --id=1-1 --logging_endpoint=a:1"),
        (["--worker_pool"], "boot --worker_pool"),
        (["--provision_endpoint=a:1", "--id=2"], "boot --provision_endpoint=a:1 --id=2"),
        (
            ["run", "conf/quickstart.toml", "--runner=SparkRunner"],
            "siftlm run conf/quickstart.toml --runner=SparkRunner",
        ),
        (["--help"], "siftlm --help"),
        ([], "siftlm --help"),
    ],
)
def test_worker_flags_go_to_boot_and_commands_to_siftlm(
    callers: tuple[Path, dict[str, str]], arguments: list[str], expected: str
) -> None:
    """One image serves Beam's runners and whoever types a command."""
    script, environment = callers
    done = subprocess.run(["sh", str(script), *arguments], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_the_entry_point_is_valid_shell() -> None:
    """`sh -n` parses it."""
    subprocess.run(["sh", "-n", str(DOCKER / "entrypoint.sh")], check=True)


def test_pip_resolves_the_pins() -> None:
    """The pins of direct dependencies exist where pip looks for packages; skipped where it reaches no index.

    The CPU file only: the GPU file adds to it what torch's own metadata names.
    """
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--no-deps",
        "--ignore-installed",
        "--retries=0",
    ]
    pip += ["--timeout=5", "--quiet", "--disable-pip-version-check"]
    if find_spec("pip") is None or subprocess.run([*pip, "six"], capture_output=True, check=False).returncode:
        pytest.skip("pip reaches no package index")
    direct = {canonicalize_name(need.name) for need in requirements({"gguf", "gcs", "s3"})}
    lines = [f"{name}=={version}" for name, version in pins("cpu").items() if name in direct]
    own = {**os.environ, "PIP_CONSTRAINT": str(DOCKER / "constraints-cpu.txt")}  # in the place of the machine's
    done = subprocess.run([*pip, *lines], capture_output=True, text=True, check=False, env=own)
    assert done.returncode == 0, done.stderr
