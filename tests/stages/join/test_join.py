"""Tables that are joined: what is read of every format, looked up against a dictionary, and what is refused."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.stages.join import table as tables
from siftlm.stages.join.settings import JoinSettings
from siftlm.stages.join.source import Source
from siftlm.stages.join.table import Table
from siftlm.store import Store

pytest.importorskip("duckdb")
ROWS = [
    {"doc_id": "a", "edu": 1.5, "topic": "x", "stars": 3, "good": True, "seen": "2024-05-31"},
    {"doc_id": "b", "edu": None, "topic": "y", "stars": 12, "good": False, "seen": "2023-01-01"},
    {"doc_id": None, "edu": 2.0, "topic": "z", "stars": 1, "good": True, "seen": None},
    {"doc_id": "ü [1]*", "edu": 4.0, "topic": None, "stars": None, "good": None, "seen": "1999-12-31"},
]
COLUMNS = ["edu", "topic", "stars", "good", "seen"]


def written(folder: Path, kind: str) -> Path:
    """The rows in a format."""
    path = folder / f"[t]able{kind}"
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind in (".csv", ".tsv"):
        mark = "," if kind == ".csv" else "\t"
        lines = [COLUMNS_LINE.replace(",", mark)]
        for row in ROWS:
            lines.append(mark.join("" if value is None else str(value) for value in row.values()))
        path.write_text("\n".join(lines) + "\n")
    else:
        content = "".join(json.dumps(row) + "\n" for row in ROWS)
        path.write_bytes(gzip.compress(content.encode()) if kind.endswith(".gz") else content.encode())
    return path


COLUMNS_LINE = ",".join(ROWS[0])


def joined(store: Store, keys: list[str | None], bits: int = 0, **settings: Any) -> list[dict[str, Any]]:
    source = Source(JoinSettings.model_validate(settings), "join.0")
    table = Table(store, "t", bits)
    table.write(source)
    values, matched = table.look_up(pa.array(keys, pa.string()), source.schema())
    assert len(matched) == values.num_rows == len(keys)
    tables.forget()
    return values.to_pylist()  # type: ignore[no-any-return]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.mark.parametrize("kind", [".parquet", ".csv", ".tsv", ".jsonl", ".jsonl.gz"])
def test_every_format_gives_typed_columns(tmp_path: Path, store: Store, kind: str) -> None:
    path = written(tmp_path, kind)
    schema = Source(JoinSettings(path=str(path), columns=COLUMNS), "join.0").schema()
    seen = pa.string() if kind == ".parquet" else pa.timestamp("us")
    assert schema.types == [pa.float64(), pa.string(), pa.int64(), pa.bool_(), seen]
    found = joined(store, ["b", "nobody", None, "ü [1]*", "a"], path=str(path), columns={"score": "edu", "n": "stars"})
    none = {"score": None, "n": None}
    assert found == [{"score": None, "n": 12}, none, none, {"score": 4.0, "n": None}, {"score": 1.5, "n": 3}]


def test_times_of_text_formats_are_times(tmp_path: Path, store: Store) -> None:
    (row,) = joined(store, ["a"], path=str(written(tmp_path, ".csv")), columns=["seen"])
    assert row == {"seen": datetime.datetime(2024, 5, 31)}


@pytest.mark.parametrize("bits", [0, 1, 5])
def test_a_table_in_parts_gives_what_a_dictionary_gives(tmp_path: Path, store: Store, bits: int) -> None:
    rng = random.Random(bits)
    known = {f"k{rng.randrange(10**9)}": rng.random() for _ in range(3000)}
    files = np.array_split(np.array(list(known.items()), dtype=object), 3)
    for number, rows in enumerate(files):
        table = pa.table({"id": [row[0] for row in rows], "value": [row[1] for row in rows]})
        pq.write_table(table, tmp_path / f"part-{number}.parquet")
    keys: list[str | None] = [*rng.sample(list(known), 1000), None, *(f"k{n}" for n in range(1000))]
    rng.shuffle(keys)
    found = joined(store, keys, bits, path=str(tmp_path / "*.parquet"), key="id", columns=["value"])
    assert found == [{"value": known.get(key) if key else None} for key in keys]


def test_keys_of_integers_are_looked_up_as_they_print(tmp_path: Path, store: Store) -> None:
    pq.write_table(pa.table({"doc_id": pa.array([7, 8], pa.uint32()), "x": [1, 2]}), tmp_path / "t.parquet")
    assert joined(store, ["8", "07"], path=str(tmp_path), columns=["x"]) == [{"x": 2}, {"x": None}]


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["0F8FAD5B-D9CB-469F-A165-70867728950E"], ".jsonl"),
        (["2024-01-01"], ".jsonl"),
        (["a", 2], ".jsonl"),
        (["2024-01-01", "2024-01-02"], ".csv"),
        (["true", "false"], ".csv"),
        (["1.10", "1.2"], ".csv"),
        (["0012", "7"], ".csv"),
    ],
)
def test_keys_of_text_formats_are_looked_up_as_they_are_written(
    tmp_path: Path, store: Store, keys: list[Any], kind: str
) -> None:
    """What DuckDB takes for UUIDs, times, booleans or numbers."""
    lines = [f"{key},{n}" if kind == ".csv" else json.dumps({"doc_id": key, "x": n}) for n, key in enumerate(keys)]
    head = ["doc_id,x"] if kind == ".csv" else []
    (tmp_path / f"t{kind}").write_text("\n".join([*head, *lines]) + "\n")
    found = joined(store, [str(key) for key in keys], path=str(tmp_path), columns=["x"])
    assert found == [{"x": n} for n in range(len(keys))]


def test_columns_may_be_called_as_a_table_in_the_store_calls_its_own(tmp_path: Path, store: Store) -> None:
    (tmp_path / "t.csv").write_text("doc_id,high,low,key\na,1,2,3\n")
    found = joined(store, ["a"], path=str(tmp_path), columns=["high", "low", "key"])
    assert found == [{"high": 1, "low": 2, "key": 3}]


def test_a_key_of_several_rows_is_refused_or_its_first_row_counts(tmp_path: Path, store: Store) -> None:
    (tmp_path / "b.csv").write_text("url,x\nu,3\nu,4\n")
    (tmp_path / "a.csv").write_text("url,x\nv,1\nu,2\n")
    with pytest.raises(UserError, match=r"join\.0\.duplicates: each key must have one row, got several for 'u'"):
        joined(store, ["u"], path=str(tmp_path), on="url", columns=["x"])
    assert joined(store, ["u", "v"], path=str(tmp_path), on="url", columns=["x"], duplicates="first") == [
        {"x": 2},
        {"x": 1},
    ]


@pytest.mark.parametrize(
    ("name", "content", "settings", "message"),
    [
        ("t.csv", "doc_id,x\na,1\n", {"columns": ["y"]}, r"join\.0\.columns: must name columns of .*got 'y'"),
        ("t.csv", "id,x\na,1\n", {"columns": ["x"]}, r"join\.0\.key: must name columns of .*, got 'doc_id'"),
        ("t.csv", "doc_id,x\na,1\ndoc_id,x,y\nb,1,2\nc,1,2\n", {"columns": ["x"]}, r"join\.0\.key: must name columns"),
        ("t.csv", "doc_id,x\n#a\n#b\nc,1\n", {"columns": ["x"]}, r"join\.0\.key: must name columns"),
        (
            "t.jsonl",
            '{"doc_id": "a", "x": [1]}\n',
            {"columns": ["x"]},
            r"join\.0\.columns: must name columns of numbers",
        ),
        (
            "t.jsonl",
            '{"doc_id": 1.5, "x": 1}\n',
            {"columns": ["x"]},
            r"join\.0\.key: must be a column of strings or",
        ),
        ("t.parquet", "no parquet", {"columns": ["x"]}, r"join\.0\.path: must be a table that can be read"),
        ("t.jsonl", '{"doc_id": "a"', {"columns": ["x"]}, r"join\.0\.path: must be a table that can be read"),
        ("t.txt", "x", {"columns": ["x"]}, r"join\.0\.path: must hold Parquet, CSV, TSV or JSON lines"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str, settings: dict[str, Any], message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        Source(JoinSettings.model_validate({"path": str(tmp_path), **settings}), "join.0").schema()
    assert "\n" not in str(raised.value)


def test_a_value_that_does_not_fit_is_told_with_its_file(tmp_path: Path, store: Store) -> None:
    pq.write_table(pa.table({"doc_id": ["a"], "x": pa.array([2**64 - 1], pa.uint64())}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"join\.0\.path: must be a table that can be read"):
        joined(store, ["a"], path=str(tmp_path), columns=["x"])


def test_what_is_not_finite_is_null(tmp_path: Path, store: Store) -> None:
    values = [float("nan"), float("inf"), 1.0]
    pq.write_table(pa.table({"doc_id": ["a", "b", "c"], "x": values}), tmp_path / "t.parquet")
    found = joined(store, ["a", "b", "c"], path=str(tmp_path), columns=["x"])
    assert found == [{"x": None}, {"x": None}, {"x": 1.0}]


def test_no_path_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"join\.0\.path: "):
        Source(JoinSettings(path=str(tmp_path / "none.csv"), columns=["x"]), "join.0").schema()


def test_times_with_a_zone_are_in_utc_whatever_the_zone_of_the_machine(tmp_path: Path) -> None:
    moment = pa.array([1_717_149_600_000_000], pa.timestamp("us", "Europe/Berlin"))  # 2024-05-31 10:00 in UTC
    nanoseconds = moment.cast(pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"doc_id": ["a"], "us": moment, "ns": nanoseconds}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("doc_id,us,ns\na,2024-05-31T12:00:00+02:00,2024-05-31T10:00:00Z\n")
    code = (
        "import sys\nfrom siftlm.stages.join.source import JoinSettings, Source\n"
        "for path in sys.argv[1:]:\n"
        "    for _, columns in Source(JoinSettings(path=path, columns=['us', 'ns']), 'join.0').rows():\n"
        "        print(*columns.to_pylist()[0].values())\n"
    )
    paths = [str(tmp_path / "t.parquet"), str(tmp_path / "t.csv")]
    run = subprocess.run(
        [sys.executable, "-c", code, *paths],
        env={**os.environ, "TZ": "America/New_York"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == ["2024-05-31 10:00:00 2024-05-31 10:00:00"] * 2


def test_a_column_in_which_nothing_was_written_is_null(tmp_path: Path, store: Store) -> None:
    pq.write_table(pa.table({"doc_id": ["a"], "x": pa.nulls(1)}), tmp_path / "t.parquet")
    assert joined(store, ["a"], path=str(tmp_path), columns=["x"]) == [{"x": None}]


def test_a_table_in_another_file_system_is_read(store: Store) -> None:
    with filesystem.open_write("memory://tables/part one.parquet") as stream:
        pq.write_table(pa.table({"doc_id": ["a", "b"], "x": [1, 2]}), stream)
    with filesystem.open_write("memory://tables/part [two].parquet") as stream:
        pq.write_table(pa.table({"doc_id": ["c"], "x": [3]}), stream)
    found = joined(store, ["c", "a", "z"], path="memory://tables", columns=["x"])
    assert found == [{"x": 3}, {"x": 1}, {"x": None}]


def test_the_types_of_a_table_that_changes_are_found_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for content, kind in (("doc_id,x\na,1\n", pa.int64()), ("doc_id,x\na,one\n", pa.string())):
        path.write_text(content)
        assert Source(JoinSettings(path=str(path), columns=["x"]), "join.0").schema().types == [kind]


def test_a_rehearsal_reads_the_first_rows_of_a_table(tmp_path: Path, store: Store) -> None:
    """However many rows it has, and whether their keys repeat or not."""
    rows = pa.table({"doc_id": ["a", "a", *map(str, range(10))], "x": range(12)})
    pq.write_table(rows, tmp_path / "t.parquet")
    settings = JoinSettings(path=str(tmp_path), columns=["x"], duplicates="first")
    facts = Table(store, "t").write(Source(settings, "join.0", most=4))
    assert facts == tables.TableFacts(rows=4, keys=3)
