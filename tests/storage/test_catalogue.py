"""Names say what of a store is a run's, whole or not, and what is somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from siftlm.storage.catalogue import catalogue
from siftlm.store import Marker, Store

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def made(root: Path, *paths: str) -> tuple[dict[str, bool], list[str]]:
    """Whether each entry of a store with some files is complete, and the strangers."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    listed = catalogue(str(root), frozenset({"known"}))
    return {f"{entry.folder} {entry.key}": entry.complete for entry in listed.entries}, listed.strangers


@pytest.mark.parametrize(
    ("paths", "entries", "strangers"),
    [
        (["documents/K.parquet", "documents/K.done", "documents/K.rejects.parquet"], {"documents K": True}, []),
        (["scores/x/K-K.parquet", "scores/x/K-K.done"], {"scores/x K-K": True}, []),
        (["known/K.parquet"], {"known K": False}, []),
        (["mine/K.parquet"], {}, ["mine/K.parquet"]),
        (["selections/K.value", "selections/K.value.O"], {"selections K": True, "selections K.value.O": False}, []),
        (["tables/K/000-of-001.arrow"], {"tables K": False}, []),
        (["tables/K/000-of-001.arrow", "tables/K/facts.value"], {"tables K": True}, []),
        (["ngrams/K/0000.zst"], {"ngrams K": True}, []),
        (
            ["plans/scores/x-K.jsonl", "plans/ids-K.jsonl", "plans/K.jsonl"],
            {"plans/scores x-K.jsonl": False, "plans ids-K.jsonl": False},
            ["plans/K.jsonl"],
        ),
        (
            ["known/K/model.safetensors", "known/K/config.json", "known/K/notes.txt"],
            {"known K": False},
            ["known/K/notes.txt"],
        ),
        (["siftlm-store.json", ".store.lock", "fingerprints.json", "runs/x.json", ".in-use/y.json"], {}, []),
        (["known/.train-abc/model.safetensors", "known/.K.parquet.K.tmp"], {}, []),
    ],
)
def test_names_tell(tmp_path: Path, paths: list[str], entries: dict[str, bool], strangers: list[str]) -> None:
    """K and O stand for keys."""

    def keyed(name: str) -> str:
        return name.replace("K", KEY).replace("O", OTHER)

    assert made(tmp_path, *map(keyed, paths)) == (
        {keyed(e): c for e, c in entries.items()},
        list(map(keyed, strangers)),
    )


def test_of_an_output_that_is_a_folder_the_marker_knows_the_files(tmp_path: Path) -> None:
    """What else lies beside a model is a stranger."""
    store = Store(str(tmp_path))
    (tmp_path / "family" / KEY).mkdir(parents=True)
    (tmp_path / "family" / KEY / "weights").write_text("w")
    store.commit(Marker("family", KEY, "all", 0, 0, files=store.seals("family", KEY)))
    (tmp_path / "family" / KEY / "model.safetensors").write_text("mine")
    (entry,) = catalogue(str(tmp_path), frozenset()).entries
    assert set(entry.files) == {f"family/{KEY}/weights", f"family/{KEY}.done"}
    assert catalogue(str(tmp_path), frozenset()).strangers == [f"family/{KEY}/model.safetensors"]
