"""What can be wrong with a model is one line that names the setting; what decides numbers is in the digest."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from siftlm.errors import UserError
from siftlm.scorers.lm import LMScorer, LMSettings


@pytest.fixture
def folder(language_models: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a model that a test may break."""
    return Path(shutil.copytree(language_models["gpt2"], tmp_path / "model"))


def refusal(model: Path | str, **settings: Any) -> str:
    """The message of the UserError with which a scorer refuses to start."""
    with pytest.raises(UserError) as raised:
        LMScorer(LMSettings(name="tiny", model=str(model), **{"device": "cpu", **settings})).check()
    message = str(raised.value)
    assert "\n" not in message
    return message


def edit_weights(folder: Path, change: Any) -> None:
    """Applies `change` to the dictionary of weights in the file."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_folder_is_no_hub_id(tmp_path: Path) -> None:
    """A path that does not exist is never asked of the hub."""
    assert refusal(tmp_path / "none").startswith("score.tiny.model: must be a folder, a .gguf file or a hub id")
    assert "score.tiny.model" in refusal("./none.gguf")
    assert "score.tiny.model" in refusal(tmp_path, gguf_file="none.gguf")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    """No config.json; and a folder of GGUF files gets a hint."""
    assert "config.json" in refusal(tmp_path)
    (tmp_path / "a.gguf").touch()
    assert "name one of its .gguf files" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_cut_short_is_refused(folder: Path, name: str) -> None:
    """Half a file never gives a score."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    assert refusal(folder).startswith("score.tiny.model: must")


def test_a_gguf_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """Bytes of another format under the name of a model."""
    (tmp_path / "a.gguf").write_bytes(b"GGUF but not really" * 100)
    assert refusal(tmp_path / "a.gguf").startswith("score.tiny.model: must")


def test_missing_weights_are_not_made_up(folder: Path) -> None:
    """transformers would fill them with random numbers and warn."""
    edit_weights(folder, lambda weights: weights.pop(next(key for key in weights if "mlp" in key)))
    assert "must hold every weight" in refusal(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    """One NaN is enough."""
    edit_weights(
        folder, lambda weights: weights[next(k for k in weights if "mlp" in k)].view(-1)[0:1].fill_(float("nan"))
    )
    assert "must hold finite weights, got NaN or infinity in" in refusal(folder)


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(folder: Path) -> None:
    """Before a document with such a token stops a run."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<extra{n}>" for n in range(20)])
    tokenizer.save_pretrained(folder)
    assert "must have an embedding for every token of its tokenizer, got 328 embeddings and 340 tokens" in refusal(
        folder
    )


def test_pickled_weights_need_a_word(folder: Path) -> None:
    """A pickle can run code; the setting admits it."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "allow_pickle = true" in refusal(folder)
    LMScorer(LMSettings(name="tiny", model=str(folder), device="cpu", allow_pickle=True)).check()


def test_a_model_without_weights_is_refused(folder: Path) -> None:
    """Only a configuration and a tokenizer."""
    (folder / "model.safetensors").unlink()
    assert "must hold weights" in refusal(folder)


def test_a_window_beyond_the_models_context_is_refused(folder: Path) -> None:
    """Positions that the model never saw would give numbers, but no meaning."""
    assert refusal(folder, context_tokens=65) == "score.tiny.context_tokens: must be at most the model's 64, got 65"


def test_cuda_without_a_device_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a silent fallback to the CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert refusal(folder, device="cuda").startswith("score.tiny.device: must be a device of this machine")


@pytest.mark.parametrize(
    "settings", [{"name": "Tiny"}, {"stride": 0.0}, {"stride": 1.5}, {"stride": "none"}, {"modle": "x"}]
)
def test_settings_are_checked_without_the_model(settings: dict[str, Any]) -> None:
    """Bad values do not wait for the files."""
    with pytest.raises(ValidationError):
        LMSettings(**{"name": "tiny", "model": "x", **settings})


def test_the_digest_follows_content_not_place(folder: Path, tmp_path: Path) -> None:
    """A copy has the same one; another weight, vocabulary or window has not; a README changes nothing."""

    def digest(path: Path, **settings: Any) -> str:
        return LMScorer(LMSettings(name="tiny", model=str(path), **settings)).digest()

    first = digest(folder)
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (moved / "README.md").write_text("a tiny model")
    assert digest(moved) == first == digest(folder, threads=2, window_documents=9)
    assert digest(folder, stride="disjoint") != first != digest(folder, bos_mode="none")
    edit_weights(moved, lambda weights: weights[next(iter(weights))].add_(1))
    assert digest(moved) != first


def test_the_digest_loads_no_model(folder: Path) -> None:
    """Neither do settings: torch stays out until documents come."""
    code = (
        "import sys; from siftlm.scorers.lm import LMScorer, LMSettings;"
        f"LMScorer(LMSettings(name='tiny', model={str(folder)!r})).digest();"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_models_that_cannot_be_packed_are_padded_and_say_so(
    language_models: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """One line for each model."""
    scorer = LMScorer(LMSettings(name="tiny", model=str(language_models["opt"]), device="cpu"))
    for _ in range(2):
        scorer.score(pa.record_batch({"text": pa.array(["rain"], pa.large_string())}))
    assert [record.message for record in caplog.records if "padded" in record.message] == [
        "score.tiny.model: opt documents are padded, not packed"
    ]
