"""Models that no process can map are converted once, to tables that all share; what is kept follows the content."""

from __future__ import annotations

import gzip
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.scorers.test_ngram_lm import ARPA, scores

from siftlm.errors import UserError
from siftlm.scorers import ngram_tables
from siftlm.scorers.ngram_lm import NgramModelSettings, NgramScorer
from siftlm.scorers.ngram_tables import open_model

KENLM = Path(__file__).parents[1] / "kernels" / "kenlm"
TRIES = sorted(path.name for path in KENLM.glob("trie*.bin"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of tables of a user who has none, for models of every size."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ngram_tables, "SMALL_BYTES", 0)
    return tmp_path / "cache/siftlm/ngrams"


def scorer(path: Path) -> NgramScorer:
    return NgramScorer(NgramModelSettings(name="n", path=str(path)))


def tables(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.suffix != ".lock") if cache.exists() else []


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz", *TRIES])
def test_a_converted_model_scores_as_the_file(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Bit by bit; the second process converts nothing, and nothing but the tables stays."""
    source = tmp_path / name
    source.write_bytes(
        gzip.compress((KENLM / "model.arpa").read_bytes()) if name.endswith(".gz") else (KENLM / name).read_bytes()
    )
    texts = ["w1 w2 w3", "w4 unknown w1\nw2", ""]
    monkeypatch.setattr(ngram_tables, "SMALL_BYTES", 1 << 30)
    truth = scores(scorer(source), *texts)
    assert not tables(cache)
    monkeypatch.setattr(ngram_tables, "SMALL_BYTES", 0)
    assert scores(scorer(source), *texts).equals(truth)
    (kept,) = tables(cache)
    monkeypatch.setattr(ngram_tables, "convert", lambda *_: pytest.fail("converts again"))
    assert scores(scorer(source), *texts).equals(truth)
    assert tables(cache) == [kept]


def test_a_probing_file_is_mapped_as_it_is(cache: Path) -> None:
    open_model(str(KENLM / "probing.bin"))
    assert not tables(cache)


def test_another_content_under_the_same_name_is_another_table(tmp_path: Path, cache: Path) -> None:
    """And a copy under another name is the same."""
    (tmp_path / "a.arpa").write_text(ARPA)
    before = scores(scorer(tmp_path / "a.arpa"), "a b")
    (tmp_path / "b.arpa").write_text(ARPA)
    assert scores(scorer(tmp_path / "b.arpa"), "a b").equals(before)
    assert len(tables(cache)) == 1
    (tmp_path / "a.arpa").write_text(ARPA.replace("-0.01", "-0.02"))
    assert not scores(scorer(tmp_path / "a.arpa"), "a b").equals(before)
    assert len(tables(cache)) == 2


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_damaged_table_is_made_anew(tmp_path: Path, cache: Path, size: int) -> None:
    """Cut short, or with another byte."""
    (tmp_path / "a.arpa").write_text(ARPA)
    truth = scores(scorer(tmp_path / "a.arpa"), "a b")
    (kept,) = tables(cache)
    content = bytearray(kept.read_bytes())
    content[200] ^= 1
    kept.write_bytes(bytes(content) if size < 0 else bytes(content[:size]))
    assert scores(scorer(tmp_path / "a.arpa"), "a b").equals(truth)
    assert len(kept.read_bytes()) == len(content)


def test_a_file_that_is_no_model_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    """And is told with its line, as ever."""
    (tmp_path / "a.arpa").write_text(ARPA.replace("-0.05\tb </s>", "x\tb </s>"))
    with pytest.raises(UserError, match=r"^score\.n\.path: must be an n-gram model .* line \d+ must have numbers"):
        scorer(tmp_path / "a.arpa").check()
    assert not tables(cache)


def test_a_file_that_changes_while_it_is_converted_is_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.arpa"
    path.write_text(ARPA)
    convert = ngram_tables.convert

    def changing(source: str, target: str) -> None:
        convert(source, target)
        path.write_text(ARPA.replace("-0.01", "-0.02"))

    monkeypatch.setattr(ngram_tables, "convert", changing)
    with pytest.raises(UserError, match="must stay as it is"):
        open_model(str(path))
    assert not tables(cache)


def test_without_room_every_process_reads_for_itself_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.arpa").write_text(ARPA)
    truth = scores(scorer(tmp_path / "a.arpa"), "a b")

    def full(*_: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(ngram_tables, "convert", full)
    with caplog.at_level(logging.WARNING, "siftlm"):
        assert scores(scorer(tmp_path / "a.arpa"), "a b").equals(truth)
    assert "into its own memory, for its tables cannot be kept" in caplog.text
    assert "No space left on device" in caplog.text


def test_a_table_that_nobody_opened_for_a_month_goes(tmp_path: Path, cache: Path) -> None:
    """When another one is made."""
    for name, log in (("a", "-0.01"), ("b", "-0.02")):
        (tmp_path / f"{name}.arpa").write_text(ARPA.replace("-0.01", log))
    open_model(str(tmp_path / "a.arpa"))
    (old,) = tables(cache)
    os.utime(old, (0, old.stat().st_mtime - ngram_tables.KEPT_SECONDS - 10))
    open_model(str(tmp_path / "b.arpa"))
    assert old not in tables(cache)
    assert len(tables(cache)) == 1


def test_several_at_once_convert_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.arpa").write_text(ARPA)
    convert, made = ngram_tables.convert, list[str]()
    monkeypatch.setattr(ngram_tables, "convert", lambda *paths: (made.append(paths[0]), convert(*paths)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_model, [str(tmp_path / "a.arpa")] * 8))
    assert len(made) == 1
