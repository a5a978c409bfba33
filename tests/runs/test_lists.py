"""Jobs whose rules compare columns with lists in files, whose digests are in keys and manifest."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest
import xxhash
from tests.runs.conftest import Bench, mistake, stages_of

pytest.importorskip("apache_beam")
URLS = [
    "https://www.example.com/a",
    "http://example.org/b/",
    "https://sub.bad.net/c",
    "https://notbad.net/d",
    "http://ads.shop.de/e?q=1",
    None,
]


@pytest.fixture
def pages(bench: Bench) -> Bench:
    """Six documents in two shards; of each the number is its id."""
    rows = [{"id": str(n), "text": f"text {n}", **({"url": url} if url else {})} for n, url in enumerate(URLS)]
    bench.shard("0.jsonl", rows[:4])
    bench.shard("1.jsonl", rows[4:])
    return bench


def rule(table: Any, column: str = "url", key: str = "not_in") -> dict[str, Any]:
    return {"kind": "threshold", "column": column, key: table, "missing": "keep"}


def kept(pages: Bench, *rules: dict[str, Any], **more: Any) -> tuple[set[str], Any]:
    """The ids of the documents that rules keep, and the manifest."""
    manifest = pages.run(select={"rules": list(rules)}, **more).manifest
    return {row["doc_id"] for row in pages.rows()}, manifest


def blocklist(pages: Bench, text: str, name: str = "blocklist.txt") -> str:
    path = pages.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_list_of_domains_is_told_with_its_digest_and_what_it_matched(pages: Bench, without_pictures: None) -> None:
    path = blocklist(pages, "# a comment\n\nExample.COM\n0.0.0.0 bad.net # seen in May\n")
    ids, manifest = kept(pages, rule({"path": path, "kind": "domains"}))
    assert ids == {"1", "3", "4", "5"}
    digest = xxhash.xxh3_128_hexdigest(Path(path).read_bytes())
    assert manifest["statistics"]["lists/select.rules.0.not_in"] == {
        "kind": "domains", "column": "url", "path": path, "digest": digest, "entries": 2, "matched": 2,
    }  # fmt: skip
    assert manifest["config"]["select"]["rules"][0]["not_in"]["digest"] == digest


@pytest.mark.parametrize(
    ("table", "text", "gone"),
    [
        ({"kind": "values"}, "http://example.org/b/\nhttps://sub.bad.net/C\n", {"1"}),
        ({}, "http://example.org/b/\nhttp://example.org/b\n", {"1"}),
        ({"kind": "domains"}, "example.com\nnet\n", {"0", "2", "3"}),
        ({"kind": "urls"}, "example.com/a\nhttps://www.example.org/b#x\nads.shop.de/e\n", {"0", "1"}),
        ({"kind": "patterns"}, r"^https?://ads\." + "\nBAD\n(?i)/C$\n", {"2", "4"}),
    ],
)
def test_a_list_decides_alike_inline_and_by_path(
    pages: Bench, table: dict[str, Any], text: str, gone: set[str], without_pictures: None
) -> None:
    everything = {str(n) for n in range(len(URLS))}
    inline = rule({**table, "entries": text.split()})
    assert kept(pages, inline)[0] == everything - gone
    assert kept(pages, rule({**table, "path": blocklist(pages, text)}))[0] == everything - gone
    zipped = pages.root / "list.txt.gz"
    zipped.write_bytes(gzip.compress(text.encode()))
    assert kept(pages, rule({**table, "path": str(zipped)}))[0] == everything - gone
    assert kept(pages, rule({**table, "path": str(zipped)}, key="in"))[0] == gone | {"5"}
    assert kept(pages, {"kind": "thresholds", "missing": "keep", "columns": {"url": {"not_in": inline["not_in"]}}})[
        0
    ] == (everything - gone)


def test_texts_are_found_by_their_digests(pages: Bench, without_pictures: None) -> None:
    """As `sha256sum` prints them, or in upper case."""
    lines = f"{hashlib.sha256(b'text 1').hexdigest()}  page.txt\n{hashlib.sha256(b'text 4').hexdigest().upper()}\n"
    hashed = {"language": None, "signals": None, "others": [{"kind": "text_hash"}]}
    table = {"path": blocklist(pages, lines), "kind": "hashes"}
    assert kept(pages, rule(table, "text_sha256"), annotate=hashed)[0] == {"0", "2", "3", "5"}
    first = b"text 0"
    digests = {name: hashlib.new(name, first).hexdigest() for name in ("md5", "sha1")}
    for name, digest in {**digests, "xxh3_128": xxhash.xxh3_128_hexdigest(first)}.items():
        hashed["others"] = [{"kind": "text_hash", "algorithm": name}]
        entries = {"entries": [digest], "kind": "hashes"}
        assert kept(pages, rule(entries, f"text_{name}"), annotate=hashed)[0] == {"1", "2", "3", "4", "5"}


def test_categories_of_a_folder_are_their_domains_and_urls(pages: Bench, without_pictures: None) -> None:
    """In the layout of UT1, whose files may be gzipped; those of other categories are not read."""
    blocklist(pages, "bad.net\n", "ut1/malware/domains")
    blocklist(pages, "", "ut1/malware/urls")
    blocklist(pages, "", "ut1/malware/expressions")
    blocklist(pages, "example.org/b\n", "ut1/adult/urls")
    (pages.root / "ut1/adult/domains.gz").write_bytes(gzip.compress(b"shop.de\n"))
    blocklist(pages, "\0", "ut1/warez/domains")
    table = {"path": str(pages.root / "ut1"), "categories": ["adult", "malware"]}
    ids, manifest = kept(pages, rule(table))
    assert ids == {"0", "3", "5"}
    told = manifest["statistics"]["lists/select.rules.0.not_in"]
    assert (told["kind"], told["entries"], told["matched"]) == ("ut1", 3, 3)
    before = pages.markers()
    blocklist(pages, "example.com\n", "ut1/warez/domains")
    assert kept(pages, rule(table))[0] == ids
    assert pages.markers() == before
    blocklist(pages, "example.com\n", "ut1/malware/domains")
    assert kept(pages, rule(table))[0] == {"2", "3", "5"}


def test_the_content_of_a_list_is_in_the_key_and_its_place_and_time_are_not(
    pages: Bench, without_pictures: None
) -> None:
    path = blocklist(pages, "example.com\n")
    first, _ = kept(pages, rule({"path": path, "kind": "domains"}))
    before = pages.markers()
    os.utime(path, (1, 1))
    moved = shutil.copy(path, pages.root / "moved.txt")
    for same in (path, moved):
        assert kept(pages, rule({"path": str(same), "kind": "domains"}))[0] == first
        assert pages.markers() == before
    blocklist(pages, "example.org\n")
    assert kept(pages, rule({"path": path, "kind": "domains"}))[0] == {"0", "2", "3", "4", "5"}
    assert stages_of(pages.markers().keys() - before.keys()) == {"decisions", "parts"}


def test_a_list_of_a_preselecting_rule_and_of_a_rule_in_a_union_are_told_too(
    pages: Bench, without_pictures: None
) -> None:
    union = {"kind": "any", "rules": [rule({"entries": ["example.org"], "kind": "domains"}, key="in"), rule(["x"])]}
    table = {"path": blocklist(pages, "nobody.com\n"), "kind": "domains"}
    _, manifest = kept(pages, union, preselect=[rule(table)])
    told = {place: (each["entries"], each["matched"]) for place, each in manifest["statistics"].items() if "/" in place}
    assert told == {"lists/preselect.0.not_in": (1, 0), "lists/select.rules.0.rules.0.in": (1, 1)}
    assert manifest["warnings"] == [
        f"preselect.0.not_in: no document has a url of the domains of {pages.root}/blocklist.txt",
        "select.rules.0.rules.1.not_in: no document has url 'x'; there are 'http://ads.shop.de/e?q=1', "
        "'http://example.org/b/', 'https://notbad.net/d', 'https://sub.bad.net/c', 'https://www.example.com/a'",
    ]


def test_other_processes_read_the_list_and_give_the_same_bytes(pages: Bench, without_pictures: None) -> None:
    rules = [rule({"path": blocklist(pages, "example.com\nbad.net\n"), "kind": "domains"})]
    one = pages.run("one", select={"rules": rules}).manifest
    several = pages.run("several", select={"rules": rules}, runner={"processes": 2}).manifest
    assert pages.content("one") == pages.content("several")
    told = [manifest["statistics"]["lists/select.rules.0.not_in"]["matched"] for manifest in (one, several)]
    assert told == [2, 2]


def test_a_list_may_lie_in_an_object_store(pages: Bench, without_pictures: None) -> None:
    with fsspec.filesystem("memory").open("/lists/blocked.txt", "wb") as file:
        file.write(b"example.com\n")
    ids, manifest = kept(pages, rule({"path": "memory://lists/blocked.txt", "kind": "domains"}))
    assert ids == {"1", "2", "3", "4", "5"}
    assert manifest["statistics"]["lists/select.rules.0.not_in"]["path"] == "memory://lists/blocked.txt"


@pytest.mark.parametrize(
    ("content", "table", "told"),
    [
        (None, {}, "not_in: path must be a text file of one entry a line, got '{}': No such file or directory"),
        (b"", {}, "not_in.path: must hold values, got none in '{}'"),
        (b"# nothing\n\n", {"kind": "domains"}, "not_in.path: must hold domains, got none in '{}'"),
        (b"a.com\n\xff\xfeb.com\n", {}, "not_in.path: must be a text file in UTF-8, got byte 0xff in {}, line 2"),
        (b"a.com\nb\0\n", {}, "not_in.path: must be a text file in UTF-8, got a NUL byte in {}, line 2"),
        (
            b"a.com\n\n# x\na.com/x\n",
            {"kind": "domains"},
            "not_in.path: must be a domain a line, got 'a.com/x' in {}, line 4; urls with a path are a list of "
            "kind = 'urls'",
        ),
        (b"a.com/x\n/x\n", {"kind": "urls"}, "not_in.path: must be a url with a host a line, got '/x' in {}, line 2"),
        (
            b"a\n(b\n",
            {"kind": "patterns"},
            "not_in.path: must be a regular expression of RE2 a line, got '(b' in {}, line 2: missing ): (b",
        ),
        (
            b"abc\n",
            {"kind": "hashes"},
            "not_in.path: must be a digest of 32 to 128 hexadecimal digits a line, got 'abc' in {}, line 1",
        ),
        (b"a.com\n", {"digest": "0"}, "not_in.path: must have the content of digest 0, got another in '{}'"),
        (
            b"a.com\n",
            {"categories": ["adult"]},
            "not_in: path must be a folder in which 'adult' has domains or urls, got '{}'",
        ),
    ],
)
def test_validate_names_the_file_that_is_no_list(
    pages: Bench, capsys: pytest.CaptureFixture[str], content: bytes | None, table: dict[str, Any], told: str
) -> None:
    path = pages.root / "blocklist.txt"
    if content is not None:
        path.write_bytes(content)
    tree = pages.tree(select={"rules": [rule({**table, "path": str(path)})]})
    written = pages.root / "run.toml"
    written.write_text(_toml(tree))
    line = mistake(capsys, "validate", str(written)).removeprefix(f"{written}: ")
    assert line == f"select.rules.0.{told.format(path)}"


def test_a_folder_and_a_damaged_archive_are_no_list(pages: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    (pages.root / "cut.gz").write_bytes(gzip.compress(b"example.com\n" * 99)[:-9])
    for path, told in ((pages.root, "Is a directory"), (pages.root / "cut.gz", "Compressed file ended")):
        written = pages.root / "run.toml"
        written.write_text(_toml(pages.tree(select={"rules": [rule({"path": str(path)})]})))
        line = mistake(capsys, "validate", str(written))
        assert str(path) in line
        assert told in line


def _toml(tree: dict[str, Any]) -> str:
    """A configuration in TOML, of which JSON's strings, lists and numbers are part."""
    lines = []
    for key, value in tree.items():
        lines.append(f"{key} = {_inline(value)}")
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        told = ", ".join(f"{json.dumps(key)} = {_inline(each)}" for key, each in value.items() if each is not None)
        return f"{{ {told} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value)
