"""`siftlm train-ngram` on the command line: models, mistakes, and how they are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from siftlm.cli.commands import app
from siftlm.errors import UserError
from siftlm_kernels.ngram_model import NgramModel


def call(*words: str) -> str:
    """What the command prints; raises what it raises."""
    result = CliRunner().invoke(app, ["train-ngram", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_both_files_of_a_model(tmp_path: Path) -> None:
    """With the numbers of n-grams and the discounts on the terminal."""
    (tmp_path / "a.txt").write_text("a b a\nb a\na a b c\n")
    out = [f"--out={tmp_path / name}" for name in ("new/m.bin", "new/m.arpa.gz")]
    told = call(str(tmp_path / "*.txt"), *out, "--order=3", "--discount-fallback", "--memory=500M")
    assert "3 sentences of 9 tokens" in told
    assert "1-grams: 6, discounts 0.2 1.7 3\n" in told
    assert "3-grams: 8, discounts 0.5 1 1.5, the fallback" in told
    assert {NgramModel.load(str(tmp_path / "new" / name)).order for name in ("m.bin", "m.arpa.gz")} == {3}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "m.arpa.gz", "m.arpa.gz.seen", "m.bin", "m.bin.seen",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out=m.txt"], "--out: must end with"),
        (["--out=a.bin", "--out=b.bin"], "--out: must name one ARPA file and one .bin"),
        (["--out=a.bin", "--order=0"], "order"),
        (["--out=a.bin", "--memory=much"], "memory: .*must be a number of bytes such as 2GB"),
        (["--out=a.bin", "--unit=letters"], "unit"),
        (["--out=a.bin", "--unit=pieces"], "a SentencePiece model must be named"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, words: list[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told) as found:
        call("missing.txt", *words)
    assert "\n" not in str(found.value)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_one_line() -> None:
    """numpy says of a full disk how many numbers it wrote, and no more."""
    from siftlm.cli.mistakes import known

    with open("/dev/full", "wb") as full, pytest.raises(OSError, match="requested and") as caught:
        np.arange(1 << 20).tofile(full)
    told = known(caught.value)
    assert str(told).startswith("no space left: ")
