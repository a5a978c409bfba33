"""Plans how to read row groups in bounded memory, from metadata and dictionary page headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

MOST_ROWS = 512
BATCH_BYTES = 8 << 20
REPEATED_BYTES = 64 << 20  # what a batch may come to where values are stored once and given many times
LEAST_REPEATED_ROWS = 8  # at a time of plain strings out of a dictionary; below, it is kept as a dictionary
MOST_EXTRA_BYTES = 64 << 20  # of the dictionary of a column beside the text: a longer one is not read
_HEADER_BYTES = 32
_DICTIONARY_PAGE = 2
_I32_FIELD = 0x15  # of Thrift's compact protocol: the next field, an integer


class ReadPlan(NamedTuple):
    """Holds how to read a row group: rows at a time, columns kept as dictionaries, columns left out."""

    rows: int
    by_dictionary: tuple[str, ...]
    left_out: frozenset[str]


class _Leaf(NamedTuple):
    path: str
    size: int  # bytes of the pages, decompressed; of all values where they have one length
    dictionary: int  # of the dictionary page; 0 where there is none
    repeated: bool  # whether a row may have several values
    delta: bool  # whether a value may be written as a change of the one before


def plan(row_group: Any, schema: Any, file: BinaryIO, chosen: Sequence[int], text: str) -> ReadPlan:
    """Returns how to read the columns `chosen` of a row group so that a batch stays small."""
    leaves = [_leaf(row_group.column(number), schema.column(number), file) for number in chosen]
    is_text = {leaf.path: leaf.path == text or leaf.path.startswith(f"{text}.") for leaf in leaves}
    out = {leaf.path for leaf in leaves if leaf.dictionary > MOST_EXTRA_BYTES and not is_text[leaf.path]}
    read = [leaf for leaf in leaves if leaf.path not in out]
    kept = _kept_as_dictionaries(read)
    plain = [leaf for leaf in read if leaf.path not in kept]
    row_bytes = sum(leaf.size for leaf in plain) // max(row_group.num_rows, 1)
    longest = sum(leaf.size if leaf.delta else leaf.dictionary for leaf in plain)
    rows = min(MOST_ROWS, BATCH_BYTES // max(row_bytes, 1), REPEATED_BYTES // max(longest, 1))
    return ReadPlan(max(1, rows), tuple(sorted(kept)), frozenset(out))


def _kept_as_dictionaries(leaves: Sequence[_Leaf]) -> set[str]:
    """The columns whose values would take too much one by one, largest dictionaries first."""
    kept = {leaf.path for leaf in leaves if leaf.repeated and leaf.dictionary}
    left = sum(leaf.dictionary for leaf in leaves if leaf.path not in kept)
    for leaf in sorted(leaves, key=lambda leaf: -leaf.dictionary):
        if left > REPEATED_BYTES // LEAST_REPEATED_ROWS and leaf.path not in kept:
            kept.add(leaf.path)
            left -= leaf.dictionary
    return kept


def _leaf(column: Any, schema: Any, file: BinaryIO) -> _Leaf:
    strings = column.physical_type == "BYTE_ARRAY"
    dictionary = _dictionary_bytes(column, file) if strings and column.has_dictionary_page else 0
    delta = strings and "DELTA_BYTE_ARRAY" in column.encodings
    fixed = column.physical_type == "FIXED_LEN_BYTE_ARRAY"
    size = column.num_values * schema.length if fixed else column.total_uncompressed_size
    return _Leaf(schema.path, size, dictionary, schema.max_repetition_level > 0, delta)


def _dictionary_bytes(column: Any, file: BinaryIO) -> int:
    """The decompressed size of a dictionary page, by its header; that of all pages where the header is not as usual."""
    file.seek(column.dictionary_page_offset)
    header = file.read(_HEADER_BYTES)
    kind, at = _integer(header, 0)
    size, _ = _integer(header, at)
    return size if kind == _DICTIONARY_PAGE and size is not None else int(column.total_uncompressed_size)


def _integer(header: bytes, at: int) -> tuple[int | None, int]:
    """The integer in the field at `at`, and where the next field begins."""
    number, shift = 0, 0
    if header[at : at + 1] != bytes([_I32_FIELD]):
        return None, at
    for end, byte in enumerate(header[at + 1 : at + 6], at + 2):
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return number >> 1, end  # sizes and kinds are not negative, so half of the zigzag code
    return None, at
