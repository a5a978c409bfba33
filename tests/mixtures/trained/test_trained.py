"""Shares found by training: what was planted is found, and the same comes out of threads and interruptions."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.mixtures.trained.corpora import TINY, learnable, noise, planted, written

from siftlm import config as run_config
from siftlm import job
from siftlm.config import validated
from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.mixtures.bench import LearnerPlan, TrainingPlan
from siftlm.mixtures.learning import LearnerSettings, LearntMixture, TrainableSettings
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.settings import METHODS, MixConfig
from siftlm.mixtures.trained.bench import Bench
from siftlm.mixtures.trained.models import TrainMixture
from siftlm.mixtures.trained.run import say_cost, train_mix
from siftlm.mixtures.trained.texts import domain_texts
from siftlm.proxies.training import train_into
from siftlm.selectors.shares_file import read_shares
from siftlm.stages.registry import Needs
from siftlm.store import Store

ROOT = Path(__file__).resolve().parents[3]
OPTIONS: dict[str, dict[str, Any]] = {
    "skill_it": {"rounds": 3},
    "aioli": {"turn_steps": 1, "sweeps": 2, "update_steps": 30},
    "bilevel": {"every": 15},
    "merged": {"mixtures": 24, "checks": 3},
}
"""What a training of a hundred steps asks of a method."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the planted texts, in which tests share what they train."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "inputs.json").write_text(json.dumps(planted(folder)))
    return folder


def settings(place: Path, method: str, train: dict[str, Any] | None = None, **options: Any) -> MixConfig:
    tree = {
        "output": str(place / f"{method}.json"),
        "mix": {"method": method, **OPTIONS.get(method, {}), **options},
        "train": {
            **TINY, "input": json.loads((place / "inputs.json").read_text()), "folder": str(place / "work"),
            **(train or {}),
        },
    }  # fmt: skip
    return validated(MixConfig, tree, [], "test")


def found(config: MixConfig, progress: Progress | None = None) -> MixResult:
    made = train_mix(config, progress or Progress(quiet=True))
    assert isinstance(made, MixResult)
    return made


def test_doremi_raises_what_can_be_learnt_and_not_noise(place: Path) -> None:
    """Above its share of the tokens and above an equal one; noise is below both."""
    made = found(settings(place, "doremi", {"tokens": 48_000}))
    assert made.shares["hard"] > max(made.prior["hard"], 1 / 3) + 0.05
    assert made.shares["noise"] < min(made.prior["noise"], 1 / 3)
    assert made.shares["trivial"] < 1 / 3
    assert isinstance(made, LearntMixture)
    losses = {one.target: one for one in made.losses}
    assert losses["hard"].mixture < losses["hard"].prior
    assert losses["noise"].mixture > losses["noise"].prior


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if issubclass(kind, TrainableSettings)])
def test_every_method_that_trains_gives_a_file_for_the_factor(place: Path, method: str) -> None:
    """With where it comes from, what it gains, and what small models are worth."""
    config = settings(place, method)
    made = found(config)
    assert list(made.shares) == ["hard", "noise", "trivial"]
    assert sum(made.shares.values()) == pytest.approx(1)
    assert min(made.shares.values()) >= 0
    read = read_shares(config.written)
    assert read.shares == made.shares
    assert read.origin["method"] == method
    assert read.origin["train"]["steps"] == 93
    assert made.gain is not None
    assert made.gain[1] <= made.gain[0] <= made.gain[2]
    assert made.verdict().startswith("models on the mixture have")
    assert any("15,000,000" in line for line in made.warnings)
    assert [row[0] for shown in made.tables() for row in shown.rows][:3]


def test_what_was_trained_is_found_again(place: Path) -> None:
    """A second call trains nothing, and says nothing of time."""
    first, told = found(settings(place, "odm")), io.StringIO()
    assert found(settings(place, "odm"), Progress(stream=told)) == first
    assert "mixture_models" not in told.getvalue()


def test_several_trainings_give_their_mean_and_their_range(place: Path) -> None:
    made = found(settings(place, "odm", {"tokens": 8_000, "check": 0, "repeats": 3}))
    assert isinstance(made, LearntMixture)
    assert len(set(made.models)) == 3
    for name, share in made.shares.items():
        low, high = made.intervals[name]
        assert low < share < high
    assert "range" in next(made.tables()).head


def test_the_time_is_told_before(place: Path) -> None:
    told = io.StringIO()
    found(settings(place, "odm", {"tokens": 8_000, "check": 2}), Progress(stream=told))
    assert "mixture_models: 5 models and 39,680 tokens, which take about" in told.getvalue()
    alone = io.StringIO()
    say_cost(settings(place, "doremi", {"tokens": 8_000, "seed": 5}), Progress(stream=alone))
    assert "mixture_models: 4 models and 31,744 tokens, which take about" in alone.getvalue()
    assert " 1 of 1 models" not in alone.getvalue()


@pytest.mark.parametrize("method", ["doge", "skill_it", "aioli", "bilevel", "merged", "odm"])
def test_other_texts_can_be_the_targets(place: Path, tmp_path: Path, method: str) -> None:
    """Methods that learn from these give the domain that they are of more than they give noise."""
    targets = [written(tmp_path, "wanted", learnable(0, 40))]
    folder = str(place / "targets")
    made = found(settings(place, method, {"held_out": targets, "folder": folder, "check": 1}))
    assert isinstance(made, LearntMixture)
    assert [one.target for one in made.losses] == ["wanted"]
    assert set(made.shares) == {"hard", "noise", "trivial"}
    if method not in ("odm", "aioli"):  # whose shares hardly move from equal ones in a hundred steps
        assert made.shares["hard"] > made.shares["noise"]


def test_runs_are_trained_for_a_method_that_reads_them(place: Path) -> None:
    """Their table stays in the folder; its file and its models are in the result's."""
    config = settings(place, "regmix", {"tokens": 8_000, "runs": 12}, runs="runs.csv")
    made = found(config)
    rows = (place / "work" / "runs.csv").read_text().splitlines()
    assert len(rows) == 13
    assert rows[0].replace('"', "") == "run,share_hard,share_noise,share_trivial,loss_hard,loss_noise,loss_trivial"
    assert sum(made.shares.values()) == pytest.approx(1)
    assert list(json.loads(Path(config.written).read_text())["read"]) == [str(place / "work" / "runs.csv")]
    assert made.prior["noise"] == pytest.approx(float(rows[1].split(",")[2]))


def test_the_number_of_threads_changes_nothing(tmp_path: Path, place: Path) -> None:
    """Of the shares, to the bit, with reference model, gradients and weights of windows."""
    for method in ("doremi", "doge", "bilevel"):
        results = []
        for threads in (1, 2):
            training = {**TINY["training"], "threads": threads, "batch_tokens": 1024}
            train = {"tokens": 20_000, "check": 0, "training": training, "folder": str(tmp_path / f"{threads}")}
            results.append(found(settings(place, method, train)))
        assert results[0] == results[1]


class StoppedError(Exception):
    """Stands for the end of a process."""


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if issubclass(kind, LearnerSettings)])
def test_an_interrupted_training_goes_on_to_the_same_shares(place: Path, tmp_path: Path, method: str) -> None:
    """Stopped three times, with a checkpoint after every step; the same bytes as without."""
    config = settings(place, method, {"tokens": 8_000})
    assert config.train is not None
    assert isinstance(config.mix, LearnerSettings)
    store, quiet = Store(str(place / "work" / "store")), Progress(quiet=True)
    found(settings(place, "odm", {"tokens": 8_000, "check": 0}))  # makes the store
    texts = domain_texts(config.train, store, quiet, Needs())
    bench = Bench(config.train, texts, store, quiet, Needs())
    reference = bench.train([TrainingPlan("reference", bench.prior, bench.steps)])[0].key
    plan = LearnerPlan(config.mix.plan(), reference if method == "doremi" else None, {"mu": 0.1})
    marks = (5, 6, 7, 8, 9, 10, 11, 12, 13) if method == "aioli" else config.mix.marks(bench.steps, 3)
    start = np.full(3, 1 / 3)
    task = bench._task(0, TrainingPlan(method, start, bench.steps, learner=plan, marks=marks))
    stage = TrainMixture(config.train.model, config.train.training)

    def trained(folder: Path, stops: tuple[int, ...]) -> dict[str, bytes]:
        for stop in (*stops, None):

            def progress(step: int, steps: int, stop: int | None = stop) -> None:
                if step == stop:
                    raise StoppedError

            with ExitStack() as models:
                made = stage.job(task, store, models)
                try:
                    train_into(folder, made, checkpoint_seconds=0.0, progress=progress)
                except StoppedError:
                    continue
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    assert trained(tmp_path / "stopped", (4, 9, 20)) == trained(tmp_path / "whole", ())


def test_one_domain_is_nothing_to_mix(tmp_path: Path) -> None:
    inputs = [written(tmp_path, "only", learnable(1, 30))]
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    made = found(settings(tmp_path, "doremi"))
    assert made.shares == {"only": 1.0}
    assert "one domain only" in made.warnings[0]
    assert not (tmp_path / "work" / "store" / "mixture_models").exists()


def test_many_domains_of_a_column(tmp_path: Path) -> None:
    """By the values of a field of one input; those of two documents and less are one domain, which is said."""
    draw, path = random.Random(0), tmp_path / "all.jsonl"
    with path.open("w") as file:
        for number, text in enumerate([*learnable(0, 200), *noise(0, 200)]):
            topic = f"t{draw.randrange(60):02}" if number > 120 else "t00"
            file.write(json.dumps({"text": text, "topic": topic}) + "\n")
    inputs = [{"source": "all", "paths": [str(path)], "columns": {"topic": "string"}}]
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    made = found(settings(tmp_path, "odm", {"by": ["topic"], "tokens": 8_000, "check": 0}))
    topics = Counter(json.loads(line)["topic"] for line in path.read_text().splitlines())
    rare = {topic for topic, count in topics.items() if count < 3}
    assert len(rare) > 1
    assert set(made.shares) == topics.keys() - rare | {"others"}
    assert min(made.shares.values()) > 0
    assert made.warnings[0].startswith(f"{len(rare)} domains of few documents")
    fewer = found(settings(tmp_path, "odm", {"by": ["topic"], "tokens": 8_000, "check": 0, "most": 5}))
    assert len(fewer.shares) == 5
    assert {"t00", "others"} < set(fewer.shares)
    assert made.prior["t00"] > 0.25


def test_the_texts_of_a_finished_run_are_those_that_it_kept(tmp_path: Path) -> None:
    """By its sources; noise that a rule has dropped is in no domain."""
    inputs = planted(tmp_path, 60)
    tree = {
        "name": "kept", "input": inputs, "output": {"folder": str(tmp_path / "run")},
        "select": {"rules": [{"kind": "threshold", "column": "mean_word_length", "max": 6}]},
    }  # fmt: skip
    job.run(run_config.parse(tree, []), Progress(quiet=True))
    train = {"input": [], "run": str(tmp_path / "run"), "tokens": 8_000, "check": 0}
    (tmp_path / "inputs.json").write_text("[]")
    made = found(settings(tmp_path, "odm", train))
    assert set(made.shares) == {"hard", "trivial"}


@pytest.mark.parametrize(
    ("texts", "train", "message"),
    [
        (["one", "two"], {}, "train: every domain must have 3 documents, .* got 2 of 'few'"),
        (["one", "two", "three"], {}, "train: every domain must have texts of 33 tokens at least, got fewer of 'few'"),
        (None, {"prior": {"few": 1.0}}, "train.prior: must name domains, got 'few'"),
        (None, {"by": ["topic"]}, "train.by: must name columns that every document has, got 'topic'"),
        (None, {"input": [{"source": "a", "paths": ["none/*.jsonl"]}]}, "train.input.0.paths: every path and pattern"),
        (None, {"held_out": [{"source": "a", "paths": ["none/*.jsonl"]}]}, "train.held_out.0.paths: every path"),
        (None, {"input": []}, "train: must have texts, either `input` or `run`"),
        (None, {"training": {"learning_rate": 1e30}}, "learning_rate: must be one at which losses stay finite"),
        (None, {"training": {"device": "cuda:9"}}, "train.training.device: must be cpu or a GPU"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    place: Path, tmp_path: Path, texts: list[str] | None, train: dict[str, Any], message: str
) -> None:
    inputs = json.loads((place / "inputs.json").read_text())
    if texts is not None:
        inputs.append(written(tmp_path, "few", iter(texts)))
    folder = str(place / "work") if texts is None else str(tmp_path / "work")
    with pytest.raises(UserError, match=message):
        train_mix(settings(place, "odm", {"input": inputs, "folder": folder, **train}), Progress(quiet=True))


def test_the_configuration_of_the_repository_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every method that trains, and its texts are there."""
    monkeypatch.chdir(ROOT)
    for method, kind in METHODS.items():
        if issubclass(kind, TrainableSettings):
            tree = run_config.read_toml("conf/mix_quickstart.toml") | {"mix": {"method": method}}
            made = validated(MixConfig, tree, [], "conf/mix_quickstart.toml")
            assert made.train is not None
            assert all(Path(path).exists() for of in made.train.input for path in of.paths)


def test_a_method_that_trains_nothing_says_so(place: Path) -> None:
    with pytest.raises(UserError, match=r"mix\.method: must be one that trains models .* got 'sample'"):
        train_mix(settings(place, "sample", tokens={"a": 1}), Progress(quiet=True))
