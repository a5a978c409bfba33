"""Fields that the settings name and documents have not: said before a run and at its end, or refused."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.readers.conftest import http, warc_record

from siftlm.cli.commands import main

Call = Callable[..., tuple[int, str]]

ROWS: list[dict[str, Any]] = [
    {"text": f"text {n}", "title": "t", "meta": {"language": "en"}, "key": n, "link": f"http://{n}.org/", "tags": ["x"]}
    for n in range(20)
]


def write(folder: Path, kind: str) -> None:
    """The rows in a format."""
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), folder / "x.parquet")
    elif kind == "list":
        (folder / "x.json").write_text(json.dumps(ROWS, indent=1))
    elif kind == "warc":
        records = (warc_record("response", http(row["text"].encode()), row["link"]) for row in ROWS)
        (folder / "x.warc.gz").write_bytes(b"".join(map(gzip.compress, records)))
    else:
        (folder / "x.jsonl").write_bytes(b"\n".join(map(orjson.dumps, ROWS)))


def configure(folder: Path, more: str = "", **fields: Any) -> str:
    path = folder / "run.toml"
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
    path.write_text(
        f'name = "x"\n[annotate]\nlanguage = false\nsignals = false\n[output]\nfolder = "{folder}/out"\n{more}\n'
        f'[[input]]\nsource = "rows"\npaths = ["{folder}/in"]\n{lines}'
    )
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The exit code of a command and what it said, on one line."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["siftlm", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    return run


MISSPELT = {
    "id_field": ("kye", "key"),
    "url_field": ("lnk", "link"),
    "domain_field": ("meta.langage", "meta.language"),
    "metadata_fields": (["titel", "title"], "title"),
}


@pytest.mark.parametrize("kind", ["jsonl", "list", "parquet"])
@pytest.mark.parametrize("key", MISSPELT)
def test_a_field_that_nobody_has_is_said_with_the_nearest_name(call: Call, folder: Path, kind: str, key: str) -> None:
    """By validate, which looks at the beginnings of files, in every format with fields."""
    write(folder / "in", kind)
    named, meant = MISSPELT[key]
    code, said = call("validate", configure(folder, **{key: named}))
    wrong = named[0] if isinstance(named, list) else named
    assert code == 0
    assert f"{key}: no document among the first of its files has a value of {wrong!r}; did you mean {meant!r}?" in said


def test_a_field_in_another_case_is_named(call: Call, folder: Path) -> None:
    """Short names too, of which no letter is the same."""
    write(folder / "in", "jsonl")
    code, said = call("validate", configure(folder, id_field="KEY", metadata_fields=["META"]))
    assert code == 0
    assert "'KEY'; did you mean 'key'?" in said
    assert "'META'; did you mean 'meta'?" in said


def test_a_header_that_no_record_has_is_said_too(call: Call, folder: Path) -> None:
    """WARC records have headers for fields."""
    write(folder / "in", "warc")
    code, said = call("validate", configure(folder, metadata_fields=["warc-tipe"]))
    assert code == 0
    assert "has a value of 'warc-tipe'; did you mean 'warc-type'?" in said


@pytest.mark.parametrize("fields", [{}, {"id_field": "key", "url_field": "link", "metadata_fields": ["title", "meta"]}])
def test_nothing_is_said_of_fields_that_are_there(call: Call, folder: Path, fields: dict[str, Any]) -> None:
    """Nor of the default field of urls, which nobody has asked for."""
    write(folder / "in", "jsonl")
    code, said = call("validate", configure(folder, **fields))
    assert code == 0
    assert "no document" not in said
    assert "cannot be used" not in said


def test_the_end_of_a_run_says_what_all_documents_lack(call: Call, folder: Path) -> None:
    """In the terminal, the report and the manifest; of the next run, which has nothing to do, too."""
    write(folder / "in", "jsonl")
    config = configure(folder, id_field="tags", url_field="link", metadata_fields=["titel"])
    unusable = "id_field: 20 of 20 documents have a value of 'tags' that cannot be used"
    absent = "metadata_fields: no document has a value of 'titel'; did you mean 'title'?"
    for _ in range(2):
        code, said = call("run", config)
        assert code == 0
        assert unusable in said
        assert absent in said
    warnings = orjson.loads((folder / "out/manifest.json").read_bytes())["warnings"]
    assert [unusable in warning or absent in warning for warning in warnings] == [True, True]
    assert "no document has a value of" in (folder / "out/report.html").read_text()
    ids = pq.read_table(folder / "out/data", columns=["doc_id"])["doc_id"].to_pylist()
    assert len(set(ids)) == len(ROWS)


GROUPED = {
    "band": '[[select.rules]]\nkind = "band"\ncolumn = "byte_count"\ncriterion = "low"\nrate = 0.5\nwithin = "domain"',
    "top": '[[select.rules]]\nkind = "top"\ncolumn = "byte_count"\nrate = 0.5\nwithin = "domain"',
    "weights": '[[select.weights.factors]]\nkind = "table"\ncolumn = "domain"\ntable = { "a.org" = 2.0 }',
}


@pytest.mark.parametrize("rule", GROUPED)
@pytest.mark.parametrize("command", ["validate", "run"])
def test_groups_by_a_domain_that_no_document_has_are_refused(call: Call, folder: Path, rule: str, command: str) -> None:
    """In one line, before any work; with the right field of urls the same rules work."""
    write(folder / "in", "jsonl")
    code, said = call(command, configure(folder, GROUPED[rule]))
    assert code == 2
    assert "must name a column that documents have, got 'domain', which is null for all 20 documents" in said
    assert not (folder / "out/store/documents").exists()
    code, said = call("validate", configure(folder, GROUPED[rule], url_field="link"))
    assert code == 0, said


def test_groups_are_refused_where_all_documents_are_counted(call: Call, folder: Path) -> None:
    """A domain in the first documents of a source that is never read again is not looked for twice."""
    write(folder / "in", "jsonl")
    assert call("run", configure(folder))[0] == 0
    code, said = call("run", configure(folder, GROUPED["band"]))
    assert code == 2
    assert "null for all 20 documents;" in said


@pytest.mark.parametrize("kind", ["jsonl", "list", "parquet"])
def test_a_misspelt_field_of_texts_is_refused_with_the_nearest_name(call: Call, folder: Path, kind: str) -> None:
    """As before any work, and by the name that the files have."""
    write(folder / "in", kind)
    for command in ("validate", "run"):
        code, said = call(command, configure(folder, text_field="txt"))
        assert code == 2
        assert "is text_field = 'txt' right? did you mean 'text'?" in said
