"""Parquet whose pages give far more than they hold: one long string, many times."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.readers.conftest import read_all

MIB = 1 << 20
PEAK = 600 * MIB  # of a process that imports the readers and reads one file
READ = """
import re, sys
from siftlm.readers import InputSettings, read_shard
settings = InputSettings(source="x", paths=["x"], metadata_fields=["url"], id_field="tags", domain_field="url")
documents = sum(batch.documents.num_rows for batch in read_shard(sys.argv[1], settings))
print(documents, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


def repeated(value: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))


def fixed(length: int, rows: int) -> pa.Array:
    """One value again and again, in a type that has the length of all values."""
    return pa.array([b"x" * length] * rows, pa.binary(length))


def write(path: Path, rows: int, url: pa.Array, tags: pa.Array | None = None, **options: Any) -> None:
    columns = {"text": pa.array([f"text {n}" for n in range(rows)]), "url": url}
    table = pa.table(columns | ({} if tags is None else {"tags": tags}))
    pq.write_table(table, path, compression="zstd", write_statistics=False, **options)


SHAPES: dict[str, Callable[[], dict[str, Any]]] = {
    "one url of 100 MiB": lambda: {"url": repeated("x" * (100 * MIB), 2000)},
    "urls of 1 MiB": lambda: {"url": repeated("x" * MIB, 1000)},
    "urls of 3 MiB by their common beginning": lambda: {
        "url": pa.array(["x" * (3 * MIB)] * 100),
        "column_encoding": {"url": "DELTA_BYTE_ARRAY"},
        "use_dictionary": False,
    },
    "values of one length, 3 MiB": lambda: {"url": fixed(3 * MIB, 300), "dictionary_pagesize_limit": 1 << 30},
    "lists of one string of 1 MiB": lambda: {
        "url": repeated("http://a.org/", 500),
        "tags": pa.ListArray.from_arrays(pa.array(range(0, 20_001, 40), pa.int32()), repeated("x" * MIB, 20_000)),
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_long_strings_beside_the_text_take_no_memory_to_speak_of(tmp_path: Path, shape: str) -> None:
    """All documents are read, in a fraction of the gigabytes that their columns come to."""
    options = SHAPES[shape]()
    rows = len(options["url"])
    write(tmp_path / "x.parquet", rows, **options)
    made = subprocess.run([sys.executable, "-c", READ, tmp_path / "x.parquet"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    documents, peak = map(int, made.stdout.split())
    assert documents == rows
    assert peak < PEAK


def test_what_is_too_long_is_absent_and_counted(tmp_path: Path) -> None:
    """Of a dictionary with a url and something else, the url is kept."""
    urls = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 1], pa.int32()), pa.array(["x" * (10 * MIB), "http://a.org/"])
    )
    write(tmp_path / "x.parquet", 4, urls)
    outcome = read_all(tmp_path / "x.parquet", metadata_fields=["url"])
    assert [row["url"] for row in outcome.rows] == [None, "http://a.org/", None, "http://a.org/"]
    assert outcome.unusable == {"url_field": 1, "metadata_fields.url": 1}


def test_metadata_that_blow_up_a_small_file_are_left_out_and_no_document(tmp_path: Path) -> None:
    """The bound on what a file may hold is on texts; metadata beyond it are null and counted."""
    write(tmp_path / "x.parquet", 1000, repeated("x" * (MIB // 2), 1000))
    outcome = read_all(tmp_path / "x.parquet", metadata_fields=["url"])
    assert len(outcome.rows) == 1000
    left = [row["metadata"] for row in outcome.rows if row["metadata"]]
    assert sum(map(len, left)) <= 64 * MIB
    assert outcome.unusable["metadata_fields"] == 1000 - len(left) > 0
