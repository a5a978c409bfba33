"""What a plan says would run is what a run runs, for every run in conf/, before it, in its middle and after it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import fasttext
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.models import Models
from tests.scorers.test_ngram_lm import ARPA
from tokenizers import Tokenizer, models

from siftlm import job
from siftlm.checks.inputs import Inputs
from siftlm.config import RunConfig, parse, read_toml
from siftlm.engine.progress import Progress
from siftlm.estimate import Estimate, estimate
from siftlm.plan import StagePlan, describe, plan
from siftlm.stages import inputs, publish, write
from siftlm.store import Store

pytestmark = pytest.mark.usefixtures("without_pictures", "estimated_once")
CONF = Path(__file__).parents[1] / "conf"
OTHERS = {
    "loop",
    "prove_quickstart",
    "prove_gpu",
    "mix_quickstart",
    "prove_fractions",
    *(path.stem for path in (CONF / "recipes").iterdir()),
}  # other commands; fields that no slice has
RUNS = sorted(path for path in CONF.rglob("*.toml") if path.stem not in OTHERS)
FORMATS = {  # by a part of the paths in the file
    "jsonl": ["a.jsonl", "b.jsonl"],
    "c4": ["a.jsonl", "b.jsonl"],
    "parquet": ["a.parquet"],
    "wikipedia": ["a.parquet"],
    "wet": ["a.wet.gz"],
    "": ["a.warc.gz"],
}
SMALL = {"layers": 1, "width": 16, "heads": 2, "context_tokens": 32, "vocabulary": 300, "epochs": 1.0}
PUBLISHING = (write.Scatter.name, write.Write.name, "rejects")  # which a plan tells in one row, the last
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little of the quickstart's data in each format, and a classifier."""
    folder, source = tmp_path_factory.mktemp("slices"), CONF / "quickstart"
    lines = (source / "c4/c4-00002-of-00004.jsonl").read_bytes().splitlines(keepends=True)[:24]
    (folder / "a.jsonl").write_bytes(b"".join(lines))
    (folder / "b.jsonl").write_bytes(b"".join(lines[:9]))
    pages = pq.read_table(source / "wikipedia/en-00001-of-00002.parquet").slice(0, 12)
    urls = pa.array([f"https://{n % 3}.example/{n}" for n in range(pages.num_rows)])
    pq.write_table(pages.append_column("url", urls), folder / "a.parquet")
    (folder / "a.warc.gz").write_bytes((source / "peps/peps-00000.warc.gz").read_bytes())
    (folder / "a.wet.gz").write_bytes((source / "peps/peps-00001.warc.wet.gz").read_bytes())
    (folder / "labels.txt").write_text("__label__hq a page of words\n__label__include some other text\n" * 50)
    # Twelve threads, as each initialises a tenth of the matrix and the rest is as the memory was found.
    model = fasttext.train_supervised(str(folder / "labels.txt"), dim=8, bucket=1000, thread=12, verbose=0)
    model.save_model(str(folder / "classifier.bin"))
    return folder


@pytest.fixture
def estimated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays the same while a run goes on is not rehearsed for each of its plans."""
    known: list[Estimate] = []

    def once(*arguments: Any) -> Estimate:
        known[:] = known or [estimate(*arguments)]
        return known[0]

    monkeypatch.setattr("siftlm.plan.estimate", once)


def configured(path: Path, slices: Path, model: Path, out: Path) -> RunConfig:
    """The run of a file over the slices in this process; models and what trains one are tiny."""
    tree: dict[str, Any] = read_toml(str(path))
    tree |= {"output": {**tree["output"], "folder": str(out), "allow_empty": True}, "runner": {"threads": 1}}
    for source in tree["input"]:
        names = next(files for part, files in FORMATS.items() if part in source["paths"][0])
        own = out.parent / source["source"]
        own.mkdir()
        source["paths"] = [shutil.copy(slices / name, own) for name in names]
        source["text_field"] = "text"
    for classifier in tree["annotate"].get("classifiers", []):
        classifier["path"] = str(slices / "classifier.bin")
    for score in tree.get("score", []):
        score |= {"device": "cpu", "model": score["model"] if score["model"] == "trained" else str(model)}
    tree["select"].get("weights", {}).pop("budget_tokens", None)  # more than a little data has
    if "reference" in tree:
        tree["reference"] |= SMALL
    return parse(tree, [])


def made(store: str, known: dict[str, int] | None = None) -> dict[str, int]:
    """When every marker of a store was written that was not there before, by step and key."""
    root = Path(store)
    times = {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*.done")}
    return {name: time for name, time in times.items() if name not in (known or {})}


def check(rows: list[StagePlan], new: dict[str, int]) -> None:
    """New markers are those of the plan: as many as it counts, of no step that it has done, in its order."""
    counts: dict[str, int] = {}
    for name in sorted(new, key=lambda marker: new[marker]):
        step = name.rpartition("/")[0]
        counts[step] = counts.get(step, 0) + 1
    counts = {step: count for step, count in counts.items() if step not in PUBLISHING}
    planned = {row.stage: row for row in rows[:-1]}
    assert list(counts) == [row.stage for row in rows[:-1] if row.stage in counts]
    for step, row in planned.items():
        assert row.todo is None or counts.get(step, 0) == row.todo, step


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_run_does_what_its_plan_says(path: Path, slices: Path, tiny_model: Models, tmp_path: Path) -> None:
    """Nothing is there; the first half of the steps is done; an output is lost; everything is done."""
    config = configured(path, slices, tiny_model.kept(n_positions=64), tmp_path / "out")
    folder = config.store_folder

    fresh = plan(config)
    assert not Path(folder).exists()
    assert fresh[-1].stage == write.STAGE
    first, *others = fresh[:-1]
    assert (first.todo, {row.todo for row in others}) == (first.shards, {None})
    half = others[len(others) // 2].stage
    with publish.workspace(config.output.folder, config.name, folder):
        store = Store(folder)
        job.Run(config, store, QUIET).follow(Inputs.find(config, store, lambda _: None), until=half)
    before = made(folder)
    check(fresh[: 2 + len(others) // 2] + fresh[-1:], before)

    rest = plan(config)
    done = [row.stage for row in rest].index(half) + 1
    assert {row.todo for row in rest[:done]} == {0}
    assert rest[done].todo
    assert not job.run(config, QUIET).unchanged
    check(rest, made(folder, before))
    assert {name.rpartition("/")[0] for name in made(folder)} >= {row.stage for row in fresh[:-1]}

    everything = made(folder)
    lost = next(Path(folder).joinpath(name) for name in sorted(everything) if name.startswith(f"{others[0].stage}/"))
    lost.unlink()
    known = made(folder)
    again = plan(config)
    assert [row.todo for row in again[:2]] == [0, 1]
    job.run(config, QUIET)
    check(again, made(folder, known))

    known = made(folder)
    assert [row.todo for row in plan(config)[:-1]] == [0] * len(fresh[:-1])
    assert job.run(config, QUIET).unchanged
    assert not made(folder, known)


def test_a_small_corpus_is_counted_and_every_step_is_timed(slices: Path, tiny_model: Models, tmp_path: Path) -> None:
    """The estimate of files that are read whole is what a run reads of them; its steps are those of the plan."""
    config = configured(CONF / "flink.toml", slices, tiny_model.kept(n_positions=64), tmp_path / "out")
    guess = estimate(
        config, {source: of.files for source, of in inputs.survey(config.input, config.own_places).items()}
    )
    texts = [json.loads(line)["text"] for name in "ab" for line in (slices / f"{name}.jsonl").read_text().splitlines()]
    assert guess.documents == pytest.approx(len(texts), rel=0.3)  # from the first file, by its bytes
    assert guess.text_bytes == pytest.approx(sum(len(text.encode()) for text in texts), rel=0.05)
    assert set(guess.seconds) == {row.stage for row in plan(config)}
    assert all(seconds >= 0 for seconds in guess.seconds.values())


def test_a_plan_tells_documents_a_second_of_every_score_and_annotator(
    slices: Path, tiny_model: Models, tmp_path: Path
) -> None:
    """Of a prior, n-gram models with masks of tokens, memorization, compression: by rows, annotators in a line."""
    (tmp_path / "model.arpa").write_text(ARPA)
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.save(str(tmp_path / "words.json"))
    arpa, model = str(tmp_path / "model.arpa"), str(tiny_model.kept(n_positions=64))
    memorized = {
        "kind": "memorization",
        "name": "known",
        "model": model,
        "device": "cpu",
        "prompt_tokens": 4,
        "tokens": 4,
    }
    tree = {
        "name": "rates",
        "input": [{"source": "web", "paths": [str(slices / "a.jsonl")]}],
        "annotate": {
            "language": {},
            "others": [{"kind": "compression", "name": name, "codec": name} for name in ("zstd", "gzip")],
            "models": [memorized],
        },
        "prior": [{"tokenizer": str(tmp_path / "words.json")}],
        "score": [
            {"kind": "ngram", "name": "n", "path": arpa, "token_masks": [{"name": "hard", "above": 3.0}]},
            {"kind": "ngram_by_language", "name": "l", "models": {"en": arpa}},
        ],
        "output": {"folder": str(tmp_path / "out")},
    }
    rows = {row.stage: row for row in plan(parse(tree, []))}
    for stage in ("signals", "prior/prior", "models/known", "scores/n", "scores/l"):
        assert rows[stage].per_second, stage
        assert float(describe(rows[stage])["rate"].replace(",", "")) == pytest.approx(rows[stage].per_second, rel=0.06)
    (line,) = rows["signals"].remarks
    assert re.fullmatch(r"signals: documents a second by one core: (\w+ [\d,]+, ){3,}\w+ [\d,]+", line), line
    assert {"language", "zstd", "gzip"} <= set(re.findall(r"[a-z_]+", line))


def test_a_plan_tells_what_would_score_faster_where_there_is_something_to_score(
    slices: Path, tiny_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the model's own measurement on the sample, on the row of its step."""
    seen: list[int] = []
    line = "score.x.dtype: scores that many times as fast as fp32 here"
    monkeypatch.setattr("siftlm.scorers.lm_advice.faster_dtypes", lambda _, texts: seen.append(len(texts)) or [line])
    model = tiny_model.kept(n_positions=64)
    config = configured(CONF / "perplexity-medium.toml", slices, model, tmp_path / "out")
    rows = {row.stage: row for row in plan(config)}
    scores = [row for stage, row in rows.items() if stage.startswith("scores/")]
    assert [list(row.remarks) for row in scores] == [[line]] * len(scores)
    assert all(seen)
    assert all(row.per_second and row.seconds for row in scores)
    job.run(config, QUIET)
    assert not any(row.remarks for row in plan(config) if row.stage.startswith("scores/"))
