"""Training: what plain torch and transformers give, the same bytes after any interruption, and sums that are exact."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.proxies.training.toys import job, mixed, shape, texts, token_file, tokenizer
from transformers import AutoModelForCausalLM

from siftlm.errors import UserError
from siftlm.proxies.training import (
    MARKS,
    SHARES,
    STEPS,
    GroupShares,
    Job,
    Observation,
    Seeds,
    Trained,
    group_bits_per_byte,
    last_sums,
    train,
    train_into,
)
from siftlm.proxies.training.export import save_model
from siftlm.proxies.training.sampler import Sampler
from siftlm.proxies.training.schedule import learning_rate
from siftlm.proxies.training.weights import FlatWeights
from siftlm.store import Store

KEY = "0" * 32


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def trained(folder: Path, made: Job, **options: Any) -> dict[str, bytes]:
    train_into(folder, made, **options)
    return contents(folder)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_losses_are_those_of_transformers_and_plain_torch(tmp_path: Path, name: Any) -> None:
    """Step by step within 2e-4 nats over 25 steps: same start, same windows, torch's own AdamW and clipping."""
    made = job(tmp_path, 25, shape={"shape": name}, evaluate=None)
    training = made.training
    save_model(
        tmp_path / "start",
        training.shape,
        FlatWeights(training.shape, tokenizer().vocabulary, 1, torch.device("cpu")).by_name,
        tokenizer(),
    )
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "start", dtype=torch.float32).train()
    decayed = [part for part in theirs.parameters() if part.dim() >= 2]
    plain = [part for part in theirs.parameters() if part.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=False)
    windows = made.tokens.windows(16)
    sampler = Sampler(made.tokens.groups, windows.counts, 2, windows.counts / windows.counts.sum())
    expected = []
    for step in range(25):
        rows = torch.from_numpy(windows.take(*sampler.draw(step, 4)))
        logits = theirs(input_ids=rows[:, :-1], use_cache=False).logits
        nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        nats.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, 25, training.optimisation.learning_rate)
        optimizer.step()
        expected.append(nats.item())
    train_into(tmp_path / "model", made)
    steps = Trained(str(tmp_path / "model"), {}).table(STEPS)
    assert np.abs(steps["nats_per_token"].to_numpy() - expected).max() < 2e-4
    assert steps["tokens"].to_pylist() == [64 * step for step in range(1, 26)]
    assert expected[-1] < expected[0] - 1


def test_marks_hold_every_documents_nats(tmp_path: Path) -> None:
    """As transformers' model gives them, alone, in pieces of the context; by group they add up to bits per byte."""
    long = [*mixed(3, seed=1), *texts("money", 1, seed=2, words=400), *texts("animals", 1, seed=3, words=1)]
    made = job(tmp_path, 12, evaluate=token_file(tmp_path, "held_out", long))
    folder = tmp_path / "model"
    train_into(folder, made)
    marks = Trained(str(folder), {}).table(MARKS)
    assert made.evaluate is not None
    assert sorted(set(marks["step"].to_pylist())) == [0, 5, 12]
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ours, expected = last_sums(folder), np.zeros(len(made.evaluate.byte_counts))
    for document, (start, end) in enumerate(zip(made.evaluate.starts, made.evaluate.starts[1:], strict=False)):
        for first in range(start, end - 1, 16):
            piece = torch.from_numpy(made.evaluate.tokens[first : min(first + 17, end)].astype(np.int64))[None]
            with torch.no_grad():
                logits = theirs(input_ids=piece[:, :-1]).logits[0]
            expected[document] += float(torch.nn.functional.cross_entropy(logits, piece[0, 1:], reduction="sum"))
    assert np.allclose(ours, expected, rtol=1e-4)
    last = marks.filter(pa.compute.equal(marks["step"], 12))
    assert last["token_count"].to_pylist() == made.evaluate.token_counts.tolist()
    names = np.array(made.evaluate.groups)[made.evaluate.document_groups]
    assert last["group"].to_pylist() == names.tolist()
    by_hand = [
        expected[names == group].sum() / np.log(2) / made.evaluate.byte_counts[names == group].sum()
        for group in made.evaluate.groups
    ]
    assert np.allclose(group_bits_per_byte(made.evaluate, ours), by_hand, rtol=1e-4)


def test_the_same_job_gives_the_same_bytes_and_each_seed_changes_its_own(tmp_path: Path) -> None:
    """The seed of the weights changes the start, that of the order the windows."""
    made = job(tmp_path)
    first, second = (trained(tmp_path / name, made) for name in ("first", "second"))
    assert first == second
    for seeds in (Seeds(9, 2), Seeds(1, 9)):
        other = replace(made, training=replace(made.training, seeds=seeds))
        assert other.identity() != made.identity()
        assert trained(tmp_path / f"{seeds}", other)["model.safetensors"] != first["model.safetensors"]


class Follower:
    """Gives the group with the higher loss more, and remembers what it saw; a little of all methods in one."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def identity(self) -> object:
        return "follower"

    def observe(self, seen: Observation) -> GroupShares | None:
        gradient = seen.model.gradient(seen.file, seen.window_groups[:1], seen.window_numbers[:1])
        self.seen.append(float(np.nansum(seen.group_nats)) + float(np.abs(gradient).sum()))
        shares = np.exp(np.nan_to_num(seen.group_nats) - len(self.seen) % 3)
        return GroupShares(shares, np.array([1.0, 1.0 + 0.1 * (len(self.seen) % 2)])) if seen.step % 2 else None

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class StoppedError(Exception):
    """Ends a training from within."""


@pytest.mark.parametrize("stop", [1, 4, 5, 11])
def test_an_interrupted_training_ends_with_the_same_bytes(tmp_path: Path, stop: int) -> None:
    """Weights, tables and all, with a mixer that has a state, loss weights and averaged weights."""
    optimisation = {"average_last": 3, "average_every": 2}
    made = job(tmp_path, 12, optimisation=optimisation, mixer=Follower())
    whole = trained(tmp_path / "whole", made)

    def interrupt(step: int, _: int) -> None:
        if step == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_into(tmp_path / "parts", replace(made, mixer=Follower()), checkpoint_seconds=0, progress=interrupt)
    assert (tmp_path / "parts/checkpoint.bin").exists()
    steps: list[int] = []
    train_into(tmp_path / "parts", replace(made, mixer=Follower()), progress=lambda step, _: steps.append(step))
    assert steps == list(range(stop + 1, 13))
    assert contents(tmp_path / "parts") == whole


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.proxies.training.toys import job
from siftlm.proxies.training import train
from siftlm.store import Store
folder = Path({folder!r})
train(job(folder / "tokens", 60), Store(str(folder / "store")), "model", {key!r}, checkpoint_seconds=0)
print("done")
"""


def test_a_killed_process_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    """kill -9 at random moments, again and again; what the store then holds is what one process makes."""
    script = SCRIPT.format(tests=str(Path(__file__).parents[3]), folder=str(tmp_path), key=KEY)
    moments = random.Random(3)
    checkpoint = tmp_path / f"store/model/{KEY}/checkpoint.bin"
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(moments.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", script], check=True)
    store = Store(str(tmp_path / "store"))
    assert store.find("model", KEY) is not None
    assert contents(tmp_path / f"store/model/{KEY}") == trained(tmp_path / "whole", job(tmp_path / "tokens", 60))


def test_a_checkpoint_of_another_job_or_a_damaged_one_is_not_taken_over(tmp_path: Path) -> None:
    """The training begins anew."""
    made = job(tmp_path)
    whole = trained(tmp_path / "whole", made)

    def interrupt(step: int, _: int) -> None:
        if step == 6:
            raise StoppedError

    other = replace(made, training=replace(made.training, seeds=Seeds(5, 5)))
    for interrupted, damage in ((other, False), (made, True)):
        with pytest.raises(StoppedError):
            train_into(tmp_path / "model", interrupted, checkpoint_seconds=0, progress=interrupt)
        if damage:
            path = tmp_path / "model/checkpoint.bin"
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        assert trained(tmp_path / "model", made) == whole


def test_the_store_has_a_model_once(tmp_path: Path) -> None:
    """It is found the second time, and made again where it is damaged."""
    store, made = Store(str(tmp_path / "store")), job(tmp_path)
    first = train(made, store, "model", KEY)
    assert first.facts["tokens"] == 12 * 64 == sum(first.facts["tokens_by_group"].values())
    assert (
        first.facts["parameters"]
        == FlatWeights(made.training.shape, tokenizer().vocabulary, 0, torch.device("cpu")).flat.numel()
    )
    steps: list[int] = []
    assert train(made, store, "model", KEY, progress=lambda step, _: steps.append(step)) == first
    assert not steps
    whole = contents(Path(first.folder))
    (Path(first.folder) / "model.safetensors").write_bytes(b"")
    assert train(made, store, "model", KEY) == first
    assert contents(Path(first.folder)) == whole


def test_a_mixer_turns_the_training_to_one_group(tmp_path: Path) -> None:
    """Windows are accounted for by group to the last; the group that is left out stays unlearned."""

    class Turner(Follower):
        def observe(self, seen: Observation) -> GroupShares | None:
            assert seen.token_nats.shape == (4, 16)
            again = seen.model.token_nats(seen.file, seen.window_groups, seen.window_numbers)
            assert again.shape == (4, 16)
            if seen.evaluation is not None:
                self.seen.append(float(seen.evaluation.nll_sums.sum()))
            return GroupShares(shares=np.array([0.0, 1.0])) if seen.step == 1 else None

    mixer = Turner()
    made = job(tmp_path, 40, mixer=mixer)
    facts = train_into(tmp_path / "model", made)
    tables = Trained(str(tmp_path / "model"), facts)
    shares = tables.table(SHARES)
    assert shares["step"].to_pylist() == [0, 0, 1, 1, 40, 40]
    assert shares["share"].to_pylist()[2:4] == [0.0, 1.0]
    first = shares["windows"].to_pylist()[2]
    assert facts["tokens_by_group"] == {"animals": first * 16, "money": (160 - first) * 16}
    assert len(mixer.seen) == 2  # at 5 and 40: nothing is observed before the first step
    assert made.evaluate is not None
    animals, money = group_bits_per_byte(made.evaluate, last_sums(tmp_path / "model"))
    assert animals > 1.5 * money


def test_a_mixers_gradient_is_autograds(tmp_path: Path) -> None:
    """Along half of the weights the loss changes as the gradient says."""
    from concurrent.futures import ThreadPoolExecutor

    from siftlm.proxies.training.learner import Learner

    made = job(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        learner = Learner(made.training, tokenizer().vocabulary, 0, torch.device("cpu"), pool)
        windows = made.tokens.windows(16).take(np.array([0, 1, 1]), np.array([0, 1, 2]))
        gradient = learner.gradient(windows).clone().double()
        chosen = torch.rand(len(gradient), generator=torch.Generator().manual_seed(0)) < 0.5
        direction = torch.where(chosen, gradient, 0.0) / gradient.norm()
        start, losses = learner.weights.flat.clone(), []
        for sign in (1, -1):
            with torch.no_grad():
                learner.weights.flat.copy_(start + sign * 1e-2 * direction)
            losses.append(float(learner.window_nats(windows).double().mean()))
    slope = (losses[0] - losses[1]) / 2e-2
    assert slope == pytest.approx(float(gradient @ direction), rel=0.02)


def test_the_average_is_that_of_the_last_weights(tmp_path: Path) -> None:
    """Of single trainings that end where a snapshot was taken, with the schedule of the whole."""
    from safetensors.torch import load_file

    made = job(tmp_path, 12, optimisation={"average_last": 2, "average_every": 3})
    train_into(tmp_path / "average", made)
    snapshots = []

    class Keeper(Follower):
        def observe(self, seen: Observation) -> GroupShares | None:
            if seen.step in (9, 12):
                snapshots.append(seen.model._learner.weights.by_name["transformer.wte.weight"].detach().clone())  # type: ignore[attr-defined]
            return None

    train_into(tmp_path / "kept", replace(made, mixer=Keeper()))
    mean = load_file(tmp_path / "average/model.safetensors")["transformer.wte.weight"]
    assert torch.allclose(mean, (snapshots[0] + snapshots[1]) / 2, atol=1e-7)
    marks = Trained(str(tmp_path / "average"), {}).table(MARKS)
    assert sorted(set(zip(marks["step"].to_pylist(), marks["averaged"].to_pylist(), strict=True)))[-2:] == [
        (12, False), (12, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "optimisation",
    [{"precision": "bfloat16"}, {"document_mask": True}, {"compiled": True}],
)
def test_every_way_of_computing_learns_the_same(tmp_path: Path, optimisation: dict[str, Any]) -> None:
    """Final losses are within the rounding of each way, and with a mask of documents within what it hides."""
    if (
        optimisation.get("compiled")
        and not os.environ.get("CXX")
        and not any(os.access(f"{folder}/g++", os.X_OK) for folder in os.get_exec_path())
    ):
        pytest.skip("torch.compile needs a C++ compiler")
    plain = train_into(tmp_path / "plain", job(tmp_path, 30, shape={"layers": 1}))
    other = train_into(tmp_path / "other", job(tmp_path, 30, optimisation=optimisation, shape={"layers": 1}))
    tolerance = {"precision": 0.02, "document_mask": 0.2}.get(next(iter(optimisation)), 1e-3)
    assert other["nats_per_token"] == pytest.approx(plain["nats_per_token"], abs=tolerance)
    assert torch.get_num_threads() >= 1


def test_the_number_of_threads_changes_no_byte(tmp_path: Path) -> None:
    """Gradients are added up in one order."""
    ways = [{"batch_tokens": 3000, "threads": threads} for threads in (1, 2, 3)]
    made = [trained(tmp_path / str(way["threads"]), job(tmp_path, 5, optimisation=way)) for way in ways]
    assert made[0] == made[1] == made[2]
    assert len({job(tmp_path, 5, optimisation=way).identity() for way in ways}) == 1


def test_settings_of_torch_are_put_back(tmp_path: Path) -> None:
    """After an error, too."""
    before = torch.get_num_threads(), torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]

    def interrupt(_step: int, _steps: int) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        train_into(tmp_path / "model", job(tmp_path), progress=interrupt)
    assert before == (torch.get_num_threads(), torch.backends.mkldnn.matmul.fp32_precision)  # type: ignore[attr-defined]


def test_a_device_that_is_not_there_is_the_users_to_mend(tmp_path: Path) -> None:
    """Nothing falls back."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="device: must be cpu or a GPU that torch sees, got 'cuda:1'"):
        train_into(tmp_path / "model", job(tmp_path, optimisation={"device": "cuda:1"}))


def test_epochs_are_told_and_capped(tmp_path: Path) -> None:
    """A group that is used up leaves its share to the other; too many steps are refused with what to do."""
    documents = [*texts("animals", 2), *texts("money", 30)]
    tokens = token_file(tmp_path, "few", documents)
    made = job(
        tmp_path,
        20,
        tokens=tokens,
        training={"shares": {"animals": 1.0, "money": 1.0}},
        optimisation={"max_epochs": 2.0},
    )
    facts = train_into(tmp_path / "model", made)
    assert facts["epochs_by_group"]["animals"] == 2.0
    assert sum(facts["tokens_by_group"].values()) == 20 * 64
    with pytest.raises(
        UserError, match=r"must have 2,000 windows, got \d+ that max_epochs lets through; train for fewer"
    ):
        train_into(tmp_path / "more", replace(made, training=replace(made.training, steps=500)))


def test_shapes_that_do_not_fit_are_refused() -> None:
    """A width that heads do not divide."""
    with pytest.raises(ValueError, match="width must be a multiple of heads"):
        shape(width=30, heads=4)
