"""Thousands of small shards: few files a shard, nothing synced that can be made again, work in proportion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from siftlm.checks import validate
from siftlm.config import parse
from siftlm.errors import UserError
from siftlm.stages.inputs import CACHE

pytest.importorskip("apache_beam")
WITHOUT = """
import importlib.metadata, json, sys

ABSENT = {"torch", "transformers", "tokenizers", "safetensors", "triton", "huggingface_hub"}

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def version(name, known=importlib.metadata.version):
    if name in ABSENT:
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)

sys.meta_path.insert(0, Finder())
importlib.metadata.version = version
from siftlm import job
from siftlm.config import parse
from siftlm.engine.progress import Progress

print(json.dumps(job.run(parse(json.loads(sys.argv[1]), []), Progress(quiet=True)).manifest["versions"]))
"""


def test_a_run_without_models_needs_no_torch(bench: Any) -> None:
    """Nothing imports it, and the manifest says null where its version would stand."""
    bench.shard("a.jsonl", [{"id": "a", "text": "a text of no importance"}])
    tree = bench.tree(annotate={}, dedup={"paragraphs": {}, "commonness": {"bits": 10}})
    done = subprocess.run([sys.executable, "-c", WITHOUT, json.dumps(tree)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    versions = json.loads(done.stdout)
    assert (versions["torch"], versions["transformers"]) == (None, None)
    assert versions["pyarrow"]
    assert bench.rows()


@pytest.mark.parametrize(
    ("place", "rest"),
    [
        ("reference", {"reference": {}}),
        ("score", {"score": [{"name": "tiny", "model": "gpt2"}]}),
        ("score", {"reference": {}, "score": [{"name": "tiny", "model": "trained"}]}),
    ],
)
def test_models_without_their_packages_are_one_line_before_any_work(
    bench: Any, monkeypatch: pytest.MonkeyPatch, place: str, rest: dict[str, Any]
) -> None:
    """For what `run`, `plan` and `validate` alike look at first."""
    monkeypatch.setattr(validate, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(UserError, match=f"^{place}: must have the packages .* without torch; pip install torch$"):
        validate.check_config(parse(bench.tree(**rest), []))


def test_files_and_syncs_do_not_follow_what_can_be_made_again(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files a shard and stage, one of rejects where there are any, and no sync for any of them."""
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    counts = []
    for shards in (4, 12):
        for number in range(shards):
            bench.shard(
                f"{number}.jsonl", [{"id": str(number), "text": f"text {number} of no importance"}], f"in{shards}"
            )
        bench.shard("bad.jsonl", ["{"], f"in{shards}")
        (source,) = bench.tree()["input"]
        synced.clear()
        inputs = [{**source, "paths": [str(bench.root / f"in{shards}")]}]
        bench.run(f"out{shards}", input=inputs, dedup={}, store=str(bench.root / f"store{shards}"))
        store = bench.root / f"store{shards}"
        # Fingerprints are kept of files that have been there for a while.
        files = [path for path in store.rglob("*") if path.is_file() and path.name != CACHE]
        assert sum("rejects" in path.name for path in files) == 1
        assert not [path for path in synced if path.startswith(f"{store}/") and "siftlm-store.json" not in path]
        counts.append((len(files), len(synced)))
    assert counts[1][0] - counts[0][0] == 8 * 2 * 5  # documents, signals, clusters, eligible, decisions
    assert counts[1][1] == counts[0][1]
    assert sync is not os.fsync
