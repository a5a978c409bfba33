"""Training a reference model: small, deterministic, and better than counting."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from siftlm.errors import UserError
from siftlm.proxies.trainer import ReferenceSettings, train_reference, train_reference_into
from siftlm.proxies.training.running import RunningTraining
from siftlm.scorers.lm import LMScorer, LMSettings

NAMES = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Tony", "Leslie"]
VERBS = ["reads", "writes", "proves", "tests", "measures", "compiles"]
OBJECTS = ["a theorem", "the compiler", "a long paper", "the first program", "an old proof"]


def texts(count: int = 300) -> list[str]:
    """Sentences of a small grammar: far more regular than their letters."""
    words = random.Random(5)
    return [
        " ".join(f"{words.choice(NAMES)} {words.choice(VERBS)} {words.choice(OBJECTS)}." for _ in range(8))
        for _ in range(count)
    ]


def settings(**changes: Any) -> ReferenceSettings:
    """A model that trains in two seconds."""
    small = {
        "layers": 1, "width": 32, "heads": 2, "context_tokens": 32, "vocabulary": 300, "epochs": 3.0,
        "batch_tokens": 256, "learning_rate": 1e-2, "threads": 1,
    }  # fmt: skip
    return ReferenceSettings(**{**small, **changes})


def letter_bits(documents: list[str]) -> float:
    """Bits per byte of the best model that knows only how frequent each byte is."""
    counts = Counter("".join(documents).encode())
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values())


@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_a_model_is_better_than_counting_and_scores_as_any_other(tmp_path: Path, shape: Any) -> None:
    """Held-out bits per byte well below the entropy of bytes; shuffled words cost more than sentences."""
    facts = train_reference(texts(), settings(shape=shape), str(tmp_path / "model"))
    assert facts["held_out_bits_per_byte"] < letter_bits(texts()) / 2
    assert facts["documents"] == 300
    scorer = LMScorer(LMSettings(name="reference", model=str(tmp_path / "model"), device="cpu"))
    sentence = "Ada proves a theorem. Tony tests the compiler."
    shuffled = "theorem Tony. tests proves Ada compiler the a."
    score = scorer.score(pa.record_batch({"text": pa.array([sentence, shuffled], pa.large_string())}))
    assert score["nll_sum"][0].as_py() < score["nll_sum"][1].as_py()
    assert scorer.metadata()["batching"] == "packed"


def test_the_same_texts_and_settings_give_the_same_bytes(tmp_path: Path) -> None:
    """Every file of the folder; another seed gives another model."""
    for name, seed in (("first", 1), ("second", 1), ("third", 2)):
        train_reference(iter(texts(60)), settings(seed=seed, epochs=1.0), str(tmp_path / name))
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second", "third")
    ]
    assert contents[0] == contents[1]
    assert contents[0]["tokenizer.json"] == contents[2]["tokenizer.json"]
    assert contents[0]["model.safetensors"] != contents[2]["model.safetensors"]


@pytest.mark.parametrize("corpus", [[], ["", ""], ["a"]])
def test_too_little_text_is_the_users_to_mend(tmp_path: Path, corpus: list[str]) -> None:
    """Nothing is saved."""
    with pytest.raises(UserError, match="reference: must have texts"):
        train_reference(corpus, settings(), str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def test_any_unicode_trains(tmp_path: Path) -> None:
    """The alphabet is bytes: no text is outside the vocabulary."""
    odd = ["\0 😀 é\n" * 40, "中文 русский " * 40] * 20
    facts = train_reference(odd, settings(epochs=1.0), str(tmp_path / "model"))
    assert facts["tokens"] > 0


def test_an_interrupted_reference_reads_no_text_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens and its checkpoint are in its folder; it ends with the same bytes, and with nothing else there."""
    whole = train_reference_into(tmp_path / "whole", texts(60), settings())
    steps: list[int] = []

    def interrupt(self: RunningTraining, advance: Any = RunningTraining.advance) -> None:
        advance(self)
        steps.append(self.step)
        if self.step == 9:
            self._checkpoints.write(self.state())
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunningTraining, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_reference_into(tmp_path / "parts", texts(60), settings())

    def unread() -> Iterator[str]:
        raise AssertionError("texts are read once")
        yield ""

    assert train_reference_into(tmp_path / "parts", unread(), settings()) == whole
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "parts")
    )
    assert first == second
