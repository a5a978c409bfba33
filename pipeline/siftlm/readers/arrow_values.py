"""Converts the values of Arrow columns of every type to plain Python values, each by itself.

Arrow's own conversion raises for a whole batch where Python has no such value: nanoseconds without pandas, years
above 9999, strings that are not UTF-8.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from siftlm.readers.records import UNREADABLE, TooLong

_UTF8 = (pa.string(), pa.large_string(), pa.string_view())
_BINARY = (pa.binary(), pa.large_binary(), pa.binary_view())
_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}  # to decimal digits
_SECONDS_A_DAY = 86_400
_LAST_OF_9999 = 2_932_896  # days after 1970; later years have a sign in ISO 8601
_CONVERSION = (pa.ArrowException, ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError)


def values(array: pa.Array, limit: int) -> list[Any]:
    """Returns the values of a column as Python values, None for null.

    Text is str, or bytes where it is not UTF-8; times are in ISO 8601, in UTC where they have a zone. A string
    of more than `limit` bytes is TooLong; what has no form in Python is UNREADABLE, with all that holds it.
    """
    try:
        convert = next((converter for fits, converter in _CONVERTERS if fits(array.type)), _plain)
        return convert(array, limit)
    except _CONVERSION:
        return [values(array.slice(row, 1), limit)[0] for row in range(len(array))] if len(array) > 1 else [UNREADABLE]


def is_string(kind: pa.DataType) -> bool:
    """Tells whether a column of this type holds text or bytes, however they are stored."""
    if isinstance(kind, pa.BaseExtensionType):
        return is_string(kind.storage_type)
    if kinds.is_dictionary(kind) or kinds.is_run_end_encoded(kind):
        return is_string(kind.value_type)
    return kind in _UTF8 or kind in _BINARY or bool(kinds.is_fixed_size_binary(kind))


Converter = Callable[[Any, int], list[Any]]


def _plain(array: pa.Array, _limit: int) -> list[Any]:
    """Booleans, integers, decimals, floats, nulls and whatever else Arrow converts by itself."""
    return list(array.to_pylist())


def _strings(array: pa.Array, limit: int) -> list[Any]:
    """Strings as str, or as the bytes that they are where one is not UTF-8."""
    if array.type in _UTF8 or kinds.is_binary_view(array.type):
        text, array = array, array.cast(pa.large_binary())
    else:
        text = array
    lengths = np.asarray(pc.fill_null(pc.binary_length(array), 0))
    if len(lengths) and lengths.max() > limit:
        short = iter(_strings(text.filter(pa.array(lengths <= limit)), limit))
        return [TooLong(size) if size > limit else next(short) for size in lengths.tolist()]
    try:
        return _plain(text, limit)
    except UnicodeDecodeError:
        return _plain(array, limit)


def _each(array: pa.Array, kind: pa.DataType, convert: Callable[[int], str]) -> list[Any]:
    """What `convert` makes of the numbers of `kind` that an array stores."""
    return [None if number is None else convert(number) for number in array.view(kind).to_pylist()]


def _dates(array: pa.Array, _limit: int) -> list[Any]:
    if kinds.is_date32(array.type):
        return _each(array, pa.int32(), _date)
    return _each(array, pa.int64(), lambda ms: _date(ms // (1000 * _SECONDS_A_DAY)))


def _date(days: int) -> str:
    date = str(np.datetime64(days, "D"))
    return f"+{date}" if days > _LAST_OF_9999 else date


def _times(array: pa.Array, _limit: int) -> list[Any]:
    width = pa.int32() if kinds.is_time32(array.type) else pa.int64()
    return _each(array, width, partial(_clock, digits=_UNITS[array.type.unit]))


def _timestamps(array: pa.Array, _limit: int) -> list[Any]:
    digits, zone = _UNITS[array.type.unit], "+00:00" if array.type.tz else ""

    def stamp(number: int) -> str:
        days, rest = divmod(number, _SECONDS_A_DAY * 10**digits)
        return f"{_date(days)}T{_clock(rest, digits)}{zone}"

    return _each(array, pa.int64(), stamp)


def _clock(number: int, digits: int) -> str:
    """A time of day as `datetime` prints it; with nine digits where it has nanoseconds."""
    seconds, fraction = divmod(number, 10**digits)
    minutes, hours = seconds // 60, seconds // 3600
    return f"{hours:02}:{minutes % 60:02}:{seconds % 60:02}{_fraction(fraction, digits)}"


def _fraction(number: int, digits: int) -> str:
    if not number:
        return ""
    nine = f"{number:0{digits}}".ljust(9, "0")
    return f".{nine[:6]}" if nine.endswith("000") else f".{nine}"


def _durations(array: pa.Array, _limit: int) -> list[Any]:
    digits = _UNITS[array.type.unit]

    def duration(number: int) -> str:
        seconds, fraction = divmod(abs(number), 10**digits)
        return f"{'-' * (number < 0)}PT{seconds}{_fraction(fraction, digits)}S"

    return _each(array, pa.int64(), duration)


def _intervals(array: pa.Array, _limit: int) -> list[Any]:
    spans = array.to_pylist()
    return [span and f"P{span.months}M{span.days}DT{span.nanoseconds / 10**9:.9f}S" for span in spans]


def _extensions(array: pa.Array, limit: int) -> list[Any]:
    stored = values(array.storage, limit)
    if array.type.extension_name == "arrow.uuid":
        return [str(uuid.UUID(bytes=value)) if isinstance(value, bytes) else value for value in stored]
    if array.type.extension_name == "arrow.bool8":
        return [bool(value) if isinstance(value, int) else value for value in stored]
    return stored


def _dictionaries(array: pa.DictionaryArray, limit: int) -> list[Any]:
    """Every value of the dictionary that is used, converted once."""
    used = pc.drop_null(pc.unique(array.indices))
    known = dict(zip(used.to_pylist(), values(array.dictionary.take(used), limit), strict=True))
    return [None if index is None else known[index] for index in array.indices.to_pylist()]


def _runs(array: pa.Array, limit: int) -> list[Any]:
    by_run = values(array.values, limit)
    rows = np.arange(array.offset, array.offset + len(array))
    return [by_run[run] for run in np.searchsorted(array.run_ends.to_numpy(), rows, side="right").tolist()]


def _lists(array: Any, limit: int) -> list[Any]:
    """Lists of every kind; a map is a list of pairs."""
    inner = iter(values(array.flatten(), limit))
    sizes = pc.list_value_length(array).to_pylist()
    return [None if size is None else _whole([next(inner) for _ in range(size)], limit) for size in sizes]


def _maps(array: pa.MapArray, limit: int) -> list[Any]:
    made: list[Any] = []
    for entries in (scalar.values if scalar.is_valid else None for scalar in array):
        fields = [] if entries is None else [values(entries.field(number), limit) for number in (0, 1)]
        made.append(_whole([list(pair) for pair in zip(*fields, strict=True)], limit) if fields else None)
    return made


def _structs(array: pa.StructArray, limit: int) -> list[Any]:
    names = [array.type.field(number).name for number in range(array.type.num_fields)]
    columns = [values(column, limit) for column in array.flatten()]
    valid = array.is_valid().to_pylist()
    rows: Iterator[tuple[Any, ...]] = zip(*columns, strict=True) if columns else iter([()] * len(array))
    return [
        _whole(dict(zip(names, row, strict=True)), limit) if is_row else None
        for is_row, row in zip(valid, rows, strict=True)
    ]


def _unions(array: pa.UnionArray, limit: int) -> list[Any]:
    return [values(pa.array([scalar.value.as_py()], scalar.value.type), limit)[0] for scalar in array]


def _whole(made: Any, limit: int) -> Any:
    """A list or an object; UNREADABLE where anything in it is, TooLong where its strings are together."""
    inner = made.values() if isinstance(made, dict) else made
    if any(value is UNREADABLE for value in inner):
        return UNREADABLE
    size = _weight(made)
    return TooLong(size) if size > limit else made


def _weight(value: Any) -> int:
    """Bytes or characters of all strings in a value: a dictionary may give one many times."""
    if isinstance(value, list | dict):
        return sum(map(_weight, value.values() if isinstance(value, dict) else value))
    if isinstance(value, TooLong):
        return value.size
    return len(value) if isinstance(value, str | bytes) else 1


_CONVERTERS: tuple[tuple[Callable[[pa.DataType], bool], Converter], ...] = (
    (lambda kind: isinstance(kind, pa.BaseExtensionType), _extensions),
    (kinds.is_dictionary, _dictionaries),
    (kinds.is_run_end_encoded, _runs),
    (kinds.is_struct, _structs),
    (kinds.is_map, _maps),
    (lambda kind: kinds.is_nested(kind) and not kinds.is_union(kind), _lists),
    (kinds.is_union, _unions),
    (is_string, _strings),
    (kinds.is_timestamp, _timestamps),
    (kinds.is_date, _dates),
    (kinds.is_time, _times),
    (kinds.is_duration, _durations),
    (kinds.is_interval, _intervals),
)
