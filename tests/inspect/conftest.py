"""Finished runs to look at, made once: a hostile one, one that drops everything, an empty one."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterable
from typing import Any

import pytest

DOMAINS = 50_000
SCRIPT = "<script>alert(1)</script>"
RIGHT_TO_LEFT = "\u202eמימין לשמאל ואז بالعربية من اليمين إلى اليسار وهذا نص"
EMOJI = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f3f3\ufe0f\u200d\U0001f308"
HOSTILE: list[dict[str, Any]] = [
    {"id": "script", "text": f"{SCRIPT} and <img src=x onerror=alert(2)> in a text of some length", "domain": "a.com"},
    {"id": SCRIPT, "text": "an id that is a script, and a text that is long enough to be kept", "domain": SCRIPT},
    {"id": "rtl", "text": RIGHT_TO_LEFT, "domain": "ערבית.example"},
    {"id": "emoji", "text": f"{EMOJI} a family and a flag in a text that is long enough", "domain": f"{EMOJI}.example"},
    {"id": "control", "text": "\u0000\u0007\u001b[31m bells and escapes in a text", "domain": "bell\u0007.com"},
    {"id": "style", "text": "</style></svg>]]> --> {{ 7 * 7 }} {% raw %} a template in a text", "domain": "$x^2$.com"},
    {"id": "twin one", "text": "these two texts are the same, byte for byte", "domain": "a.com"},
    {"id": "twin two", "text": "these two texts are the same, byte for byte", "domain": "b.com"},
    {"id": "no domain", "text": "a text without a domain, which is long enough to keep"},
    {"id": "empty", "text": "", "domain": "a.com"},
]
SELECT = {
    "rules": [
        {"kind": "threshold", "column": "byte_count", "min": 10, "reason": "too_small"},
        {"kind": "sample", "rate": 0.9},
        {"kind": "band", "column": "byte_count", "criterion": "medium", "rate": 0.8, "within": "source"},
    ],
    "weights": {"factors": [{"kind": "table", "column": "source", "table": {"few": 2.5}}], "materialise": True},
}
Run = Callable[..., str]


def many(domains: int) -> list[dict[str, Any]]:
    """A document for each of many domains."""
    return [{"id": f"t{n}", "text": f"{n} " + "word " * (n % 17), "domain": f"d{n}.com"} for n in range(domains)]


def few() -> list[dict[str, Any]]:
    """Fifty documents for each of four domains."""
    return [
        {"id": f"f{n}", "text": f"{n} of few " + "text " * (n % 11), "domain": f"few{n % 4}.com"} for n in range(200)
    ]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the job over documents by source and gives its folder; settings are laid over a small configuration."""
    from siftlm import job
    from siftlm.config import parse
    from siftlm.engine.progress import Progress

    def make(sources: dict[str, Iterable[dict[str, Any]]], **settings: Any) -> str:
        folder = tmp_path_factory.mktemp("run")
        inputs = []
        for source, documents in sources.items():
            path = folder / f"{source}.jsonl"
            path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
            inputs.append({"source": source, "paths": [str(path)], "id_field": "id", "domain_field": "domain"})
        tree = {
            "name": "small",
            "seed": 3,
            "input": inputs,
            "annotate": {"language": None, "signals": None},
            "dedup": {"exact": True, "near": False},
            "output": {"folder": str(folder / "out"), "rejects": True, "allow_empty": True},
            **settings,
        }
        job.run(parse(tree, []), Progress(io.StringIO(), quiet=True))
        return str(folder / "out")

    return make


@pytest.fixture(scope="session")
def hostile_run(finished_run: Run) -> str:
    """Odd texts, 50,000 domains, duplicates, and every kind of reason."""
    return finished_run({"odd": HOSTILE, "many": many(DOMAINS), "few": few()}, select=SELECT)


@pytest.fixture(scope="session")
def small_run(finished_run: Run) -> str:
    """A few hundred documents under the same selection, quick to go through one by one."""
    return finished_run({"odd": HOSTILE, "many": many(300), "few": few()}, select=SELECT)


@pytest.fixture(scope="session")
def dropped_run(finished_run: Run) -> str:
    """Nothing is kept."""
    rules = [{"kind": "threshold", "column": "byte_count", "min": 1e9}]
    return finished_run({"odd": HOSTILE}, select={"rules": rules})


@pytest.fixture(scope="session")
def empty_run(finished_run: Run) -> str:
    """There is no document."""
    return finished_run({"none": []}, select=SELECT)


@pytest.fixture(scope="session")
def chromium() -> str:
    """A headless Chromium; tests that need one are skipped where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found
