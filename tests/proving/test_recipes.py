"""The proofs of conf/: without a GPU they say what they would train, and are refused before any work."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.proving.test_prove import sentence

from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.proving.prove import prove
from siftlm.proving.settings import load
from siftlm.proxies.training.model import forms

CONF = Path(__file__).parents[2] / "conf" / "prove_gpu.toml"


def test_models_of_the_gpu_recipe_are_gpt2s_and_its_slice_is_the_same_design() -> None:
    """124 million weights, and the override of its comment."""
    config = load(str(CONF)).config
    weights = sum(torch.Size(form.size).numel() for form in forms(config.prove.model, config.prove.vocabulary))
    assert weights == 124_439_808
    (override,) = [line.split("--set ")[1].split(" ")[0] for line in CONF.read_text().splitlines() if "--set " in line]
    assert load(str(CONF), [override]).config.prove.tokens == 8_000_000


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_recipe_is_planned_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run makes the selections and says what would be trained; a proof ends before it reads anything."""
    monkeypatch.chdir(tmp_path)
    for name in ("corpus", "held_out/reference_works", "held_out/books"):
        (tmp_path / name).mkdir(parents=True)
    texts = [f"{sentence(n)}.\n{sentence(n + 5000)}.\n{sentence(n + 7000)}." for n in range(120)]
    urls = [f"https://example.org/{n}" for n in range(120)]
    pq.write_table(pa.table({"text": texts, "url": urls, "id": urls}), "corpus/a.parquet")
    for name in ("reference_works", "books"):
        lines = b"\n".join(orjson.dumps({"text": sentence(9000 + n)}) for n in range(12))
        Path(f"held_out/{name}/a.jsonl.zst").write_bytes(pa.compress(lines, "zstd", asbytes=True))
    small = ["prove.tokens=2000", "prove.vocabulary=300", "prove.max_epochs=1000"]
    small += [f"prove.arms.{n}.set=['select={{rules=[{{kind=\"sample\", rate=0.9}}]}}']" for n in range(3)]
    with pytest.raises(UserError, match=r"^prove\.training\.device: must be cpu or a GPU that torch sees, got 'cuda'$"):
        prove(load(str(CONF), small), Progress(quiet=True))
    assert not (tmp_path / "runs").exists()
    assert prove(load(str(CONF), small), Progress(sys.stderr), dry_run=True) is None
    said = capsys.readouterr().err
    assert "21 models will be trained on" in said
    assert "how long they take cannot be told here: device: must be cpu or a GPU that torch sees, got 'cuda'" in said
