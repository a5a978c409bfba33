"""Decompresses a zstd frame block by block: output is bounded, the end of the frame is known."""

from __future__ import annotations

import zstandard

MAX_WINDOW_BYTES = 1 << 31
"""The largest window that the library can read: `zstd --long=31`. Memory is touched as far as there is content."""

DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"
"""A skippable frame at the start of a .warc.zst file that holds the dictionary of all other frames, maybe compressed
(IIPC, "Use of Zstandard compression in WARC files")."""

MAX_DICTIONARY_BYTES = 64 << 20  # zstd trains dictionaries of 110 KB; the Internet Archive's have a few megabytes
_FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC = b"\x2a\x4d\x18"
_LONGEST_HEADER = 18
_RLE, _RESERVED = 1, 3  # kinds of blocks


class WindowError(ValueError):
    """A frame asks for more memory than the configuration allows."""


def dictionary_bytes(head: bytes) -> int:
    """Returns the bytes that a dictionary at the start of a file takes with its frame, or 0."""
    return 8 + int.from_bytes(head[4:8], "little") if len(head) >= 8 and head.startswith(DICTIONARY_MAGIC) else 0


def read_dictionary(frame: bytes) -> zstandard.ZstdCompressionDict:
    """Returns the dictionary in a skippable frame.

    Raises:
        ValueError: it is damaged, or holds more than `MAX_DICTIONARY_BYTES`.
    """
    content = frame[8:]
    if len(frame) < dictionary_bytes(frame):
        raise ValueError("the file ends inside it")
    if content.startswith(_FRAME_MAGIC):
        member, packed, content = ZstdMember(MAX_DICTIONARY_BYTES), content, b""
        while not (member.eof or (member.needs_input and not packed)) and len(content) <= MAX_DICTIONARY_BYTES:
            content += member.decompress(packed, MAX_DICTIONARY_BYTES)
            packed = b""
        if not member.eof:
            raise ValueError(f"it is cut or holds more than {MAX_DICTIONARY_BYTES} bytes")
    dictionary = zstandard.ZstdCompressionDict(content)
    try:
        zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return dictionary


class ZstdMember:
    """One frame, with the interface of `bz2.BZ2Decompressor`; a skippable frame gives nothing.

    The format is RFC 8878: a frame header, blocks of at most 128 KiB of content each behind a 3-byte header,
    and an optional checksum. Every call gives the content of at most `max_length` bytes worth of blocks, at
    least one.
    """

    def __init__(self, window: int = MAX_WINDOW_BYTES, dictionary: zstandard.ZstdCompressionDict | None = None) -> None:
        self._window, self._dictionary = window, dictionary
        self._input = bytearray()
        self._at = 0
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._checksum_bytes = 0
        self._ending = False
        self.eof = False
        self.unused_data = b""
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Returns content that `data` and what came before it give, up to about `max_length` bytes.

        Raises:
            WindowError: the frame needs a larger window than is allowed.
            ValueError: the frame is damaged.
        """
        del self._input[: self._at]
        self._input += data
        self._at = 0
        self.needs_input = False
        parts: list[bytes] = []
        given = 0
        while not self.eof and not self.needs_input and given < max_length:
            content = self._step()
            parts.append(content)
            given += len(content)
            if self._ending and content:
                break  # so that the content is out before its checksum can turn out to be wrong
        if self.eof:
            self.unused_data = bytes(self._input[self._at :])
        return b"".join(parts)

    def _step(self) -> bytes:
        if self._frame is None:
            return self._begin()
        return self._end(self._frame) if self._ending else self._next_block(self._frame)

    def _take(self, size: int) -> bytes | None:
        """The next `size` bytes; None, and `needs_input`, while they are not there."""
        if len(self._input) - self._at < size:
            self.needs_input = True
            return None
        self._at += size
        return bytes(self._input[self._at - size : self._at])

    def _begin(self) -> bytes:
        head = bytes(self._input[self._at : self._at + _LONGEST_HEADER])
        if len(head) < 8:
            self.needs_input = True
            return b""
        if head[1:4] == _SKIPPABLE_MAGIC:
            return self._skip(8 + int.from_bytes(head[4:8], "little"))
        try:
            size = zstandard.frame_header_size(head)
            if len(head) < size:
                self.needs_input = True
                return b""
            facts = zstandard.get_frame_parameters(head)
        except zstandard.ZstdError as error:
            raise ValueError(f"not a zstd frame: {error}") from error
        if facts.window_size > self._window:
            raise WindowError(f"the window must be at most {self._window} bytes, got {facts.window_size}")
        self._checksum_bytes = 4 if facts.has_checksum else 0
        reader = zstandard.ZstdDecompressor(dict_data=self._dictionary, max_window_size=self._window)
        self._frame = reader.decompressobj()
        return self._feed(self._frame, self._take(size) or b"")

    def _skip(self, size: int) -> bytes:
        if self._take(size) is not None:
            self.eof = True
        return b""

    def _next_block(self, frame: zstandard.ZstdDecompressionObj) -> bytes:
        header = self._input[self._at : self._at + 3]
        if len(header) < 3:
            self.needs_input = True
            return b""
        bits = int.from_bytes(header, "little")
        last, kind, size = bits & 1, bits >> 1 & 3, bits >> 3
        if kind == _RESERVED:
            raise ValueError("a block of a reserved kind")
        block = self._take(3 + (1 if kind == _RLE else size))
        self._ending = bool(last) and block is not None
        return self._feed(frame, block or b"")

    def _end(self, frame: zstandard.ZstdDecompressionObj) -> bytes:
        checksum = self._take(self._checksum_bytes)
        self.eof = checksum is not None
        return self._feed(frame, checksum or b"")

    def _feed(self, frame: zstandard.ZstdDecompressionObj, compressed: bytes) -> bytes:
        if not compressed:
            return b""
        try:
            return bytes(frame.decompress(compressed))
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
