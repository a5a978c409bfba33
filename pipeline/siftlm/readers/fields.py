"""From a row of named values, as JSON and Parquet have them, to a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from siftlm.readers.records import Flaw, Record, checked
from siftlm.readers.settings import InputSettings

_ABSENT = object()


class _BadFieldError(Exception):
    """A field whose value cannot be used: the reason and the detail of its flaw."""


class Fields:
    """Which fields of a row become the columns of a record, prepared once a shard."""

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._text = _split(settings.text_field)
        self._names = [
            None if path is None else _split(path)
            for path in (settings.id_field, settings.url_field, settings.domain_field)
        ]
        self._metadata = [_split(path) for path in settings.metadata_fields]

    def record(self, row: Mapping[str, Any], offset: int) -> Record | Flaw:
        """The record of a row, or the reason why it is none."""
        try:
            text = _text(row, self._text)
            record_id, url, domain = (None if path is None else _name(row, path) for path in self._names)
            metadata = self._pack(row) if self._metadata else None
        except _BadFieldError as error:
            reason, detail = error.args
            return Flaw("error", reason, detail, offset)
        return checked(Record(text, offset, record_id, url, domain, metadata), self._settings)

    def _pack(self, row: Mapping[str, Any]) -> str:
        values = {".".join(path): find(row, path) for path in self._metadata}
        present = {name: None if value is _ABSENT else value for name, value in values.items()}
        try:
            return orjson.dumps(present, default=_plain).decode()
        except TypeError as error:
            raise _BadFieldError("bad_metadata", str(error)) from error


def find(row: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a path; a key that has dots in it goes before the objects that the dots would name."""
    if len(path) == 1:
        return row.get(path[0], _ABSENT)
    value: Any = row.get(".".join(path), _ABSENT)
    if value is not _ABSENT:
        return value
    value = row
    for key in path:
        if not isinstance(value, Mapping):
            return _ABSENT
        value = value.get(key, _ABSENT)
    return value


def _split(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _text(row: Mapping[str, Any], path: tuple[str, ...]) -> bytes:
    """The text in UTF-8."""
    value = find(row, path)
    where = ".".join(path)
    if isinstance(value, str):
        return _encode(value, where)
    if isinstance(value, bytes):
        _decode(value, where)
        return value
    if value is _ABSENT:
        raise _BadFieldError("missing_field", f"no field {where!r}")
    if value is None:
        raise _BadFieldError("null_text", f"{where!r} is null")
    raise _BadFieldError("wrong_type", f"{where!r} must be a string, got {type(value).__name__}")


def _name(row: Mapping[str, Any], path: tuple[str, ...]) -> str | None:
    """An id, a url or a domain: a string or a whole number; None where it is absent, null or empty."""
    value = find(row, path)
    if value is _ABSENT or value is None:
        return None
    where = ".".join(path)
    if isinstance(value, bytes):
        return _decode(value, where) or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _BadFieldError("wrong_type", f"{where!r} must be a string, got {type(value).__name__}")
    _encode(value, where)
    return value or None


def _encode(value: str, where: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise _BadFieldError("lone_surrogate", f"{where!r}, character {error.start}") from error


def _decode(value: bytes, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _BadFieldError("bad_utf8", f"{where!r}, byte {error.start}") from error


def _plain(value: object) -> str:
    """How JSON carries what it has no type for: binary as text, decimals and intervals as they print."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
