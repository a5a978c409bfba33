"""Paths, patterns, fingerprints and atomic writes, on disk and in memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
import xxhash
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm import filesystem, patterns
from siftlm.errors import UserError


@pytest.fixture(params=["disk", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A directory on either file system."""
    yield str(tmp_path) if request.param == "disk" else "memory://root"
    fsspec.filesystem("memory").store.clear()


def names(root: str, *wanted: str) -> list[str]:
    """What patterns match, below the root."""
    found = patterns.survey([f"{root}/{pattern}" if pattern else root for pattern in wanted]).files
    return [file.path.partition(root.removeprefix("memory://"))[2].lstrip("/") for file in found]


def test_directories_and_globs_are_expanded_in_order_and_each_file_once(root: str) -> None:
    """Overlapping patterns give a file once, whatever their order."""
    for name in ("b/2.txt", "a/1.txt", "a/3.jsonl", "c.txt"):
        filesystem.write_bytes(f"{root}/{name}", b"x")
    everything = ["a/1.txt", "a/3.jsonl", "b/2.txt", "c.txt"]
    assert names(root, "") == everything
    assert names(root, "c.txt", "**/*.txt", "a", "a/1.txt", "*") == everything
    assert names(root, "a/*.txt") == ["a/1.txt"]
    assert names(root, "?/[12].txt") == ["a/1.txt", "b/2.txt"]


def test_what_other_jobs_leave_behind_is_no_input(root: str) -> None:
    """Hidden names, markers, temporary folders and checksums are left out, unless they are named in full."""
    for name in ("x.txt", "_SUCCESS", ".x.txt.crc", "_temporary/0/x.txt", ".hidden/x.txt", "y.txt.tmp", "x.crc"):
        filesystem.write_bytes(f"{root}/{name}", b"x")
    assert names(root, "") == ["x.txt"]
    assert names(root, "*") == ["x.txt"]
    assert names(root, "**") == ["x.txt"]
    assert names(root, "_SUCCESS") == ["_SUCCESS"]


def test_a_hidden_directory_above_a_pattern_hides_nothing(root: str) -> None:
    """Only names that a pattern matched count."""
    filesystem.write_bytes(f"{root}/_old/.x/y.txt", b"x")
    assert names(root, "_old/.x/*.txt") == names(root, "_old/.x") == ["_old/.x/y.txt"]


def test_a_name_with_glob_signs_in_it_is_a_name_if_there_is_such_a_file(root: str) -> None:
    """Brackets are common in file names."""
    filesystem.write_bytes(f"{root}/x [1].txt", b"x")
    assert names(root, "x [1].txt") == ["x [1].txt"]


ODD = [
    "File::Spec.txt", "std::vector.txt", "zip::x", "simplecache::y.txt", "a#b.txt", "c?d.txt", "e%20f.txt",
    "a[1].jsonl", "x;y=z", "memory:", "-n", "s3:b", "\\back", "~tilde", "{a,b}.txt", "line\nfeed", "https:__x",
    "a*b.txt",
]  # fmt: skip


def test_no_local_name_is_read_as_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains, fragments, queries and brackets are letters of a name: all are found, written, read and named in full."""
    for name in ODD:
        filesystem.write_bytes(f"{tmp_path}/in/{name}", name.encode())
    assert sorted(os.listdir(tmp_path / "in")) == sorted(ODD)
    assert sorted(names(f"{tmp_path}/in", "")) == sorted(names(f"{tmp_path}/in", "*")) == sorted(ODD)
    monkeypatch.chdir(tmp_path / "in")
    for name in set(ODD) - {"c?d.txt", "a*b.txt"}:
        for path in (name, f"./{name}", str(tmp_path / "in" / name)):
            assert patterns.survey([path]).files == [patterns.InputFile(f"{tmp_path}/in/{name}", len(name))]
            assert filesystem.read_bytes(path) == name.encode()
        assert filesystem.fingerprint(name) == xxhash.xxh3_128_hexdigest(name.encode())


def test_names_of_objects_are_no_chains_either() -> None:
    """`::` in an object's name is a part of it."""
    for name in ("File::Spec.txt", "zip::x", "a#b"):
        filesystem.write_bytes(f"memory://chained/{name}", name.encode())
        assert patterns.survey([f"memory://chained/{name}"]).files[0].size == len(name)
        assert filesystem.read_bytes(f"memory://chained/{name}") == name.encode()


def test_a_folder_with_brackets_is_that_folder(tmp_path: Path) -> None:
    """Below it wildcards work, and a file called `*` hides no other."""
    for name in ("data [2024]/a.txt", "data [2024]/b.txt", "data 2/c.txt", "stars/*", "stars/x"):
        filesystem.write_bytes(f"{tmp_path}/{name}", b"x")
    assert names(str(tmp_path), "data [2024]/*.txt") == ["data [2024]/a.txt", "data [2024]/b.txt"]
    assert names(str(tmp_path), "data [0-9]/*") == ["data 2/c.txt"]
    assert names(str(tmp_path), "stars/*") == ["stars/*", "stars/x"]


def test_a_pattern_that_spells_a_sign_asks_for_hidden_names(root: str) -> None:
    """As a shell has it: `_part-*` means them, `*` does not; the same for the endings."""
    for name in ("_part-0.jsonl", "_part-1.jsonl", ".hidden.jsonl", "x.jsonl", "_old/y.jsonl", "z.tmp", "deep/_part-2"):
        filesystem.write_bytes(f"{root}/in/{name}", b"x")
    assert names(root, "in/_part-*.jsonl") == ["in/_part-0.jsonl", "in/_part-1.jsonl"]
    assert names(root, "in/**/_part-*") == ["in/_part-0.jsonl", "in/_part-1.jsonl", "in/deep/_part-2"]
    assert names(root, "in/.*.jsonl") == ["in/.hidden.jsonl"]
    assert names(root, "in/_*/*.jsonl") == ["in/_old/y.jsonl"]
    assert names(root, "in/*.tmp") == ["in/z.tmp"]
    assert names(root, "in/*.jsonl") == names(root, "in/[_x]*.jsonl") == ["in/x.jsonl"]


def test_a_file_is_taken_once_however_its_path_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slashes and dots make no second file; what is above a link is above what it leads to."""
    filesystem.write_bytes(f"{tmp_path}/in/x.txt", b"x")
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("elsewhere/deep")
    monkeypatch.chdir(tmp_path)
    paths = ["in", "./in/", "in//x.txt", "in/./x.txt", "elsewhere/../in/*", f"file://{tmp_path}/in", "link/../../in"]
    assert patterns.survey(paths).files == [patterns.InputFile(f"{tmp_path}/in/x.txt", 1)]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it would be missing without a word."""
    filesystem.write_bytes(f"{tmp_path}/in/closed/x.txt", b"x")
    scan = os.scandir

    def closed(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UserError, match=r"^paths: folders must be readable, got .*/closed; Permission denied$"):
        patterns.survey([f"{tmp_path}/in"])


@pytest.mark.parametrize(
    "pattern", ["in/closed/x.txt", "in/*/x.txt", "in/closed", "in/closed/*.txt", "in/closed/[x].txt"]
)
def test_a_folder_that_tells_no_names_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """Neither are its files said to be absent, nor left out beside those of an open one."""
    for folder in ("closed", "open"):
        filesystem.write_bytes(f"{tmp_path}/in/{folder}/x.txt", b"x")
    look, scan = os.lstat, os.scandir

    def refuse(path: Any) -> None:
        if str(path).startswith(f"{tmp_path}/in/closed/"):
            raise PermissionError(13, "Permission denied", path)

    def lstat(path: Any, **rest: Any) -> os.stat_result:
        refuse(path)
        return look(path, **rest)

    def scandir(path: str) -> Any:
        refuse(f"{path}/")
        return scan(path)

    monkeypatch.setattr(os, "lstat", lstat)
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"^paths: folders must be readable, got .*/in/closed; Permission denied$"):
        patterns.survey([f"{tmp_path}/{pattern}"])


@pytest.mark.parametrize("mark", ["siftlm.json", "siftlm-store.json", ".store.lock"])
def test_folders_of_runs_are_passed_over_unless_a_pattern_spells_what_it_wants(root: str, mark: str) -> None:
    """A corpus may lie above the runs over it; that a run's data is an input has to be written down."""
    for name in ("x.jsonl", f"runs/a/{mark}", "runs/a/data/p", "runs/a/store/q", "runs/b/data/r", "runs/plain/s"):
        filesystem.write_bytes(f"{root}/{name}", b"x")
    rest = ["runs/b/data/r", "runs/plain/s"]
    assert set(names(root, "")) == set(names(root, "**")) == {"x.jsonl", *rest}
    assert names(root, "runs/*") == names(root, "runs/*/*") == rest
    assert names(root, "runs/*/data") == names(root, "runs/*/data/*") == ["runs/a/data/p", "runs/b/data/r"]
    assert names(root, "runs/**/data/*") == names(root, "runs/*/data")
    assert (
        names(root, "runs/a/data") == names(root, "runs/a/data/*") == names(root, "runs/a/data/p") == ["runs/a/data/p"]
    )
    for pattern in ("runs/a", "runs/a/*", "runs/a/**"):
        with pytest.raises(UserError, match="to read what another run kept, name its data folder"):
            names(root, pattern)
    assert [name.endswith("runs/a") for name in patterns.survey([root]).passed_over] == [True]


def test_own_folders_are_never_input_whatever_leads_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through links, dots, wildcards, URLs and in full."""
    for name in ("in/x.txt", "in/out/data/y.txt", "elsewhere/store/z.txt", "in/metrics.prom"):
        filesystem.write_bytes(f"{tmp_path}/{name}", b"x")
    (tmp_path / "in/z.txt").symlink_to("../elsewhere/store/z.txt")
    (tmp_path / "alias").symlink_to("in")
    monkeypatch.chdir(tmp_path)
    own = [f"{tmp_path}/alias/out", "elsewhere/../elsewhere/store/", f"file://{tmp_path}/in/metrics.prom"]
    for pattern in ("in", "in/", "in/**", "alias/*", f"file://{tmp_path}/in", "./elsewhere/../in"):
        found = patterns.survey([pattern], own)
        assert [os.path.basename(file.path) for file in found.files] == ["x.txt"], pattern
        assert {os.path.basename(place) for place in found.passed_over} == {"out", "store", "metrics.prom"}
    for pattern in ("in/out/data", "in/out/data/y.txt", "in/z.txt", "in/metrics.prom"):
        with pytest.raises(UserError, match=r"must match files that are not a run's own"):
            patterns.survey([pattern], own)


def test_links_to_files_are_files_and_others_are_named(tmp_path: Path) -> None:
    """A hub's cache is made of links; one that is broken, or leads back above, is not passed over in silence."""
    (tmp_path / "blob").write_bytes(b"content")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.jsonl").symlink_to("../blob")
    for pattern in ("in", "in/*", "in/*.jsonl", "in/x.jsonl"):
        assert patterns.survey([f"{tmp_path}/{pattern}"]).files == [patterns.InputFile(f"{tmp_path}/in/x.jsonl", 7)]
    (tmp_path / "in/_old").symlink_to("nothing")
    assert names(str(tmp_path), "in") == ["in/x.jsonl"]
    for target in ("nothing", ".."):
        (tmp_path / "in/link").symlink_to(target)
        with pytest.raises(UserError, match=rf"^paths: links .* got {tmp_path}/in/link; remove it"):
            patterns.survey([f"{tmp_path}/in"])
        (tmp_path / "in/link").unlink()


def test_a_name_that_is_not_utf8_is_a_users_error(tmp_path: Path) -> None:
    """No column or plan could hold it."""
    try:
        (tmp_path / os.fsdecode(b"\xff.txt")).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(UserError, match=r"^paths: names of files must be UTF-8, got b'.*/\\xff\.txt'; rename it"):
        patterns.survey([str(tmp_path)])


@pytest.mark.parametrize("pattern", ["nothing", "nothing/*.txt", "*.none"])
def test_a_pattern_without_a_match_is_a_users_error(root: str, pattern: str) -> None:
    """A typing mistake does not become an empty corpus."""
    filesystem.write_bytes(f"{root}/x.txt", b"x")
    with pytest.raises(UserError, match=r"^paths: .* got '.*', which matches none"):
        patterns.survey([f"{root}/x.txt", f"{root}/{pattern}"])


@pytest.mark.parametrize(("scheme", "package", "extra"), [("gs", "gcsfs", "gcs"), ("s3", "s3fs", "s3")])
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str
) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"siftlm\[{extra}\]"):
        filesystem.open_read(f"{scheme}://bucket/x")


def test_an_unknown_scheme_is_a_users_error() -> None:
    """Not a traceback from deep inside."""
    with pytest.raises(UserError, match="must be a local path or begin with gs://"):
        filesystem.exists("nonsense://x")


def test_file_urls_are_local_paths(tmp_path: Path) -> None:
    """file:// and plain paths are the same file."""
    (tmp_path / "x.txt").write_bytes(b"x")
    assert patterns.survey([f"file://{tmp_path}/x.txt", f"{tmp_path}/x.txt"]).files == [
        patterns.InputFile(f"{tmp_path}/x.txt", 1)
    ]


@given(st.binary(max_size=3000))
@settings(max_examples=20, deadline=None)
def test_bytes_come_back_and_have_the_fingerprint_of_their_content(content: bytes) -> None:
    """The fingerprint of local bytes is their xxh3_128, wherever they lie."""
    path = "memory://given/x"
    filesystem.write_bytes(path, content)
    assert filesystem.read_bytes(path) == content
    assert filesystem.size(path) == len(content)
    assert filesystem.fingerprint(path) == xxhash.xxh3_128_hexdigest(content)


def test_a_change_of_the_same_size_and_time_changes_the_fingerprint(tmp_path: Path) -> None:
    """Name, size and time are not looked at."""
    path = tmp_path / "x"
    path.write_bytes(b"aaaa")
    facts, before = path.stat(), filesystem.fingerprint(str(path))
    path.write_bytes(b"aaab")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert filesystem.fingerprint(str(path)) != before


class _Bucket(MemoryFileSystem):  # type: ignore[misc]
    """A memory file system that says of itself what s3fs and gcsfs say."""

    protocol = "gs"
    digests: dict[str, Any] = {}

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {**super().info(path, **options), **self.digests}


@pytest.mark.parametrize("digests", [{"ETag": '"abc"'}, {"md5Hash": "abc", "etag": "changes with metadata"}])
def test_objects_are_known_by_the_digest_that_their_store_keeps(
    monkeypatch: pytest.MonkeyPatch, digests: dict[str, str]
) -> None:
    """No byte of an object is read to see whether it changed."""
    bucket = _Bucket()
    bucket.pipe_file("/b/x", b"text")
    monkeypatch.setattr(_Bucket, "digests", digests)
    monkeypatch.setattr(_Bucket, "_open", None)
    monkeypatch.setattr(filesystem, "remote", lambda path: (bucket, "/b/x"))
    assert filesystem.fingerprint("gs://b/x").split(":")[1:] == ["abc", "4"]


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """Until then there is no file of that name, and after a failure there is none and no trace."""
    path = tmp_path / "deep" / "x"
    with filesystem.open_write(str(path)) as stream:
        stream.write(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    with pytest.raises(TypeError), filesystem.open_write(str(path)) as stream:
        stream.writelines([b"other", None])  # type: ignore[list-item]
    assert [entry.name for entry in path.parent.iterdir()] == ["x"]
    assert path.read_bytes() == b"half"


def test_a_folder_that_cannot_be_is_no_permission() -> None:
    """/proc calls it "no such file", which is no fault of what was asked for."""
    with pytest.raises(PermissionError, match="'/proc/nothing'"):
        filesystem.makedirs("/proc/nothing")
    with pytest.raises(PermissionError, match="'/proc/nothing'"):
        filesystem.write_bytes("/proc/nothing/x", b"x")


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    """Each has its own temporary file; the last one to finish wins."""
    path = str(tmp_path / "x")
    with filesystem.open_write(path) as first, filesystem.open_write(path) as second:
        first.write(b"1" * 10)
        second.write(b"2" * 5)
    assert filesystem.read_bytes(path) == b"1" * 10
    assert filesystem.list_names(str(tmp_path)) == ["x"]


def test_files_can_be_listed_renamed_and_removed(root: str) -> None:
    """Absent things are listed as nothing, and removed without complaint."""
    assert filesystem.list_names(f"{root}/none") == []
    filesystem.makedirs(f"{root}/a")
    for name in ("a/2", "a/1", "a/deep/3"):
        filesystem.write_bytes(f"{root}/{name}", name.encode())
    assert filesystem.list_names(f"{root}/a") == ["1", "2"]
    filesystem.rename(f"{root}/a/1", f"{root}/a/2")
    assert filesystem.list_names(f"{root}/a") == ["2"]
    assert filesystem.read_bytes(f"{root}/a/2") == b"a/1"
    filesystem.remove(f"{root}/a/2")
    filesystem.remove(f"{root}/a/2")
    filesystem.remove(f"{root}/a", recursive=True)
    assert not filesystem.exists(f"{root}/a/deep/3")


def test_a_file_that_goes_while_a_folder_is_listed_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary files of other writers come and go; what is there is listed all the same."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"xy")
    scan = os.scandir

    @contextmanager
    def slow_scan(path: str) -> Iterator[list[os.DirEntry[str]]]:
        with scan(path) as entries:
            found = list(entries)
        (tmp_path / "b").unlink()
        yield found

    monkeypatch.setattr(os, "scandir", slow_scan)
    assert filesystem.list_sizes(str(tmp_path)) == {"a": 2, "c": 2}


def test_a_listing_tells_files_folders_and_links_apart(tmp_path: Path) -> None:
    """With sizes and times of files; nothing where there is no folder."""
    (tmp_path / "file").write_bytes(b"four")
    os.utime(tmp_path / "file", (50, 50))
    (tmp_path / "folder").mkdir()
    (tmp_path / "to a folder").symlink_to(tmp_path / "folder")
    (tmp_path / "to a file").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    listed = filesystem.listing(str(tmp_path))
    assert [(of.name, of.kind, of.size, of.modified) for of in listed] == [
        ("file", "file", 4, 50.0),
        ("folder", "folder", 0, None),
        ("pipe", "other", 0, None),
        ("to a file", "other", 0, None),
        ("to a folder", "other", 0, None),
    ]
    assert filesystem.listing(str(tmp_path / "file")) == filesystem.listing(str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"LastModified": datetime(1970, 1, 2, tzinfo=UTC)}, 86_400.0),
        ({"updated": "1970-01-02T00:00:00.000Z"}, 86_400.0),
        ({"mtime": 5, "created": 7}, 5.0),
        ({"updated": "yesterday"}, None),
        ({}, None),
    ],
)
def test_the_age_of_an_object_is_what_its_store_says(told: dict[str, Any], seconds: float | None) -> None:
    """As S3, GCS and others write it; unknown where none of it is known."""
    assert filesystem._listed_remote({"name": "b/x", "type": "file", "size": 3, **told}) == (
        filesystem.FolderItem("x", "file", 3, seconds)
    )


def test_a_listing_of_an_object_store_knows_its_objects() -> None:
    """In memory here."""
    filesystem.write_bytes("memory://listing/a/b", b"xy")
    filesystem.write_bytes("memory://listing/c", b"z")
    first, second = filesystem.listing("memory://listing")
    assert (first.name, first.kind, second.name, second.kind, second.size) == ("a", "folder", "c", "file", 1)
    assert second.modified == pytest.approx(time.time(), abs=60)
