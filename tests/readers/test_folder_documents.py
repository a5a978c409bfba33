"""What of a folder is a document, and what only lies beside documents."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec
import pytest

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.readers import InputSettings
from siftlm.stages.inputs import SourceFiles, survey

LINE = b'{"text": "a"}\n'
BESIDE = (
    "LICENSE",
    "LICENSE-APACHE",
    "README.md",
    "readme_zh.md",
    "CHANGELOG.rst",
    "requirements.txt",
    "SHA256SUMS",
    "sha256sums.txt",
    "checksums.sha256",
    "a.jsonl.md5",
    "a.jsonl.bak",
    "a.jsonl~",
    "page.html",
    "table.csv",
    "table.tsv.gz",
    "dataset_infos.json",
    "picture.png",
    "tokens.idx",
    "urls.txt",
    "deep/NOTICE",
    "deep/archive.tar.gz",
)


@pytest.fixture(params=["disk", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    """A directory on either file system."""
    yield str(tmp_path) if request.param == "disk" else "memory://root"
    fsspec.filesystem("memory").store.clear()


def found(root: str, files: Mapping[str, bytes], *patterns: str, **settings: Any) -> SourceFiles:
    """What is found of files below a root."""
    for name, content in files.items():
        filesystem.write_bytes(f"{root}/{name}", content)
    paths = [f"{root}/{pattern}".rstrip("/") for pattern in patterns or ("",)]
    return survey([InputSettings(source="web", paths=paths, **settings)])["web"]


def names(root: str, files: Mapping[str, bytes] | tuple[str, ...], *patterns: str, **settings: Any) -> list[str]:
    """The names of the documents, below the root."""
    content = files if isinstance(files, Mapping) else dict.fromkeys(files, LINE)
    documents = found(root, content, *patterns, **settings).files
    return [file.path.partition(root.removeprefix("memory://"))[2].lstrip("/") for file in documents]


def test_what_lies_beside_documents_is_counted_and_is_none(root: str) -> None:
    """Licences, notes, digests, copies, tables, pictures and lists of a data set, here and in folders below."""
    files = dict.fromkeys([*BESIDE, "a.jsonl", "deep/b.jsonl.gz", ".DS_Store", "__pycache__/x.pyc"], LINE)
    mine = found(root, files)
    assert [file.path.rpartition("/")[2] for file in mine.files] == ["a.jsonl", "b.jsonl.gz"]
    assert dict(mine.formats) == {"jsonl": 2}
    assert len(mine.skipped) == len(BESIDE) + 2
    assert mine.line("web").startswith(
        f"input 'web': 2 jsonl files, 28 bytes; skipped {len(BESIDE) + 1} files and 1 folder: .DS_Store,"
    )
    assert mine.line("web").endswith(f" and {len(BESIDE) - 3} more")


def test_what_other_jobs_leave_behind_is_counted_by_name(root: str) -> None:
    """Hidden files, markers, checksums and temporary ones, a hidden folder as one; not what siftlm is writing."""
    ours = f".c.jsonl.{'0' * 32}.tmp"
    left = ("_SUCCESS", ".a.jsonl.crc", "b.jsonl.crc", "part.tmp", "deep/._b.jsonl", "_temporary/0/x", "_temporary/0/y")
    mine = found(root, dict.fromkeys(("a.jsonl", ours, *left), LINE))
    assert [file.path.rpartition("/")[2] for file in mine.files] == ["a.jsonl"]
    assert mine.line("web") == (
        "input 'web': 1 jsonl file, 14 bytes; skipped 5 files and 1 folder: "
        ".a.jsonl.crc, _SUCCESS, _temporary/, b.jsonl.crc, ._b.jsonl and 1 more"
    )
    assert found(root, {}, "**/*.jsonl", "_SUCCESS", format="jsonl").left_out() == "; skipped 1 file: ._b.jsonl"
    with pytest.raises(
        UserError, match=r"matches none but what other jobs leave behind, \S+only/_SUCCESS for instance"
    ):
        found(f"{root}/only", {"_SUCCESS": b"", "x.crc": b""})


def test_pages_and_notes_side_by_side_are_told_apart(root: str) -> None:
    """The notes are documents where nothing else is; the pages are said to be none."""
    line = found(root, dict.fromkeys(("a.md", "b.html", "c.htm"), b"x")).line("web")
    assert line == "input 'web': 1 text file, 1 bytes; skipped 2 files: b.html, c.htm"


def test_names_of_a_few_skipped_files_are_all_told(root: str) -> None:
    """The line that validate and run show."""
    line = found(root, dict.fromkeys(["a.parquet", "LICENSE", "README.md"], b"")).line("c4")
    assert line == "input 'c4': 1 parquet file, 0 bytes; skipped 2 files: LICENSE, README.md"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (("a.jsonl", "b.jsonl", "c.parquet"), "2 jsonl (a.jsonl), 1 parquet (c.parquet)"),
        (("warc/x.warc.gz", "wet/x.warc.wet.gz"), "1 warc (x.warc.gz), 1 wet (x.warc.wet.gz)"),
        (("x.warc", "y.warc.wat.gz"), "1 warc (x.warc), 1 wat (y.warc.wat.gz)"),
        (("a.json", "b.txt"), "1 jsonl (a.json), 1 text (b.txt)"),
        (("a.wet", "b.ndjson.zst"), "1 jsonl (b.ndjson.zst), 1 wet (a.wet)"),
    ],
)
def test_a_folder_of_several_formats_needs_a_pattern_or_a_format(root: str, files: tuple[str, ...], told: str) -> None:
    """Refused with the number of each and an example; a format or a pattern says which is meant."""
    with pytest.raises(UserError, match=r"^input\.0\.paths: a folder must hold documents of one format") as caught:
        names(root, files)
    assert f"got {told} in " in str(caught.value)
    first = files[0]
    assert names(root, files, f"**/*.{first.rpartition('.')[2]}") != []
    assert names(root, files, *files) == sorted(files)


@pytest.mark.parametrize(
    ("files", "format", "documents"),
    [
        (("a.jsonl", "b.parquet", "c.txt"), "parquet", ["b.parquet"]),
        (("a.warc.gz", "a.warc.wet.gz", "a.warc.wat.gz"), "wet", ["a.warc.wet.gz"]),
        (("a.jsonl", "b.md", "README.md"), "text", ["b.md"]),
        (("a.py", "b.c", "LICENSE", "x.png"), "text", ["a.py", "b.c"]),
        (("a.txt", "b.txt"), "jsonl", ["a.txt", "b.txt"]),
        (("part-0", "_SUCCESS", "README"), "jsonl", ["part-0"]),
    ],
)
def test_a_format_says_which_files_of_a_folder_are_meant(
    root: str, files: tuple[str, ...], format: str, documents: list[str]
) -> None:
    """Those whose names tell of it; where none does, those whose names tell of nothing else."""
    assert names(root, files, format=format) == documents


def test_one_format_by_two_endings_and_two_kinds_of_archives_of_other_pages_are_no_mixture(root: str) -> None:
    """JSON lines by any ending; a crawl's pages beside the texts of other pages."""
    assert names(root, ("a.jsonl", "b.ndjson", "c.json"), "") == ["a.jsonl", "b.ndjson", "c.json"]
    assert names(f"{root}/crawl", ("p-0.warc.gz", "p-1.warc.wet.gz"), "") == ["p-0.warc.gz", "p-1.warc.wet.gz"]


def test_texts_are_documents_where_all_are_texts(root: str) -> None:
    """Beside other formats they are notes; so is plain JSON, which beside jsonl is a shard."""
    assert names(f"{root}/1", ("a.txt", "b.md", "c.rst.gz", "README.md")) == ["a.txt", "b.md", "c.rst.gz"]
    assert names(f"{root}/2", ("a.txt", "b.parquet", "notes.json")) == ["b.parquet"]
    assert names(f"{root}/3", ("a.txt", "c4-0.json.gz")) == ["c4-0.json.gz"]
    assert names(f"{root}/4", ("a.json", "state.json")) == ["a.json"]


def test_what_is_named_is_meant(root: str) -> None:
    """A full path, and a pattern that spells the ending; a pattern that does not is a folder."""
    files = dict.fromkeys(["a.jsonl", "README.md", "LICENSE", "deep/x.html"], LINE)
    assert names(root, files, "README.md", "LICENSE") == ["LICENSE", "README.md"]
    assert names(root, files, "*.md", "**/*.html") == ["README.md", "deep/x.html"]
    assert names(root, files, "*") == ["a.jsonl"]
    assert names(root, files, "", "README.md") == ["README.md", "a.jsonl"]
    assert found(root, files, "", "README.md").skipped == [
        f"{root}/{name}" if "://" not in root else f"memory:///root/{name}" for name in ("LICENSE", "deep/x.html")
    ]


def test_contents_tell_where_names_do_not(root: str) -> None:
    """Shards as other jobs leave them have no ending; texts without one are nothing that is known."""
    shards = {"part-00000": LINE, "part-00001.gz": gzip.compress(LINE), "shard.0002": LINE, "words": b"some words"}
    assert names(f"{root}/1", shards) == ["part-00000", "part-00001.gz", "shard.0002"]
    assert names(f"{root}/2", {"x": b"WARC/1.0\r\nWARC-Type: response\r\n"}) == ["x"]
    with pytest.raises(UserError, match=r"must hold documents, got pg1, pg2 in .*format = \"text\""):
        names(f"{root}/3", {"pg1": b"a book", "pg2": b"another"})
    assert names(f"{root}/3", {}, format="text") == ["pg1", "pg2"]


@pytest.mark.parametrize("files", [("LICENSE", "README.md"), ("t.csv", "p.html"), ("x.png",), ("dataset_infos.json",)])
def test_a_folder_with_nothing_known_is_refused_with_what_was_seen(root: str, files: tuple[str, ...]) -> None:
    """No run over licences."""
    with pytest.raises(UserError, match=r"a folder must hold documents, got ") as caught:
        names(root, files)
    assert all(name in str(caught.value) for name in files)
