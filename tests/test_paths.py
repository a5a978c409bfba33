"""Paths of configurations and commands: what they may be, and what they are resolved to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from siftlm import paths
from siftlm.errors import UserError

NOWHERE = [
    "", " ", "\t\n", "/", "//", "///", "/.", "/./", "/..", "/tmp/..", "/tmp/../..", "../" * 40, "file://", "file:///",
    "file:///tmp/..", "file://here/x", "file:/x", "s3://", "gs:///", "s3:/b/x", "memory://", "ftp://x/y", "nonsense://x",
    "~nobody-of-that-name/x", "a\0b",
]  # fmt: skip
BUCKETS = [
    "s3://bucket",
    "s3://bucket/",
    "gs://bucket//",
    "gcs://bucket",
    "s3://bucket/..",
    "gs://b/x/../y",
    "s3://b/.",
]


@pytest.mark.parametrize("path", NOWHERE)
def test_a_path_that_leads_nowhere_or_to_the_root_is_refused(path: str) -> None:
    """An unset variable in a script must not be the root of the file system, for reading or for writing."""
    for rule in (paths.readable, paths.written):
        with pytest.raises(ValueError, match=r"^must "):
            rule(path)
    with pytest.raises(UserError, match=r"^--out: must .*, got "):
        paths.given("--out", path)


@pytest.mark.parametrize("path", BUCKETS)
def test_a_whole_bucket_is_nobodys_folder(path: str) -> None:
    """Reading one is another matter."""
    with pytest.raises(ValueError, match=r"^must "):
        paths.written(path)
    assert paths.readable("s3://bucket/") == "s3://bucket"


def test_a_link_to_the_root_is_the_root(tmp_path: Path) -> None:
    """Also where a path goes on behind it and comes back."""
    (tmp_path / "link").symlink_to("/")
    for path in (f"{tmp_path}/link", f"{tmp_path}/link/tmp/.."):
        with pytest.raises(ValueError, match="root of the file system"):
            paths.written(path)
    assert paths.written(f"{tmp_path}/link/x") == f"{tmp_path}/link/x"


def test_home_is_resolved_at_the_beginning_of_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And nowhere else; a home that is no folder is refused."""
    from siftlm.config import parse

    monkeypatch.setenv("HOME", str(tmp_path))
    for written, resolved in {
        "~": str(tmp_path), "~/x/": f"{tmp_path}/x", "./~": "./~", "./~x/y": "./~x/y", "a/~/b": "a/~/b", "x~": "x~",
    }.items():  # fmt: skip
        assert paths.written(written) == resolved
    tree = {
        "name": "home",
        "input": [{"source": "web", "paths": ["~/in", "~/*.jsonl"]}],
        "annotate": {
            "classifiers": [{"name": "c", "path": "~/c.bin", "label": "x"}],
            "dsir": [{"name": "d", "path": "~/d.npz"}],
            "contamination": [{"name": "b", "path": "~/b.jsonl"}],
            "language": {"path": "~/l.bin"},
        },
        "dedup": {"against": ["~/old"]},
        "score": [{"name": "m", "model": "~/model"}],
        "output": {"folder": "~/out"},
        "store": "~/store",
        "metrics_file": "~/m.prom",
    }
    dumped = repr(parse(tree, []).model_dump())
    assert "~" not in dumped
    assert dumped.count(f"'{tmp_path}/") == 11
    for home in ("", "/", "relative"):
        monkeypatch.setenv("HOME", home)
        with pytest.raises(ValueError, match="must begin with a home folder that exists"):
            paths.written("~/x")


@pytest.mark.parametrize(
    "name", ["File::Spec.txt", "zip::x", "a#b?c%20d", "a[1]", "gs", "memory:", "C:\\x", "..x", "..."]
)
def test_names_that_look_like_something_else_are_names(name: str) -> None:
    """A path is local unless it begins with a scheme that is known."""
    assert paths.readable(name) == paths.written(name) == name
    assert paths.is_local(name)
    assert paths.absolute(name) == f"{os.getcwd()}/{name}"


def test_two_names_of_a_place_are_one(tmp_path: Path) -> None:
    """Schemes with two names, slashes, links."""
    (tmp_path / "link").symlink_to("real")
    assert paths.canonical(f"{tmp_path}/link//x/") == paths.canonical(f"file://{tmp_path}/real/x")
    assert paths.canonical("gcs://b//x/") == paths.canonical("gs://b/x")
    assert paths.is_within("/a/b", "/a")
    assert paths.is_within("/a", "/a")
    assert not paths.is_within("/ab", "/a")


def test_a_folder_of_a_folder_that_is_gone_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current one may be removed while a shell is in it."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ValueError, match="must be an absolute path"):
        paths.written("x")
    assert paths.written(f"{tmp_path}/x") == f"{tmp_path}/x"
