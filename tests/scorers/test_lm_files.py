"""Models from the hub: what it does not give is one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from siftlm.errors import UserError
from siftlm.scorers.lm import LMScorer, LMSettings

ANSWER: Any = SimpleNamespace(headers={}, request=None)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.RepositoryNotFoundError("404.\n\nRepository", response=ANSWER), "the hub has none of that name"),
        (errors.GatedRepoError("403.\n\nCannot access", response=ANSWER), "its owner wants terms to be accepted"),
        (errors.RevisionNotFoundError("404.\n\nRevision", response=ANSWER), "the hub has no such revision"),
        (errors.LocalEntryNotFoundError("Got: ConnectError\nmore"), "the hub cannot be reached, and no copy"),
        (errors.HFValidationError("Repo id must\nuse"), "a hub id is a name"),
        (OSError("disk\nfull"), "disk"),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Exception) else "",
)
def test_a_model_that_the_hub_does_not_give_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    """No such name, terms not accepted, no such revision, no network, no id."""

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(UserError) as caught:
        LMScorer(LMSettings(name="lm", model="owner/name", device="cpu")).check()
    (line,) = str(caught.value).splitlines()
    assert line.startswith("score.lm.model: must be a folder, a .gguf file or a hub id that can be fetched, got 'owner")
    assert told in line
