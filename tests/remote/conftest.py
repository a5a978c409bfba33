"""The stand-in of the hub, to which huggingface_hub is turned while a test runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hub_stand_in import HubStandIn, standing_in
from tests.runs.conftest import Bench

from siftlm.remote import hub as pins


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    """A stand-in with no repository yet, and nobody logged in."""
    from huggingface_hub import HfFileSystem, constants
    from huggingface_hub.utils import _http

    with standing_in() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.url)  # for processes that are started
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # of which there is no stand-in
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
        template = f"{stand_in.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        HfFileSystem.clear_instance_cache()
        pins.forget()
        yield stand_in
    pins.forget()
    HfFileSystem.clear_instance_cache()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
