"""Decodes the body of an HTTP response (chunks, gzip, deflate, brotli, zstd) in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import brotli

from siftlm.readers.headers import header_lines
from siftlm.readers.mime import charset_parameter, essence, is_binary
from siftlm.readers.streams import DAMAGE, GzipMember, Member
from siftlm.readers.zstd import ZstdMember

_MAX_CODINGS = 5  # as curl has it
_WINDOW_BYTES = 128 << 20  # of zstd; RFC 9659 allows 8 MiB, some servers use more

_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_STATUS = re.compile(rb"HTTP/\d++(?:\.\d++)?[ \t]++([1-9]\d\d)(?!\d)[^\n]*+(?:\n|\Z)", re.IGNORECASE)
_HEADER_END = re.compile(rb"(?<=\n)\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*+([0-9a-fA-F]{1,15})[ \t]*+(?:;[^\r\n]*+)?\r?\n")
_CUT_SIZE = re.compile(rb"[ \t]*+[0-9a-fA-F]{0,15}[ \t]*+(?:;[^\r\n]*+)?\r?\Z")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*+(?:;[^\r\n]*+)?\r\n")
_LAST_CHUNK = re.compile(rb"0++[ \t]*+(?:;[^\r\n]*+)?\r\n(?:[!-9;-~]++:[^\r\n]*+\r\n)*+(?:\r\n)?\Z")
_LINE_END = re.compile(rb"\r?\n|\r\Z")


class PageError(Exception):
    """Reports why a response gives no text, by the reason and the detail of its flaw."""


class CodingError(ValueError):
    """Reports that a body is not in the coding that its header names, or is damaged."""


@dataclass(frozen=True, slots=True)
class Response:
    """Holds an HTTP response with its body decoded as its headers say.

    `misread` names a coding that the body turned out not to be in, with the error.
    """

    status: int | None
    content_type: str | None
    charset: str | None
    headers: dict[str, str]
    body: bytes
    misread: str | None = None


def parse_response(block: bytes, limit: int) -> Response:
    """Returns the HTTP response in a record's block, with at most `limit` + 1 bytes of decoded body.

    Crawlers often keep the headers of an encoding that they have undone. So a coding that the body is not in is
    passed over. Some leave out the header of chunks that they keep: what is chunks from end to end is taken for such.

    Raises:
        PageError: it is not HTTP, or has too many codings, or its chunks are damaged.
    """
    status, fields, body = _split(block)
    codings = [
        coding
        for wanted in ("content-encoding", "transfer-encoding")  # in the order that they were applied
        for name, value in fields
        if name == wanted
        for coding in value.lower().replace(" ", "").split(",")
        if coding not in ("", "identity")
    ]
    if "chunked" not in codings and _is_chunked(body):
        codings.append("chunked")
    body, misread = _decoded(body, codings, limit)
    headers = dict(fields)
    types = [value for name, value in fields if name == "content-type"]
    content_type = next((value for value in reversed(types) if essence(value)), headers.get("content-type"))
    mime, charset = essence(content_type), charset_parameter(content_type)
    return Response(status, mime, charset, headers, body, misread)


def _split(block: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """The status, the header fields and the body of a response, behind interim ones such as `100 Continue`.

    Bare LFs end lines too, as browsers and RFC 9112, 2.2, have it.
    """
    start = 0
    while status := _STATUS.match(block, start):
        end = _HEADER_END.search(block, status.end() - 1)
        head, start = block[status.end() : end.start() if end else len(block)], end.end() if end else len(block)
        if not (status[1].startswith(b"1") and _STATUS.match(block, start)):
            return int(status[1]), header_lines(head), block[start:]
    raise PageError("bad_http", "no HTTP status line")


def _decoded(body: bytes, codings: list[str], limit: int) -> tuple[bytes, str | None]:
    """At most `limit` + 1 bytes of what the codings, the last one last, were applied to, and what was passed over."""
    if len(codings) > _MAX_CODINGS:
        raise PageError("bad_content_encoding", f"{len(codings)} codings, more than {_MAX_CODINGS}")
    misread = None
    for place, coding in enumerate(reversed(codings), 1):
        most = limit if place == len(codings) else 2 * limit + (1 << 16)  # a page is not longer when it is packed
        try:
            body = _CODINGS.get(coding, _unknown)(body, most)
        except CodingError as error:
            misread = f"{coding}: {error}"
    return body[: limit + 1], misread


def _unknown(_body: bytes, _limit: int) -> bytes:
    raise CodingError("unknown coding")


def revealed(body: bytes, limit: int) -> bytes:
    """Decompresses a body that is compressed though no header says so; returns any other unchanged.

    gzip and zstd are known by their first bytes; deflate and brotli have none, so all of the body has to decode,
    and to text.

    Raises:
        PageError: it is compressed beyond doubt, and damaged.
    """
    for _ in range(_MAX_CODINGS):
        if body.startswith((_GZIP_MAGIC, _ZSTD_MAGIC)):
            try:
                body = _CODINGS["gzip" if body.startswith(_GZIP_MAGIC) else "zstd"](body, limit)
            except CodingError as error:
                raise PageError("bad_content_encoding", str(error)) from error
        elif is_binary(body) and (text := next(filter(None, (undo(body, limit) for undo in _UNTOLD)), None)):
            body = text
        else:
            break
    return body


def _unpacked(open_member: Callable[[], Member], body: bytes, limit: int, magic: bytes = b"") -> tuple[bytes, bool]:
    """At most `limit` + 1 bytes of the members in a body, and whether the body is no more than cut.

    What follows the last member is not looked at, as browsers do not.
    """
    content = bytearray()
    rest = body
    while len(content) <= limit and (rest is body or (magic and rest.startswith(magic))):
        member, piece = open_member(), rest
        while not member.eof and len(content) <= limit:
            try:
                given = member.decompress(piece, limit + 1 - len(content))
            except DAMAGE as error:
                raise CodingError(str(error)) from error
            content += given
            piece = b""
            if not given and not member.eof and member.needs_input:
                return bytes(content), True
        rest = member.unused_data
    return bytes(content[: limit + 1]), False


def _members(open_member: Callable[[], Member], magic: bytes, body: bytes, limit: int) -> bytes:
    """The content of a body that may be cut: a crawler that stops at a size has the beginning of the page."""
    content, cut = _unpacked(open_member, body, limit, magic)
    if cut and not content:
        raise CodingError("the body is cut before its first byte")
    return content


def _deflate(body: bytes, limit: int) -> bytes:
    """With the header of zlib, as RFC 9110 has it, or without, as some servers send it."""
    try:
        return _members(partial(GzipMember, 15), b"", body, limit)
    except CodingError as error:
        return _unmarked(partial(GzipMember, -15), str(error), body, limit)


def _unmarked(open_member: Callable[[], Member], complaint: str, body: bytes, limit: int) -> bytes:
    """The content of a body in a coding without a magic number: nearly any bytes give some content as such."""
    content, cut = _unpacked(open_member, body, limit)
    if not content or (cut and (is_binary(content) or not is_binary(body))):
        raise CodingError(complaint)
    return content


def _whole_text(open_member: Callable[[], Member], body: bytes, limit: int) -> bytes | None:
    """The content of a body of this coding if that is text to its end; None otherwise."""
    try:
        content, cut = _unpacked(open_member, body, limit)
    except CodingError:
        return None
    return None if cut or is_binary(content) else content


class BrotliMember:
    """Wraps brotli's decompressor in the interface of `bz2.BZ2Decompressor`."""

    eof, needs_input, unused_data = False, True, b""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            content = bytes(self._stream.process(data, output_buffer_limit=max_length))
        except brotli.error as error:
            raise ValueError(str(error)) from error
        self.eof = bool(self._stream.is_finished())
        self.needs_input = bool(self._stream.can_accept_more_data())
        return content


def _dechunked(body: bytes, _limit: int) -> bytes:
    """A body without the sizes of its chunks, as far as it goes: one that is cut ends in the middle of a chunk.

    Raises:
        CodingError: the body does not begin with a chunk.
        PageError: a chunk does not end where its size says.
    """
    parts: list[bytes] = []
    at = 0
    while at < len(body) and not (at and _CUT_SIZE.match(body, at)):
        header = _CHUNK_SIZE.match(body, at)
        if header is None:
            raise _damaged_chunks(at)
        size = int(header[1], 16)
        if size == 0:
            break
        at = header.end() + size
        parts.append(body[header.end() : at])
        end = _LINE_END.match(body, at)
        if at < len(body) and not end:
            raise _damaged_chunks(at)
        at = end.end() if end else at
    return b"".join(parts)


def _is_chunked(body: bytes) -> bool:
    """Whether all of a body is chunks, as RFC 9112, 7.1, has them to the letter, behind at least one the last."""
    at = 0
    while header := _CHUNK.match(body, at):
        size = int(header[1], 16)
        if size == 0:
            return at > 0 and _LAST_CHUNK.match(body, at) is not None
        at = header.end() + size + 2
        if body[at - 2 : at] != b"\r\n":
            return False
    return False


def _damaged_chunks(at: int) -> Exception:
    detail = f"a chunk should begin or end at byte {at} of the body"
    return PageError("bad_content_encoding", detail) if at else CodingError(detail)


_UNTOLD = [partial(_whole_text, member) for member in (partial(GzipMember, 15), BrotliMember, partial(GzipMember, -15))]
"""Undo codings that no first bytes tell of, the likeliest first."""

_gzip = partial(_members, GzipMember, _GZIP_MAGIC)
_CODINGS: dict[str, Callable[[bytes, int], bytes]] = {
    "chunked": _dechunked,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": partial(_unmarked, BrotliMember, "not brotli, or cut before its first byte"),
    "zstd": partial(_members, partial(ZstdMember, _WINDOW_BYTES), _ZSTD_MAGIC),
}
"""Transfer and content codings (RFC 9110, 8.4.1), undone as far as a limit: a bomb has no end."""
