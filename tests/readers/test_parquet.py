"""Parquet: columns of every string type, and damaged files."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.readers.conftest import Outcome, parquet_bytes

from siftlm.readers.parquet import count_rows

TEXTS = ["one", "zwei ö", "", "四"]
TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.dictionary(pa.int32(), pa.string()),
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_every_string_type_gives_the_same_texts(read_content: Callable[..., Outcome], kind: pa.DataType) -> None:
    """Strings, large strings, views, binary and dictionaries are text alike."""
    table = pa.table({"text": pa.array(TEXTS, pa.string()).cast(kind)})
    assert read_content(parquet_bytes(table), "x.parquet").texts == TEXTS


def test_rows_without_a_usable_text_are_counted_one_by_one(read_content: Callable[..., Outcome]) -> None:
    """Null, invalid UTF-8 and wrong types have their reasons, and offsets are rows."""
    strings = pa.array([b"good", b"\xff", None, b"good"], pa.binary()).view(pa.string())
    outcome = read_content(parquet_bytes(pa.table({"text": strings})), "x.parquet")
    assert outcome.texts == ["good", "good"]
    assert [(reject.reason, reject.offset) for reject in outcome.rejects] == [("bad_utf8", 1), ("null_text", 2)]
    numbers = read_content(parquet_bytes(pa.table({"text": [1, 2]})), "y.parquet")
    assert numbers.errors == ["wrong_type"] * 2


def test_nested_fields_and_metadata_keep_their_values(read_content: Callable[..., Outcome]) -> None:
    """Structs are reached by dots; numbers, dates and lists go into the metadata as JSON has them."""
    rows = [{"doc": {"text": "a", "lang": "en"}, "id": 7, "when": None, "tags": ["x"], "score": float("nan")}]
    outcome = read_content(
        parquet_bytes(pa.Table.from_pylist(rows)),
        "x.parquet",
        text_field="doc.text",
        id_field="id",
        metadata_fields=["doc.lang", "tags", "score", "absent"],
    )
    (row,) = outcome.rows
    assert (row["text"], row["record_id"], row["url"]) == ("a", "7", None)
    assert orjson.loads(row["metadata"]) == {"doc.lang": "en", "tags": ["x"], "score": None, "absent": None}


def test_a_file_without_the_text_column_says_which_columns_it_has(read_content: Callable[..., Outcome]) -> None:
    """One error for the file, with the names that a user needs to mend the configuration."""
    outcome = read_content(parquet_bytes(pa.table({"content": ["a"]})), "x.parquet")
    assert outcome.errors == ["missing_field"]
    assert "'content'" in outcome.rejects[0].detail


def test_columns_that_are_not_named_are_not_read(read_content: Callable[..., Outcome]) -> None:
    """A broken column beside the text does no harm."""
    table = pa.table({"text": ["a"] * 500, "other": [f"{i}" * 50 for i in range(500)]})
    content = bytearray(parquet_bytes(table, compression="zstd", use_dictionary=False))
    middle = len(content) // 2
    content[middle : middle + 50] = b"\xff" * 50
    assert read_content(bytes(content), "x.parquet").texts == ["a"] * 500


def test_a_damaged_row_group_leaves_the_others(read_content: Callable[..., Outcome]) -> None:
    """One error names the rows that are lost."""
    generator = random.Random(1)
    texts = [generator.randbytes(300).hex() for _ in range(300)]
    table = pa.table({"text": texts})
    content = bytearray(parquet_bytes(table, row_group_size=100, compression="gzip", use_dictionary=False))
    page = pq.read_metadata(io.BytesIO(content)).row_group(1).column(0).data_page_offset
    content[page + 5000 : page + 5400] = b"\xff" * 400
    outcome = read_content(bytes(content), "x.parquet")
    assert outcome.texts == texts[:100] + texts[200:]
    assert outcome.errors == ["corrupt_parquet"]
    assert (outcome.rejects[0].position, outcome.rejects[0].records) == (100, 100)
    assert "rows 100 to 199" in outcome.rejects[0].detail


@pytest.mark.parametrize("cut", [0, 3, 10, 0.5, 0.99])
def test_a_truncated_file_is_one_error(read_content: Callable[..., Outcome], cut: float) -> None:
    """Parquet is read from its end, so without it there is nothing to read."""
    content = parquet_bytes(pa.table({"text": TEXTS * 100}))
    size = cut if isinstance(cut, int) else int(len(content) * cut)
    outcome = read_content(content[:size], "x.parquet")
    assert (outcome.texts, outcome.errors) == ([], ["truncated_parquet"])


def test_rows_are_counted_by_the_file_itself_and_a_damaged_one_has_none() -> None:
    """A plan of a run asks before any document is read."""
    content = parquet_bytes(pa.table({"text": TEXTS}))
    assert count_rows(io.BytesIO(content)) == 4
    assert [count_rows(io.BytesIO(content[:size])) for size in (0, 4, 50, len(content) - 1)] == [0] * 4
