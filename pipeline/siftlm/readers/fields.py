"""Makes records from rows of JSON or Parquet, by the fields that the settings name.

Only a text that cannot be used costs the record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from siftlm.readers.encodings import first_bad_byte, not_utf8
from siftlm.readers.metadata import pack, text_or_hex
from siftlm.readers.records import UNREADABLE, Flaw, Record, TooLong, checked, too_large
from siftlm.readers.settings import InputSettings

ABSENT: Any = object()
MOST_NAME_BYTES = 1 << 16
"""Of an id, a url or a domain, in UTF-8: what is longer is none. Servers take urls of 8 to 64 KiB."""

_PLACES = ("id_field", "url_field", "domain_field")
_KINDS: dict[type, str] = {list: "a list", dict: "an object"}
_WHOLE_DIGITS = 40  # of a decimal; a larger one keeps its exponent
_MAYBE_ROUNDED = re.compile(r"[:,\[]-?[0-9](\.[0-9]+)?e[0-9]")  # a float of JSON above 64 bits may have been an integer


class Packed(NamedTuple):
    """Holds the metadata fields and the column fields of a record, each as a JSON object or None.

    They are None where the settings name none. `lost` names the fields whose values were lost, by place in the
    settings.
    """

    metadata: str | None
    columns: str | None
    lost: tuple[str, ...]  # which JSON cannot carry


_NOTHING = Packed(None, None, ())


def _packed(place: str, names: Iterable[str], values: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """Some of the values as JSON, and the places of those that JSON cannot carry."""
    chosen = {name: None if values[name] is ABSENT else values[name] for name in names}
    packed, lost = pack(chosen) if chosen else (None, [])
    return packed, [f"{place}.{name}" for name in lost]


def _spelled(value: Any) -> Any:
    """An infinity in words, for JSON has none and the conversion to a type is to count it; anything else as it is."""
    return str(value) if isinstance(value, float) and math.isinf(value) else value


class Fields:
    """Makes records from the rows of a shard, by the fields that the settings name."""

    def __init__(self, settings: InputSettings, exact: Callable[[bytes], Any] | None = None) -> None:
        """`exact` reads a row again with its integers as they are written, where a parser may have rounded them."""
        self._settings, self._exact = settings, exact
        self._text = settings.text_field.split(".")
        self._paths = [path.split(".") if path else None for path in map(settings.extra_fields.get, _PLACES)]
        self._packed = [(path, path.split(".")) for path in settings.packed_fields]

    def record(self, row: Mapping[str, Any], offset: int, content: bytes = b"") -> Record | Flaw:
        """Returns the record of a row that was read from `content`, or a flaw that says why not."""
        names, beside = self._beside(row)
        if self._exact and (float in map(type, names) or any(map(_MAYBE_ROUNDED.search, filter(None, beside[:2])))):
            names, beside = self._beside(self._exact(content))
        return self.made(find(row, self._text), names, beside, offset)

    def _beside(self, row: Mapping[str, Any]) -> tuple[list[Any], Packed]:
        names = [find(row, path) if path else ABSENT for path in self._paths]
        return names, self.pack({name: find(row, path) for name, path in self._packed})

    def pack(self, values: Mapping[str, Any]) -> Packed:
        """Returns the metadata fields and the column fields as JSON, with null for ABSENT values."""
        if not values:
            return _NOTHING
        metadata, lost = _packed("metadata_fields", self._settings.metadata_fields, values)
        columns, lost_columns = _packed("columns", self._settings.columns, {n: _spelled(v) for n, v in values.items()})
        return Packed(metadata, columns, (*lost, *lost_columns))

    def made(self, text: Any, names: Sequence[Any], beside: Packed, offset: int) -> Record | Flaw:
        """Returns the record of a text with its id, url, domain and packed fields, or a flaw.

        `names` are the id, url and domain, ABSENT where the row has none.
        """
        content = _content(text, self._settings, offset)
        if isinstance(content, Flaw):
            return content
        record_id, url, domain = _name(names[0]), _url(names[1]), _name(names[2])
        record = Record(content, offset, record_id, url, domain, beside.metadata, beside.columns)
        if beside.lost or record_id is UNREADABLE or url is UNREADABLE or domain is UNREADABLE:
            names = record[2:5]
            bad = [place for place, name in zip(_PLACES, names, strict=True) if name is UNREADABLE]
            record_id, url, domain = (None if name is UNREADABLE else name for name in names)
            places = (*bad, *beside.lost)
            record = record._replace(record_id=record_id, url=url, domain=domain, unusable=places)
        return checked(record, self._settings)


def find(row: Mapping[str, Any], path: list[str]) -> Any:
    """Returns the value at a path in a row, ABSENT where there is none.

    A key with dots in it goes before nested objects.
    """
    if len(path) == 1:
        return row.get(path[0], ABSENT)
    value: Any = row.get(".".join(path), ABSENT)
    if value is not ABSENT:
        return value
    value = row
    for key in path:
        if not isinstance(value, Mapping):
            return ABSENT
        value = value.get(key, ABSENT)
    return value


def _content(text: Any, settings: InputSettings, offset: int) -> bytes | Flaw:
    """The text in UTF-8, or why it is none."""
    if isinstance(text, str):
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            detail = f"{settings.text_field!r}, character {error.start}"
            return Flaw("error", "lone_surrogate", detail, offset)
    where = repr(settings.text_field)
    if isinstance(text, bytes):
        return not_utf8(text, where, offset, wide=False) or text
    if text is ABSENT:
        return Flaw("error", "missing_field", f"no field {where}", offset)
    if text is None:
        return Flaw("error", "null_text", f"{where} is null", offset)
    if isinstance(text, TooLong):
        return too_large(text.size, settings.max_document_bytes, offset)
    if text is UNREADABLE:
        return Flaw("error", "unreadable_text", f"{where} is there and cannot be read", offset)
    return Flaw(
        "error", "wrong_type", f"{where} must be a string, got {_KINDS.get(type(text), type(text).__name__)}", offset
    )


def _url(value: Any) -> Any:
    """A url: a string; None where it is absent, null or empty, UNREADABLE where it is anything else."""
    if isinstance(value, str):
        return _bounded(value)
    if value is None or value is ABSENT or (isinstance(value, float) and math.isnan(value)):
        return None
    return _bounded(value.decode()) if isinstance(value, bytes) and first_bad_byte(value) is None else UNREADABLE


def _name(value: Any) -> Any:
    """An id or a domain: a string, or what prints as one; as `_url` where there is none."""
    if isinstance(value, str):
        return _bounded(value)
    if value is None or value is ABSENT:
        return None
    if isinstance(value, bytes):
        text = text_or_hex(value)
        return _bounded(text if text.isprintable() else value.hex())
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return None if math.isnan(value) else _number(value)
    return _bounded(_decimal(value)) if isinstance(value, Decimal) else UNREADABLE


def _number(value: float) -> Any:
    """Whole numbers as integers print, for a column of integers with a null becomes one of floats."""
    if math.isinf(value):
        return UNREADABLE
    return str(int(value)) if value.is_integer() and abs(value) < 1 << 63 else repr(value)


def _decimal(value: Decimal) -> str:
    if value.is_finite() and abs(value.adjusted()) < _WHOLE_DIGITS and value == value.to_integral_value():
        return str(int(value))
    return str(value)


def _bounded(value: str) -> Any:
    """The string, None where it is empty, UNREADABLE where it is too long or not Unicode."""
    if not value.isascii():
        try:
            return value if len(value.encode()) <= MOST_NAME_BYTES else UNREADABLE
        except UnicodeEncodeError:
            return UNREADABLE
    return (value or None) if len(value) <= MOST_NAME_BYTES else UNREADABLE
