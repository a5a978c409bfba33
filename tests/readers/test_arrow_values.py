"""Arrow columns of every type as metadata and ids: a value costs itself, never a document."""

from __future__ import annotations

import datetime
import io
import random
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.readers.conftest import Outcome, parquet_bytes

from siftlm.readers.arrow_values import values
from siftlm.readers.metadata import pack
from siftlm.readers.records import UNREADABLE, TooLong

Read = Callable[..., Outcome]
UUID = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
LIMIT = 1000
FIRST = "1970-01-01T00:00:00.000000001"
SPARSE = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])


def extension(kind: Any, stored: list[Any]) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, pa.array(stored, kind.storage_type))


# What a value is in the metadata of a document, made by hand.
COLUMNS: dict[str, tuple[pa.Array, list[Any]]] = {
    "ns": (pa.array([1, None], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001", None]),
    "us": (pa.array([datetime.datetime(2024, 5, 1, 12, 30, 0, 500_000)]), ["2024-05-01T12:30:00.500000"]),
    "whole seconds": (pa.array([datetime.datetime(2024, 5, 1)], pa.timestamp("ns")), ["2024-05-01T00:00:00"]),
    "a zone": (pa.array([0], pa.timestamp("ns", "Europe/Berlin")), ["1970-01-01T00:00:00+00:00"]),
    "a zone that nobody knows": (pa.array([0], pa.timestamp("s", "Nowhere/At_all")), ["1970-01-01T00:00:00+00:00"]),
    "a year above 9999": (pa.array([253_402_300_800], pa.timestamp("s")), ["+10000-01-01T00:00:00"]),
    "a year before 1": (pa.array([-62_198_755_200], pa.timestamp("s")), ["-001-01-01T00:00:00"]),
    "the first instant": (pa.array([-(1 << 63)], pa.timestamp("ns")), ["1677-09-21T00:12:43.145224192"]),
    "date32": (pa.array([1, 2_932_897], pa.date32()), ["1970-01-02", "+10000-01-01"]),
    "date64": (pa.array([-86_400_000, None], pa.int64()).view(pa.date64()), ["1969-12-31", None]),
    "time32": (pa.array([1500], pa.time32("ms")), ["00:00:01.500000"]),
    "time64": (pa.array([86_399_999_999_999], pa.time64("ns")), ["23:59:59.999999999"]),
    "durations": (pa.array([1, -90_000_000_000], pa.duration("ns")), ["PT0.000000001S", "-PT90S"]),
    "intervals": (pa.array([pa.MonthDayNano([1, 2, 3]), None]), ["P1M2DT0.000000003S", None]),
    "decimal256": (pa.array([Decimal("1.50")], pa.decimal256(70, 2)), ["1.50"]),
    "float16": (pa.array(np.array([1.5, np.inf], np.float16)), [1.5, None]),
    "floats": (pa.array([float("nan"), float("-inf"), 0.5]), [None, None, 0.5]),
    "uint64": (pa.array([(1 << 64) - 1], pa.uint64()), [(1 << 64) - 1]),
    "bytes": (pa.array([b"text", b"\xff\x00"]), ["text", "ff00"]),
    "views": (pa.array(["text", None], pa.string_view()), ["text", None]),
    "views of bytes": (pa.array([b"\xff", b"a"], pa.binary_view()), ["ff", "a"]),
    "strings that are none": (pa.array([b"\xff", b"a"]).view(pa.string()), ["ff", "a"]),
    "large lists": (pa.array([[1], None, []], pa.large_list(pa.int8())), [[1], None, []]),
    "lists of instants": (
        pa.array([[1, None]], pa.list_(pa.timestamp("ns"))),
        [["1970-01-01T00:00:00.000000001", None]],
    ),
    "list views": (pa.array([[1, 2], None], pa.list_view(pa.int8())), [[1, 2], None]),
    "lists of a size": (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), [[1, 2], None]),
    "maps": (pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())), [[["a", 1]], None]),
    "maps by number": (pa.array([[(1, "a"), (1, "b")]], pa.map_(pa.int8(), pa.string())), [[[1, "a"], [1, "b"]]]),
    "objects": (pa.array([{"a": {"b": 1}}, None]), [{"a": {"b": 1}}, None]),
    "dictionaries": (pa.array(["a", None, "a", "b"]).dictionary_encode(), ["a", None, "a", "b"]),
    "dictionaries of instants": (pa.array([1], pa.timestamp("ns")).dictionary_encode(), [FIRST]),
    "runs": (pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", None])), ["a", "a", None]),
    "uuid": (extension(pa.uuid(), [UUID.bytes, None]), [str(UUID), None]),
    "json": (extension(pa.json_(), ['{"a": 1}']), ['{"a": 1}']),
    "bool8": (extension(pa.bool8(), [1, 0, None]), [True, False, None]),
    "opaque": (extension(pa.opaque(pa.int32(), "x", "y"), [7]), [7]),
    "unions": (SPARSE, [1, "b"]),
    "nothing": (pa.nulls(2), [None, None]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_has_a_form_in_json(name: str) -> None:
    """Without pandas, and the same from the middle of a column as from its beginning."""
    column, expected = COLUMNS[name]

    def written(array: pa.Array) -> list[Any]:
        packed = [pack({"x": value}) for value in values(array, LIMIT)]
        assert not any(lost for _, lost in packed)
        return [orjson.loads(made)["x"] for made, _ in packed]

    assert written(column) == expected
    assert (
        written(pa.concat_arrays([column, column]).slice(len(column) - 1)) == expected[-1:] + expected
        if (not pa.types.is_union(column.type))
        else True
    )


STORABLE = [name for name in COLUMNS if name not in ("runs", "unions", "intervals", "list views", "lists of a size")]


@pytest.mark.parametrize("name", STORABLE)
def test_a_column_of_any_type_costs_no_document(read_content: Read, name: str) -> None:
    """As metadata, id, url and domain at once: all texts are there, and what cannot be an id is counted."""
    column, expected = COLUMNS[name]
    content = parquet_bytes(pa.table({"text": [f"text {n}" for n in range(len(column))], "x": column}))
    fields = {"id_field": "x", "url_field": "x", "domain_field": "x"}
    outcome = read_content(content, "x.parquet", metadata_fields=["x"], **fields)
    assert outcome.texts == [f"text {n}" for n in range(len(column))]
    assert outcome.rejects == []
    assert [orjson.loads(row["metadata"])["x"] for row in outcome.rows] == expected
    is_nested = pa.types.is_nested(column.type)
    assert outcome.unusable.get("id_field", 0) == (is_nested * sum(value is not None for value in expected)) + (
        name in ("float16", "floats")
    )


IDS: dict[str, tuple[pa.Array, list[str | None]]] = {
    "floats out of integers with a null": (pa.array([3.0, None, float("nan"), 4.5]), ["3", None, None, "4.5"]),
    "uuid": (COLUMNS["uuid"][0], [str(UUID), None]),
    "16 bytes": (pa.array([UUID.bytes], pa.binary(16)), [UUID.hex]),
    "any bytes": (pa.array([b"\x01\x02", b"id-7"]), ["0102", "id-7"]),
    "uint64": (pa.array([(1 << 64) - 1], pa.uint64()), [str((1 << 64) - 1)]),
    "decimals": (pa.array([Decimal("3.00"), Decimal("3.50")]), ["3", "3.50"]),
    "decimals of 38 digits": (pa.array([Decimal(10**37)], pa.decimal128(38, 0)), [str(10**37)]),
    "dates": (pa.array([datetime.date(2024, 5, 1)]), ["2024-05-01"]),
    "instants": (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
    "booleans": (pa.array([True, False]), ["true", "false"]),
    "a dictionary": (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
}


@pytest.mark.parametrize("name", IDS)
def test_an_id_of_a_plain_type_is_its_text(read_content: Read, name: str) -> None:
    """What a column of that type came from: integers with a null come as floats, UUIDs as 16 bytes."""
    column, expected = IDS[name]
    content = parquet_bytes(pa.table({"text": ["text"] * len(column), "x": column}))
    outcome = read_content(content, "x.parquet", id_field="x")
    assert [row["record_id"] for row in outcome.rows] == expected
    assert (outcome.unusable, outcome.rejects) == ({}, [])


@pytest.mark.parametrize("column", [pa.array([["http://a.org/"]]), pa.array([7]), pa.array([{"href": "x"}])], ids=str)
def test_a_list_or_a_number_under_the_default_url_is_no_url(read_content: Read, column: pa.Array) -> None:
    """Nobody asked for it, so it is absent."""
    outcome = read_content(parquet_bytes(pa.table({"text": ["a"], "url": column})), "x.parquet")
    assert [(row["text"], row["url"]) for row in outcome.rows] == [("a", None)]


def test_a_value_that_cannot_be_read_takes_its_object_with_it() -> None:
    """Not the other rows; a string above the limit is not even copied."""
    column = pa.array([{"a": "x" * 2000, "b": 1}, {"a": "y", "b": 2}])
    found = values(column, LIMIT)
    assert isinstance(found[0], TooLong)
    assert found[1] == {"a": "y", "b": 2}
    assert UNREADABLE not in found


def test_a_column_that_arrow_cannot_read_is_null_and_counted(read_content: Read) -> None:
    """Lists of a fixed size with nulls among them are written by Arrow, and read back only from its version 26 on."""
    column = pa.array([[1, 2], None], pa.list_(pa.int8(), 2))
    content = parquet_bytes(pa.table({"text": ["a", "b"], "x": column, "y": [1, 2]}))
    outcome = read_content(content, "x.parquet", metadata_fields=["x", "y"])
    assert (outcome.texts, outcome.rejects) == (["a", "b"], [])
    first = [1, 2] if arrow_reads(content, "x") else None
    assert [orjson.loads(row["metadata"]) for row in outcome.rows] == [{"x": first, "y": 1}, {"x": None, "y": 2}]
    assert outcome.unusable == ({} if first else {"metadata_fields.x": 2})


def arrow_reads(content: bytes, column: str) -> bool:
    try:
        pq.read_table(io.BytesIO(content), columns=[column])
    except pa.ArrowException:
        return False
    return True


@pytest.mark.parametrize("kind", [polars.Int128, polars.UInt128, polars.List(polars.Int128)], ids=str)
def test_a_type_that_arrow_does_not_know_costs_its_own_column(read_content: Read, kind: Any) -> None:
    """Polars writes integers of 128 bits, at whose name in the schema Arrow refuses the whole file."""
    whole = [[1], [2]] if isinstance(kind, polars.List) else [1, 2]
    columns = {"text": ["a", "b"], "x": polars.Series(whole, dtype=kind), "y": [1, 2], "z": [{"t": "c"}, {"t": "d"}]}
    sink = io.BytesIO()
    polars.DataFrame(columns).write_parquet(sink)
    outcome = read_content(sink.getvalue(), "x.parquet", metadata_fields=["x", "y", "z.t"])
    assert (outcome.texts, outcome.rejects) == (["a", "b"], [])
    kept = [{"x": None, "y": 1, "z.t": "c"}, {"x": None, "y": 2, "z.t": "d"}]
    assert [orjson.loads(row["metadata"]) for row in outcome.rows] == kept
    assert outcome.unusable == {"metadata_fields.x": 2}
    assert read_content(sink.getvalue(), "y.parquet", text_field="z.t").texts == ["c", "d"]


def test_an_arrow_schema_that_is_damaged_costs_nothing(read_content: Read) -> None:
    """Parquet's own schema says the rest; 16 bytes without a name are then bytes that nobody can explain."""
    table = pa.table({"text": ["a", "b"], "raw": pa.array([b"0" * 16, None], pa.binary(16)), "n": [1, 2]})
    content = parquet_bytes(table)
    place = content.rindex(b"ARROW:schema") + 20
    outcome = read_content(content[:place] + b"????" + content[place + 4 :], "x.parquet", metadata_fields=["raw", "n"])
    assert (outcome.texts, outcome.rejects) == (["a", "b"], [])
    assert [orjson.loads(row["metadata"]) for row in outcome.rows] == [{"raw": None, "n": 1}, {"raw": None, "n": 2}]


def test_a_damaged_column_beside_the_text_costs_its_own_values(read_content: Read) -> None:
    """From the row group on in which its pages are damaged, and in no other."""
    generator = random.Random(3)
    urls = [f"http://{generator.randbytes(40).hex()}.org/" for _ in range(300)]
    table = pa.table({"text": [f"text {n}" for n in range(300)], "url": urls})
    content = bytearray(parquet_bytes(table, row_group_size=100, compression="gzip", use_dictionary=False))
    page = pq.read_metadata(io.BytesIO(content)).row_group(1).column(1).data_page_offset
    content[page + 1000 : page + 1400] = b"\xff" * 400
    outcome = read_content(bytes(content), "x.parquet")
    assert (outcome.texts, outcome.rejects) == ([f"text {n}" for n in range(300)], [])
    assert [row["url"] for row in outcome.rows] == urls[:100] + [None] * 100 + urls[200:]
    assert outcome.unusable == {"url_field": 100}


def test_years_beyond_nanoseconds_in_the_timestamps_of_spark_are_right(read_content: Read) -> None:
    """INT96 holds days; as nanoseconds since 1970 the end of time of many tables, 9999, came out as 1816."""
    ends = [
        datetime.datetime(9999, 12, 31, 23, 59, 59, 123456),
        datetime.datetime(1, 1, 1),
        datetime.datetime(2024, 2, 29, 1, 2, 3),
    ]
    table = pa.table({"text": ["a", "b", "c"], "end": ends, "id": ends})
    content = parquet_bytes(table, use_deprecated_int96_timestamps=True)
    rows = read_content(content, "x.parquet", metadata_fields=["end"], id_field="id").rows
    assert [orjson.loads(row["metadata"])["end"] for row in rows] == [end.isoformat() for end in ends]
    assert [row["record_id"] for row in rows] == [end.isoformat() for end in ends]
