"""How tests run: they share the machine with others and each other, and their commands heed signals."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tests.models import Models

from siftlm import logs

settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other cost more than they give

MOST_PROCESSES = 4  # each holds torch, Beam and its own copy of the fixtures of a session

for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:  # as in jobs behind `&` and `nohup`, whose children ignore it too
        signal.signal(number, lambda *_: None)


def pytest_xdist_auto_num_workers() -> int:
    """Gives every core a process, up to a few: the answer to `-n auto`."""
    return min(MOST_PROCESSES, len(os.sched_getaffinity(0)))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Makes tiny language models, in a folder that all processes share."""
    root = tmp_path_factory.getbasetemp()
    shared = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "models"
    shared.mkdir(exist_ok=True)
    return Models(shared)


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves a file in the report's place: it costs more than the rest of a run, and no byte of data/ needs it."""
    from siftlm import publication

    def overview(self: Any) -> Any:
        return SimpleNamespace(manifest=self.manifest(self.statistics()) | {"steps": []}, mixtures=())

    def report(run: Any, *_: Any) -> None:
        Path(run.folder, "report.html").write_text("a report" * 9)

    monkeypatch.setattr(publication.Publication, "overview", overview)
    monkeypatch.setattr(publication, "write_report", report)


@pytest.fixture(autouse=True)
def logs_reach_the_test() -> Iterator[None]:
    """Undoes what a command that ran in this process did to the loggers, so that later tests see their records."""
    yield
    for name in logs.NAMES:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
