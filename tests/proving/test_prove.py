"""A proof end to end on tiny data: clean text teaches, noise does not, and a random half in disguise is a tie."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.proving.cost import PACES
from siftlm.proving.prove import Proof, prove
from siftlm.proving.replicates import STAGE
from siftlm.proving.settings import ProofPlan, proof_plan
from siftlm.proxies.training.steps_file import STEPS_DONE
from siftlm.report.proof import ProofComparison, ProofReport
from siftlm.stages import publish

SILENT = Progress(quiet=True)
WORDS = ["cat", "dog", "mat", "paw", "fur", "tail", "whisker", "kitten", "purr", "meow", "claw", "nap"]


def sentence(number: int) -> str:
    """Words that follow each other by a rule: what comes next is known from the last two."""
    chosen = np.random.default_rng(number)
    at, words = int(chosen.integers(12)), []
    for _ in range(60):
        words.append(WORDS[at])
        at = (at + 1 + int(chosen.integers(3))) % 12
    return " ".join(words)


def noise(number: int) -> str:
    """Letters that follow each other by no rule, in words as long as those of a sentence."""
    chance = np.random.default_rng(number)
    return " ".join("".join(chance.choice(list("zqxjkvbw"), len(word))) for word in sentence(number).split())


def tree_of(folder: Path) -> dict[str, Any]:
    lines = [json.dumps({"id": f"web-{n}", "text": sentence(n), "good": 1}) for n in range(200)]
    lines += [json.dumps({"id": f"noise-{n}", "text": noise(n), "good": 0}) for n in range(200)]
    (folder / "web.jsonl").write_text("\n".join(lines))
    held = [json.dumps({"id": f"held-{n}", "text": sentence(9000 + n)}) for n in range(40)]
    (folder / "held.jsonl").write_text("\n".join(held))
    web = {"source": "web", "paths": [str(folder / "web.jsonl")], "id_field": "id", "columns": {"good": "int"}}
    rule = "select.rules=[{kind='threshold', column='good', %s=%d}]"
    return {
        "name": "tiny",
        "seed": 5,
        "input": [web],
        "annotate": {"signals": {"groups": ["basic"]}},
        "output": {"folder": str(folder / "out")},
        "prove": {
            "tokens": 8192,
            "replicates": 3,
            "documents": 20,
            "marks": 2,
            "vocabulary": 300,
            "model": {"layers": 1, "heads": 1, "width": 16, "context_tokens": 16},
            "training": {"batch_tokens": 128},
            "held_out": [{"source": "sentences", "paths": [str(folder / "held.jsonl")], "id_field": "id"}],
            "arms": [
                {"name": "clean", "set": [rule % ("min", 1)]},
                {"name": "noise", "set": [rule % ("max", 0)]},
                {"name": "disguise", "set": ["select.rules=[{kind='sample', rate=0.5}]"]},
            ],
        },
    }


def plan_of(tree: dict[str, Any], *overrides: str) -> ProofPlan:
    return proof_plan(json.loads(json.dumps(tree)), list(overrides), "tiny")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tree_of(tmp_path_factory.mktemp("prove"))


@pytest.fixture(scope="module")
def proof(tree: dict[str, Any]) -> ProofReport:
    made = prove(plan_of(tree), SILENT)
    assert made is not None
    return made


def verdicts(made: list[ProofComparison]) -> dict[str, str]:
    return {one.arm: one.overall.verdict for one in made}


def test_the_planted_half_wins_and_noise_loses(proof: ProofReport) -> None:
    expected = {"clean": "better", "noise": "worse", "disguise": "tie"}
    assert verdicts(proof.against_random()) == verdicts(proof.against_matched()) == expected


def test_every_arm_has_its_null_and_the_same_tokens(proof: ProofReport) -> None:
    kinds = {arm.name: arm.kind for arm in proof.arms}
    assert kinds["random"] == "random"
    assert [kinds[f"like {name}"] for name in ("clean", "noise", "disguise")] == ["matched"] * 3
    assert {arm.curve[-1].tokens for arm in proof.arms} == {proof.design.tokens}
    assert proof.design.models == 2 * 3 * 3 + 3


def test_a_second_proof_trains_nothing(tree: dict[str, Any], proof: ProofReport) -> None:
    store = Path(tree["output"]["folder"], "store", STAGE)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.done")}
    assert len(before) == proof.design.models
    assert prove(plan_of(tree), SILENT) == proof
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.done")} == before


def test_an_arm_more_trains_that_arm_alone(tree: dict[str, Any], proof: ProofReport) -> None:
    more = json.loads(json.dumps(tree))
    more["prove"]["arms"].append({"name": "other", "set": ["select.rules=[{kind='sample', rate=0.4}]"]})
    made = prove(plan_of(more), SILENT)
    assert made is not None
    assert len(list(Path(tree["output"]["folder"], "store", STAGE).rglob("*.done"))) == proof.design.models + 6
    old, new = ({arm.name: arm.replicates for arm in one.arms} for one in (proof, made))
    assert {name: new[name] for name in old} == old


def test_another_shape_says_how_often_it_decides_alike(tree: dict[str, Any], proof: ProofReport) -> None:
    made = prove(plan_of(tree, "prove.small.layers=1", "prove.small.heads=1", "prove.small.width=8",
                         "prove.small.context_tokens=16"), SILENT)  # fmt: skip
    assert made is not None
    assert proof.design.agreement is None
    assert made.design.agreement is not None
    assert 0.6 < made.design.agreement <= 1.0
    assert made.comparisons == proof.comparisons


def test_items_measure_right_answers(tree: dict[str, Any], proof: ProofReport, tmp_path: Path) -> None:
    """Sentences that go on as they do, beside others: a domain more, and how many are answered right."""
    items = [
        {"context": sentence(7000 + n)[:100], "choices": [sentence(7000 + n)[101:150], noise(n)[101:150]], "answer": 0}
        for n in range(30)
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items))
    own = json.loads(json.dumps(tree))
    own["prove"] |= {
        "items": [{"name": "quiz", "path": str(tmp_path / "items.jsonl")}],
        "arms": own["prove"]["arms"][:1],
    }
    own["output"] = {"folder": str(tmp_path / "out")}
    made = prove(plan_of(own, "prove.replicates=2"), SILENT)
    assert made is not None
    assert [domain.name for domain in made.domains] == ["sentences", "quiz"]
    assert [domain.documents for domain in made.domains] == [20, 30]
    (accuracy,) = made.accuracies
    assert accuracy.arms["clean"] > 0.9
    assert proof.accuracies == []


def test_soups_order_mixtures_as_trained_arms_do(tree: dict[str, Any], proof: ProofReport) -> None:
    """With partitions that arms mix: clean sentences and noise, and a mixture that nobody trains."""
    soups = {"by": ["good"], "tokens": 4096, "mixtures": {"mostly_clean": {"good 1": 0.9, "good 0": 0.1}}}
    own = json.loads(json.dumps(tree))
    own["prove"]["soups"] = soups
    made = prove(plan_of(own), SILENT)
    assert made is not None
    assert made.soups is not None
    assert made.comparisons == proof.comparisons
    told = {soup.name: soup for soup in made.soups.soups}
    assert set(told) == {arm.name for arm in made.arms} | {"mostly_clean"}
    assert told["clean"].shares == {"good 0": 0.0, "good 1": 1.0}
    assert told["random"].shares["good 1"] == pytest.approx(0.5, abs=0.1)
    assert told["clean"].predicted < told["mostly_clean"].predicted < told["noise"].predicted
    assert told["mostly_clean"].trained is None
    assert made.soups.rank_correlation is not None
    assert made.soups.rank_correlation > 0.6
    assert made.soups.verdict.startswith("soups order the arms as trained models do")
    store = Path(tree["output"]["folder"], "store")
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.done")}
    assert prove(plan_of(own), SILENT) == made
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.done")} == before


def test_the_files_say_what_was_found(tree: dict[str, Any], proof: ProofReport) -> None:
    folder = Path(tree["output"]["folder"], "proof")
    assert orjson.loads((folder / "proof.json").read_bytes())["name"] == proof.name
    page = (folder / "proof.html").read_text()
    assert all(name in page for name in ("clean", "like clean", "disguise", "sentences"))


SCRIPT = (
    "import json, sys; from siftlm.engine.progress import Progress; from siftlm.proving.prove import prove; "
    "from siftlm.proving.settings import proof_plan; "
    "prove(proof_plan(json.loads(sys.argv[1]), [], 'tiny'), Progress(quiet=True))"
)


def begun(tree: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A proof in a process of its own, which leads a group of processes."""
    return subprocess.Popen([sys.executable, "-c", SCRIPT, json.dumps(tree)], start_new_session=True)


def without_seconds(content: bytes) -> Any:
    """What proof.json says, but for how long trainings took."""
    told = orjson.loads(content)
    return {**told, "arms": [{**arm, "seconds": None} for arm in told["arms"]]}


def told_in(folder: Path) -> Any:
    return without_seconds((folder / "proof/proof.json").read_bytes())


def test_killed_and_run_again_it_gives_the_same(tree: dict[str, Any], proof: ProofReport, tmp_path: Path) -> None:
    """A kill in the middle of a replicate loses none that was done, and proof.json is what it would have been."""
    own = {**tree, "output": {"folder": str(tmp_path / "out")}}
    process = begun(own)
    store = tmp_path / "out" / "store" / STAGE
    give_up = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < give_up:
        os.killpg(process.pid, signal.SIGSTOP)  # so that what is looked at is what is killed
        if len(list(store.glob("*.done"))) >= 4 and list(store.glob(f"*/{STEPS_DONE}")):
            break
        os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in store.rglob("*.done")}
    assert 4 <= len(done) < proof.design.models
    assert list(store.glob(f"*/{STEPS_DONE}"))
    made = prove(plan_of(own), SILENT)
    assert made is not None
    assert told_in(tmp_path / "out") == without_seconds(orjson.dumps(proof.as_json()))
    after = {path.name: path.stat().st_mtime_ns for path in store.rglob("*.done")}
    assert {name: after[name] for name in done} == done
    assert len(after) == proof.design.models


def test_two_proofs_in_one_store_at_once_give_the_same(
    tree: dict[str, Any], proof: ProofReport, tmp_path: Path
) -> None:
    """Each waits where the other trains a model that both need."""
    shared = {**tree, "store": str(tmp_path / "store")}
    names = ("one", "two")
    processes = [begun({**shared, "output": {"folder": str(tmp_path / name)}}) for name in names]
    assert [process.wait(timeout=400) for process in processes] == [0, 0]
    assert len(list((tmp_path / "store" / STAGE).glob("*.done"))) == proof.design.models
    own = without_seconds(orjson.dumps(proof.as_json()))
    assert [told_in(tmp_path / name) for name in names] == [own, own]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prove.arms.0.set=['select.rules=[{kind=\"threshold\", column=\"char_count\", max=1}]']",
         r"prove\.arms: must select text for 1,000 tokens, got about 0 tokens in a draw of 'clean'"),
        ("prove.arms.0.name=random", r"names of arms must differ, and not be 'random'"),
        ("prove.training.device=cuda:7", r"prove\.training\.device: must be cpu or .*, got 'cuda:7'"),
        ("prove.soups.by=['goood']", r"prove\.soups\.by: must name columns .*, got 'goood'; did you mean 'good'\?"),
        ("prove.soups={tokens=1000000}", r"prove\.soups\.by: must divide the pool into two .* of 250,000 tokens each"),
        ("prove.arms.0.run=/nowhere", r"set and run must not both be set"),
        ("prove.arms.0.set=['select.rulez=1']", r"arm clean: select\.rulez: must be a known key"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tree: dict[str, Any], override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prove(plan_of(tree, override), SILENT)


def test_records_that_cannot_be_read_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = tree_of(tmp_path)
    with (tmp_path / "web.jsonl").open("a") as file:
        file.write("\n{broken\n[1]")
    assert prove(plan_of(tree), Progress(sys.stderr), dry_run=True) is None
    assert "documents: 2 records could not be read (" in capsys.readouterr().err


def test_a_dry_run_says_what_it_would_see_and_cost(tree: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """From steps that it measures, and leaves nothing of these in the store."""
    other = ("prove.noise=0.02", "prove.training.learning_rate=0.003", "prove.soups={by=['good'], tokens=2048}")
    assert prove(plan_of(tree, *other), Progress(sys.stderr), dry_run=True) is None
    said = capsys.readouterr().err
    assert "21 models will be trained on 8,192 tokens each" in said
    assert "bits per byte where the noise is 0.0200" in said
    assert re.search(r"they take about \d+ s on this machine, from 20 measured steps", said)
    assert not list(Path(tree["output"]["folder"], "store", PACES).glob("*.done"))


def test_the_cost_of_what_is_left_is_that_of_finished_trainings(
    tree: dict[str, Any], proof: ProofReport, capsys: pytest.CaptureFixture[str]
) -> None:
    more = json.loads(json.dumps(tree))
    more["prove"]["arms"].append({"name": "another", "set": ["select.rules=[{kind='sample', rate=0.45}]"]})
    assert prove(plan_of(more), Progress(sys.stderr), dry_run=True) is None
    said = capsys.readouterr().err
    done = proof.design.models
    assert re.search(rf"{done} of {done + 6} are in the store, the others take about \d+ s on this machine, from", said)
    assert re.search(r"from \d+ finished trainings", said)


def test_without_the_device_a_dry_run_says_so(tree: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert prove(plan_of(tree, "prove.training.device=cuda:7"), Progress(sys.stderr), dry_run=True) is None
    said = capsys.readouterr().err
    assert "how long they take cannot be told here: device: must be cpu or a GPU that torch sees, got 'cuda:7'" in said


def test_held_out_documents_are_read_before_anything_is_selected(tree: dict[str, Any], tmp_path: Path) -> None:
    """A file of them that is empty is told in one line, before scores and selections are made."""
    (tmp_path / "empty.jsonl").write_text("")
    apart = {"source": "apart", "paths": [str(tmp_path / "empty.jsonl")]}
    changed = {**tree, "output": {"folder": str(tmp_path / "out")}, "prove": {**tree["prove"], "held_out": [apart]}}
    with pytest.raises(UserError, match="input 'apart': must hold documents"):
        prove(plan_of(changed), SILENT)
    assert not list((tmp_path / "out").rglob("decisions/*"))


def test_domains_that_nobody_labelled_are_the_values_of_a_column(tree: dict[str, Any], tmp_path: Path) -> None:
    """A flag, a topic or a cluster divides the held-out documents of a source; the rarest are `others`."""
    changed = {**tree, "output": {"folder": str(tmp_path / "out")}}
    arms = tree["prove"]["arms"][:1]
    changed["prove"] = {**tree["prove"], "held_out": [], "by": ["good"], "holdout": 0.2, "arms": arms}

    def domains(*overrides: str) -> dict[str, set[str]]:
        plan = plan_of(changed, *overrides)
        with publish.workspace(plan.config.output.folder, plan.config.name, plan.config.store_folder) as store:
            made = Proof.begin(plan, store, SILENT).measuring
        pairs = zip(made.domain.tolist(), made.names, strict=True)
        found: dict[str, set[str]] = {name: set() for name in made.domains}
        for number, name in pairs:
            found[made.domains[number]].add(name.partition("-")[0])
        return found

    assert domains() == {"web: good 0": {"noise"}, "web: good 1": {"web"}}
    assert domains("prove.most_domains=1") == {"web: others": {"noise", "web"}}
    with pytest.raises(UserError, match=r"prove.by: must name columns of the run, got 'godo'; did you mean 'good'"):
        prove(plan_of(changed, "prove.by=['godo']"), SILENT)
