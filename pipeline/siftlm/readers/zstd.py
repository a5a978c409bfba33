"""Decompresses a zstd frame block by block, with bounded output, and finds where the frame ends."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import BinaryIO

import zstandard

MAX_WINDOW_BYTES = 1 << 31
"""The largest window that the library can read: `zstd --long=31`. Memory is touched as far as there is content."""

DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"
"""A skippable frame at the start of a .warc.zst file that holds the dictionary of all other frames, maybe compressed
(IIPC, "Use of Zstandard compression in WARC files")."""

MAX_DICTIONARY_BYTES = 64 << 20  # zstd trains dictionaries of 110 KB; the Internet Archive's have a few megabytes
_FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC = b"\x2a\x4d\x18"
_RLE, _RESERVED = 1, 3  # kinds of blocks
_MOST_HEADER_BYTES = 18  # of a frame
FIRST_BYTES = 64 << 20  # a first frame that goes on for so long is taken for the only one


class WindowError(ValueError):
    """Reports that a frame needs more memory than the configuration allows."""


def dictionary_bytes(head: bytes) -> int:
    """Returns how many bytes the dictionary frame at the start of a file takes; 0 without one."""
    return 8 + int.from_bytes(head[4:8], "little") if len(head) >= 8 and head.startswith(DICTIONARY_MAGIC) else 0


def read_dictionary(frame: bytes) -> zstandard.ZstdCompressionDict:
    """Returns the zstd dictionary that a skippable frame holds.

    Raises:
        ValueError: it is damaged, or holds more than `MAX_DICTIONARY_BYTES`.
    """
    content = frame[8:]
    if len(frame) < dictionary_bytes(frame):
        raise ValueError("the file ends inside it")
    if content.startswith(_FRAME_MAGIC):
        member = ZstdMember(MAX_DICTIONARY_BYTES)
        content = member.decompress(content, MAX_DICTIONARY_BYTES + 1)
        content += member.decompress(b"", 1)  # the checksum, if that is all that is left
        if not member.eof or len(content) > MAX_DICTIONARY_BYTES:
            raise ValueError(f"it is cut or holds more than {MAX_DICTIONARY_BYTES} bytes")
    dictionary = zstandard.ZstdCompressionDict(content)
    try:
        zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return dictionary


def frame_sizes(file: BinaryIO, at: int) -> tuple[int, int] | None:
    """Returns the sizes of the frame at byte `at`, compressed and not; None where it does not tell.

    It is walked block by block, without decompressing; a first frame of more than `FIRST_BYTES` is given up.
    """
    file.seek(at)
    head = file.read(_MOST_HEADER_BYTES)
    if head[1:4] == _SKIPPABLE_MAGIC:
        return 8 + int.from_bytes(head[4:8], "little"), 0
    try:
        parameters = zstandard.get_frame_parameters(head)
        place = at + zstandard.frame_header_size(head)
    except zstandard.ZstdError:
        return None
    end = None if parameters.content_size == zstandard.CONTENTSIZE_UNKNOWN else _last_block(file, place, at)
    return None if end is None else (end + 4 * parameters.has_checksum - at, parameters.content_size)


def _last_block(file: BinaryIO, place: int, start: int) -> int | None:
    """Where the blocks of a frame end, the first of which is at `place`; None where that is too far, or damaged."""
    last = False
    while not last:
        file.seek(place)
        header = file.read(3)
        if len(header) < 3 or (start == 0 and place > FIRST_BYTES):
            return None
        last, kind, size = _block(header)
        if kind == _RESERVED:
            return None
        place += 3 + size
    return place


def _block(header: bytes) -> tuple[bool, int, int]:
    """Whether a block is the last one of its frame, its kind, and how many bytes follow its header."""
    bits = int.from_bytes(header, "little")
    kind = bits >> 1 & 3
    return bool(bits & 1), kind, 1 if kind == _RLE else bits >> 3


class ZstdMember:
    """Decompresses one zstd frame, with the interface of `bz2.BZ2Decompressor`.

    A skippable frame gives nothing. The format is RFC 8878: a frame header, blocks of at most 128 KiB of content each
    behind a 3-byte header, and an optional checksum. Every call gives the content of at most `max_length` bytes worth
    of blocks, at least one.
    """

    def __init__(self, window: int = MAX_WINDOW_BYTES, dictionary: zstandard.ZstdCompressionDict | None = None) -> None:
        self._window, self._dictionary = window, dictionary
        self._input, self._at = bytearray(), 0
        self._in_last_block = False
        self._steps = self._contents()
        self.eof, self.needs_input, self.unused_data = False, True, b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Returns content decompressed from `data` and earlier bytes, about `max_length` bytes at most.

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
        for content in self._steps:
            self.needs_input = content is None
            parts.append(content or b"")
            given += len(parts[-1])
            # The content of the last block is out before its checksum can turn out to be wrong.
            if self.needs_input or given >= max_length or (content and self._in_last_block):
                break
        else:
            self.eof = True
            self.unused_data = bytes(self._input[self._at :])
        return b"".join(parts)

    def _contents(self) -> Iterator[bytes | None]:
        """The content of the frame, block by block; None where more input is needed."""
        head = yield from self._take(8)
        if head[1:4] == _SKIPPABLE_MAGIC:
            yield from self._take(int.from_bytes(head[4:8], "little"))
            return
        self._at -= 8
        try:
            head = yield from self._take(zstandard.frame_header_size(head))
            parameters = zstandard.get_frame_parameters(head)
        except zstandard.ZstdError as error:
            raise ValueError(f"not a zstd frame: {error}") from error
        if parameters.window_size > self._window:
            raise WindowError(f"the window must be at most {self._window} bytes, got {parameters.window_size}")
        try:
            yield from self._blocks(head, 4 if parameters.has_checksum else 0)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error

    def _blocks(self, head: bytes, checksum_bytes: int) -> Iterator[bytes | None]:
        frame = zstandard.ZstdDecompressor(dict_data=self._dictionary, max_window_size=self._window).decompressobj()
        yield frame.decompress(head)
        while not self._in_last_block:
            header = yield from self._take(3)
            last, kind, size = _block(header)
            if kind == _RESERVED:
                raise ValueError("a block of a reserved kind")
            block = yield from self._take(size)
            self._in_last_block = last
            yield frame.decompress(header + block)
        checksum = yield from self._take(checksum_bytes)
        yield frame.decompress(checksum) if checksum else b""

    def _take(self, size: int) -> Generator[None, None, bytes]:
        """The next `size` bytes; None while they are not there."""
        while len(self._input) - self._at < size:
            yield None
        self._at += size
        return bytes(self._input[self._at - size : self._at])
