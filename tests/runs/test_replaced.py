"""Files that scorers read and somebody replaces while a run works: no output has the old key and the new file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siftlm.errors import UserError
from siftlm.scorers.ngrams import ImportanceWeights

pytest.importorskip("apache_beam")
CHANGED = "must stay as it is while a run reads it, got another content; run again"


def rows(name: str) -> list[dict[str, Any]]:
    return [{"id": f"{name}{n}", "text": f"words of the text {n} of shard {name}, of no importance"} for n in range(20)]


def dsir(path: Path, seed: int) -> None:
    weights = ImportanceWeights(2, np.random.default_rng(seed).normal(size=100))
    weights.save(str(path))


def benchmark(path: Path, seed: int) -> None:
    path.write_text(f'{{"text": "words of the text {seed}"}}\n{{"text": "text {seed} of shard"}}\n')


def classifier(path: Path, seed: int) -> None:
    fasttext = pytest.importorskip("fasttext")
    lines = [f"__label__{'x' if n % 2 else 'y'} words text {n * seed % 7} of importance" for n in range(40)]
    path.with_suffix(".txt").write_text("\n".join(lines))
    model = fasttext.train_supervised(
        str(path.with_suffix(".txt")), dim=8, bucket=1000, epoch=5, seed=seed, thread=12, verbose=0
    )
    model.save_model(str(path))


KINDS: dict[str, tuple[Callable[[Path, int], None], dict[str, Any]]] = {
    "dsir.npz": (dsir, {"dsir": [{"name": "dsir", "fewest_words": 0}]}),
    "items.jsonl": (benchmark, {"contamination": [{"name": "quiz", "ngram": 3}]}),
    "model.bin": (classifier, {"classifiers": [{"name": "wanted", "label": "x"}]}),
    "lid.bin": (classifier, {"language": {}}),
}


def annotated(path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """The table of [annotate] with the path of the file in it."""
    ((name, given),) = table.items()
    placed = [{**one, "path": str(path)} for one in given] if isinstance(given, list) else {"path": str(path)}
    return {"language": None, "signals": None, name: placed}


@pytest.mark.parametrize("when", ["before it is loaded", "meanwhile", "and put back"])
@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_replaced_while_a_run_reads_it_stops_the_run(
    bench: Any, monkeypatch: pytest.MonkeyPatch, name: str, when: str
) -> None:
    """In place, at any time, for a moment only: one line, nothing is committed, and the next run is right."""
    from siftlm.stages.annotate import Annotate

    make, table = KINDS[name]
    for seed in (1, 2):
        make(bench.root / f"{seed}-{name}", seed)
    first, second = ((bench.root / f"{seed}-{name}").read_bytes() for seed in (1, 2))
    assert first != second
    path = bench.root / name
    path.write_bytes(first)
    bench.shard("a.jsonl", rows("a"))
    settings = {"annotate": annotated(path, table), "runner": {"threads": 1}}
    work, tasks = Annotate.annotate, Annotate.tasks

    def disturb(self: Annotate, batch: Any) -> Any:
        if when == "before it is loaded":
            return work(self, batch)
        path.write_bytes(second)
        scored = work(self, batch)
        if when == "and put back":
            path.write_bytes(first)
        return scored

    def replace(*arguments: Any) -> Any:
        made = tasks(*arguments)
        if when == "before it is loaded":
            path.write_bytes(second)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(Annotate, "annotate", disturb)
        patch.setattr(Annotate, "tasks", replace)
        with pytest.raises(UserError, match=f"{name}: {CHANGED}"):
            bench.run(**settings)
    assert not [marker for marker in bench.markers() if marker.startswith("signals")]
    path.write_bytes(first)
    bench.run(**settings)
    bench.run("calm", **settings)
    assert bench.content() == bench.content("calm")


@pytest.mark.parametrize("back", [False, True])
def test_a_language_model_that_is_replaced_while_it_scores_stops_the_run(
    bench: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """Its weights, in place; no score of the other model is kept under the digest of the first."""
    from siftlm.stages import score

    first, second = (tiny_model(bench.root / f"{seed}", seed=seed) / "model.safetensors" for seed in (1, 2))
    kept = first.read_bytes()
    for name in "ab":
        bench.shard(f"{name}.jsonl", rows(name))
    settings = {
        "score": [{"name": "tiny", "model": str(first.parent), "device": "cpu", "threads": 1}],
        "runner": {"threads": 1},
    }
    begin = score.begin

    def disturb(*arguments: Any) -> Any:
        shutil.copyfile(second, first)
        if back:
            first.write_bytes(kept)
        return begin(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(score, "begin", disturb)
        with pytest.raises(UserError, match=rf"model\.safetensors: {CHANGED}"):
            bench.run(**settings)
    assert not [marker for marker in bench.markers() if marker.startswith("scores")]
    first.write_bytes(kept)
    bench.run(**settings)
    bench.run("calm", **settings)
    assert bench.content() == bench.content("calm")
