"""hf:// paths as input, against a stand-in of the hub's API and not the hub itself."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.hub_stand_in import HubStandIn
from tests.runs.conftest import Bench, mistake

from siftlm import filesystem, patterns
from siftlm.errors import UserError
from siftlm.remote import hub as pins
from siftlm.remote.names import hub_path
from siftlm.remote.stream import RemoteFile

BOOKS = "hf://datasets/library/books"


def lines(*names: str) -> bytes:
    return "".join(json.dumps({"id": name, "text": f"The text of {name}."}) + "\n" for name in names).encode()


def parquet(*names: str) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": names, "text": [f"The text of {name}." for name in names]}), out)
    return out.getvalue()


def found(*paths: str) -> list[str]:
    return [file.path for file in patterns.survey(paths).files]


def of_hub(bench: Bench, *paths: str, **rest: Any) -> Any:
    return bench.run(input=[{"source": "hub", "paths": list(paths), "id_field": "id"}], **rest)


def ids(bench: Bench, out: str = "out") -> list[str]:
    return sorted(row["doc_id"] for row in bench.rows(out))


def both(dataset: str) -> list[str]:
    return [f"{dataset}/data/*.jsonl", f"{dataset}/data/*.parquet"]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("hf://datasets/o/n", ("dataset", "o/n", "", "")),
        ("hf://datasets/o/n@main/data/*.parquet", ("dataset", "o/n", "main", "/data/*.parquet")),
        ("hf://datasets/o/n@refs/convert/parquet/x", ("dataset", "o/n", "refs/convert/parquet", "/x")),
        ("hf://datasets/o/n@a%2Fb/x", ("dataset", "o/n", "a/b", "/x")),
        ("hf://o/model.v1/model.bin", ("model", "o/model.v1", "", "/model.bin")),
    ],
)
def test_paths_of_the_hub_have_parts(path: str, parts: tuple[str, ...]) -> None:
    """As huggingface_hub writes them."""
    assert tuple(hub_path(path)) == parts


@pytest.mark.parametrize(
    "path", ["hf://datasets/o", "hf://spaces/o/n/x", "hf://buckets/o/n/x", "hf://x", "hf://datasets/o/n@"]
)
def test_what_is_no_path_of_the_hub_is_refused(path: str, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the network is asked anything."""
    with pytest.raises(ValueError, match="OWNER/NAME"):
        hub_path(path)


def test_files_folders_and_patterns_match_at_a_commit(hub: HubStandIn) -> None:
    """What a revision means is in the path of every file."""
    files = {
        "README.md": b"",
        "a/1.jsonl": lines("1"),
        "a/2.jsonl": lines("2"),
        "a/_x.jsonl": b"",
        "b/3.jsonl": lines("3"),
    }
    commit = hub.dataset("library/books", files).branches["main"]
    at = f"{BOOKS}@{commit}"
    assert found(f"{BOOKS}/a") == found(f"{BOOKS}@main/a/*.jsonl") == [f"{at}/a/1.jsonl", f"{at}/a/2.jsonl"]
    assert found(f"{at}/**/*.jsonl") == [f"{at}/a/1.jsonl", f"{at}/a/2.jsonl", f"{at}/b/3.jsonl"]
    assert filesystem.read_bytes(f"{BOOKS}/b/3.jsonl") == lines("3")


def test_listings_of_many_pages_are_whole(hub: HubStandIn) -> None:
    """The hub gives a thousand entries at a time, the stand-in a hundred."""
    hub.dataset("library/books", {f"data/{number:03}.jsonl": b"" for number in range(250)})
    assert len(found(f"{BOOKS}/data")) == 250


def test_fingerprints_are_those_that_the_hub_keeps(hub: HubStandIn) -> None:
    """sha256 of large files, git's blob id of others; no byte of a file is read for them."""
    hub.dataset("library/books", {"x.parquet": parquet("x"), "y.jsonl": lines("y")})
    tree = hub.repositories["datasets", "library/books"].head()
    assert filesystem.fingerprint(f"{BOOKS}/x.parquet").split(":")[:2] == ["sha256", tree["x.parquet"].sha256]
    assert filesystem.fingerprint(f"{BOOKS}/y.jsonl").split(":")[:2] == ["git", tree["y.jsonl"].oid]
    assert hub.sent_bytes == 0


def test_a_run_reads_the_commit_that_it_began_with(hub: HubStandIn, bench: Bench) -> None:
    """A branch that moves changes the next run and not this one; the manifest names the commit."""
    repository = hub.dataset("library/books", {"data/1.jsonl": lines("1"), "data/2.parquet": parquet("2")})
    first = repository.branches["main"]
    result = of_hub(bench, *both(BOOKS))
    assert ids(bench) == ["1", "2"]
    assert {shard["path"].split("@")[1].split("/")[0] for shard in result.manifest["inputs"]} == {first}
    read = hub.sent_bytes
    assert of_hub(bench, *both(BOOKS)).unchanged
    assert hub.sent_bytes == read
    hub.dataset("library/books", {"data/1.jsonl": lines("1"), "data/2.parquet": parquet("2", "3")})
    assert of_hub(bench, *both(f"{BOOKS}@{first}")).manifest["identity"] == result.manifest["identity"]
    assert hub.sent_bytes == read
    of_hub(bench, *both(BOOKS))
    assert ids(bench) == ["1", "2", "3"]
    assert hub.sent_bytes - read <= len(parquet("2", "3")) * 3  # the file that is as it was is not read again


def test_one_revision_is_one_commit_until_the_next_run(hub: HubStandIn) -> None:
    """However often it is named, in sources and tables."""
    hub.dataset("library/books", {"x.jsonl": lines("x")})
    before = pins.pinned(f"{BOOKS}/x.jsonl")
    hub.dataset("library/books", {"x.jsonl": lines("y")})
    assert pins.pinned(f"{BOOKS}/x.jsonl") == before
    assert filesystem.read_bytes(f"{BOOKS}/x.jsonl") == lines("x")
    pins.forget()
    assert filesystem.read_bytes(f"{BOOKS}/x.jsonl") == lines("y")


def test_broken_connections_lose_nothing(hub: HubStandIn, bench: Bench) -> None:
    """Parts are asked for again where a connection ends in the middle of one."""
    names = [str(number) for number in range(3000)]
    hub.dataset("library/books", {"x.jsonl.gz": gzip.compress(lines(*names))})
    hub.breaks["resolve"] = 3
    of_hub(bench, f"{BOOKS}/x.jsonl.gz")
    assert ids(bench) == sorted(names)
    assert hub.breaks["resolve"] == 0


def test_a_network_that_stays_broken_is_no_damage_of_the_file(hub: HubStandIn, bench: Bench) -> None:
    """The run stops and says so, and the next one reads the file."""
    hub.dataset("library/books", {"x.jsonl.gz": gzip.compress(lines("x") * 1000)})
    hub.breaks["resolve"] = 1000
    with pytest.raises(UserError, match=r"x\.jsonl\.gz; the hub cannot be reached \(.*run again"):
        of_hub(bench, f"{BOOKS}/x.jsonl.gz")
    hub.breaks["resolve"] = 0
    of_hub(bench, f"{BOOKS}/x.jsonl.gz")
    assert len(bench.rows()) == 1000


def test_a_private_dataset_is_read_with_a_token_that_nothing_tells(
    hub: HubStandIn, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither manifest, keys nor messages have it."""
    hub.dataset("library/books", {"x.jsonl": lines("x")}, private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    of_hub(bench, f"{BOOKS}/x.jsonl")
    assert hub.seen_tokens == {"hf_good"}
    told = capsys.readouterr()
    assert "hf_good" not in told.out + told.err
    files = [path for path in (bench.root / "out").rglob("*") if path.is_file()]
    assert files
    assert not any(b"hf_good" in path.read_bytes() or "hf_good" in str(path) for path in files)


@pytest.mark.parametrize(
    ("path", "token", "why"),
    [
        ("hf://datasets/library/none/x.jsonl", "", "the hub has none of that name, or none that may be seen without"),
        ("hf://datasets/library/secret/x.jsonl", "", "the hub has none of that name, or none that may be seen without"),
        ("hf://datasets/library/books@nowhere/x.jsonl", "", "no such revision of it; name a branch"),
        ("hf://datasets/library/gated/x.jsonl", "", "wants terms to be accepted"),
        ("hf://datasets/library/books/x.jsonl", "hf_bad", "the hub does not know the token"),
        ("hf://datasets/library/books/none.jsonl", "", "matches none"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    path: str, token: str, why: str, hub: HubStandIn, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It names the key and the path, and says what to do."""
    for name, of in {"books": {}, "secret": {"private": True}, "gated": {"gated": True}}.items():
        hub.dataset(f"library/{name}", {"x.jsonl": lines("x")}, **of)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    told = mistake(capsys, "validate", str(written(bench, path)))
    assert told.startswith("input")
    assert path.removesuffix("/x.jsonl").removesuffix("/none.jsonl") in told
    assert why in told
    assert token == "" or token not in told


def test_no_network_is_one_line(hub: HubStandIn, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Nothing listens at the port of the discard protocol."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    told = mistake(capsys, "validate", str(written(bench, f"{BOOKS}/x.jsonl")))
    assert "the hub cannot be reached" in told
    assert "mend the network" in told


@pytest.mark.parametrize("scheme", ["hf://datasets/library/books", "https://example.org/runs"])
def test_a_run_is_not_written_there(scheme: str, bench: Bench, capsys: Any) -> None:
    """Neither are stores nor metrics."""
    assert "must be a place that a run can write to" in mistake(capsys, "validate", str(written(bench, "x", scheme)))


def written(bench: Bench, path: str, out: str = "") -> Path:
    """A configuration of one source."""
    conf = bench.root / "conf.toml"
    conf.write_text(
        f'name = "bench"\n[[input]]\nsource = "hub"\npaths = ["{path}"]\n'
        f'[annotate]\n[output]\nfolder = "{out or bench.root / "out"}"\n'
    )
    return conf


def test_tables_on_the_hub_are_joined(hub: HubStandIn, bench: Bench) -> None:
    """A path of [[join]] is a path like others."""
    pytest.importorskip("duckdb")
    out = io.BytesIO()
    pq.write_table(pa.table({"id": ["a", "b"], "stars": [3, 5]}), out)
    hub.dataset("library/stars", {"data/1.parquet": out.getvalue()})
    bench.shard("1.jsonl", [{"id": "a", "text": "One."}, {"id": "b", "text": "Two."}])
    table = {"path": "hf://datasets/library/stars/data/*.parquet", "key": "id", "columns": ["stars"]}
    bench.run(join=[table])
    assert {row["doc_id"]: row["stars"] for row in bench.rows()} == {"a": 3, "b": 5}


def test_the_hubs_library_is_imported_by_those_who_read_from_it() -> None:
    """It takes a second, which other runs need not wait for."""
    code = "import sys, siftlm.config, siftlm.filesystem, siftlm.patterns; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class _Breaking(io.BytesIO):
    """A file whose reads fail a number of times."""

    left = 2

    def read(self, size: int | None = -1) -> bytes:
        if self.left:
            self.left -= 1
            super().read(1)
            raise ConnectionResetError("reset")
        return super().read(size)


def test_a_part_that_fails_is_asked_for_again_from_where_it_began() -> None:
    """Nothing is skipped and nothing comes twice; when all tries fail, an error says so."""
    file = RemoteFile(_Breaking(b"0123456789"), "https://x/y", (OSError,), (0, 0))
    assert file.read(4) + file.read() == b"0123456789"
    with pytest.raises(UserError, match="https://x/y; reset; run again"):
        RemoteFile(_Breaking(b"0123456789"), "https://x/y", (OSError,), (0,)).read(4)
