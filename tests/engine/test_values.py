"""Values as files: what is read is what was written, in any thread, or it is damage."""

from __future__ import annotations

import ast
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siftlm.engine.values import read_value, write_value
from siftlm.errors import UserError
from siftlm.scorers.ngrams import ImportanceWeights, read_npz
from siftlm.store import Store

ARRAYS = [
    np.arange(6, dtype=np.int64).reshape(2, 3),
    np.zeros((0, 3)),
    np.array([1.5, -np.inf, np.nan], np.float32),
    np.array(True),
    np.array(["x", "", "ÿ漢"]),
    np.array([], "<U1"),
    np.asfortranarray(np.arange(6, dtype=np.uint16).reshape(3, 2)),
]


@pytest.fixture
def no_literals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python literals cannot be parsed: CPython 3.11 fails at it where threads do."""

    def fail(_: Any) -> Any:
        raise SystemError("AST constructor recursion depth mismatch")

    monkeypatch.setattr(ast, "literal_eval", fail)
    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", fail)


@pytest.mark.usefixtures("no_literals")
def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    """Arrays of every kind and shape, infinities, large fractions."""
    store = Store(str(tmp_path))
    path = store.path("selections", "k")
    rest = {"f": float("inf"), "t": (1, None, "a"), "q": Fraction(1 << 80, 3), "s": frozenset({"b", "a"})}
    write_value(path, {"arrays": tuple(ARRAYS), **rest}, store)
    again = read_value(path, store)
    for was, now in zip(ARRAYS, again.pop("arrays"), strict=True):
        assert (now.dtype, now.shape) == (was.dtype, was.shape)
        np.testing.assert_array_equal(now, was)
        assert now.flags.writeable
    assert again == rest


def test_a_value_with_a_flipped_bit_is_damage(tmp_path: Path) -> None:
    """Wherever it is: the file is named, and removed so that it is made again."""
    store = Store(str(tmp_path))
    path = store.path("selections", "k")
    write_value(path, {"array": np.arange(3)}, store)
    whole = Path(path).read_bytes()
    for at in range(len(whole)):
        Path(path).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError, match="its checksum is not that of what was written"):
            read_value(path, store)
        assert not Path(path).exists()


@pytest.mark.usefixtures("no_literals")
def test_importance_weights_are_read_without_python_literals(tmp_path: Path) -> None:
    """As numpy writes them, compressed or not."""
    weights = ImportanceWeights(2, np.random.default_rng(0).normal(size=100))
    weights.save(str(tmp_path / "w.npz"))
    np.testing.assert_array_equal(ImportanceWeights.load(str(tmp_path / "w.npz")).log_ratio, weights.log_ratio)
    table = np.asfortranarray(np.arange(6).reshape(2, 3))
    np.savez_compressed(tmp_path / "c.npz", table=table, one=np.float32(3))
    with (tmp_path / "c.npz").open("rb") as file:
        found = read_npz(file)
    np.testing.assert_array_equal(found["table"], table)
    assert found["one"] == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", b"\x80\x04."])
def test_other_files_are_no_importance_weights(tmp_path: Path, content: bytes) -> None:
    """An error of the value, which the scorer names."""
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"not an \.npz file"):
        ImportanceWeights.load(str(tmp_path / "w.npz"))


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    """A pickle can run any code."""
    np.savez(tmp_path / "w.npz", ngrams=np.array([{}], object), log_ratio=np.zeros(3))
    with pytest.raises(ValueError, match="not an array of numbers"):
        ImportanceWeights.load(str(tmp_path / "w.npz"))
