"""Reads a file in decompressed blocks of bounded memory, and goes on after damage where possible.

A compressed file is a row of members: gzip members, zstd frames, bzip2 and xz streams. A member that cannot
be decompressed gives what could be read of it, then a `Flaw`, and reading goes on at the next member.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, NamedTuple, Protocol, cast

from zlib_ng import zlib_ng

from siftlm.readers.records import EXPANDS, Flaw
from siftlm.readers.settings import Compression
from siftlm.readers.zstd import (
    MAX_DICTIONARY_BYTES,
    MAX_WINDOW_BYTES,
    WindowError,
    ZstdMember,
    dictionary_bytes,
    read_dictionary,
)

READ_BYTES = 1 << 16
BLOCK_BYTES = 1 << 20
"""The most that one step of decompression may give: a bomb is read as slowly as anything else of its size."""

FREE_BYTES = 64 << 20  # what any file may unpack to: so much is read in a second
_XZ_MEMORY_BYTES = 256 << 20  # for all but a longer dictionary: xz -9 needs 65 MiB in all
_PROBE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """Holds some bytes of a file's decompressed content.

    `member` is the file offset of the compressed member that they are from, `first` whether they begin it.
    """

    content: bytes
    member: int
    first: bool


class Member(Protocol):
    """Decompresses one member of a compressed file, with the interface of `bz2.BZ2Decompressor`."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class GzipMember:
    """Wraps zlib-ng's decompressor in the interface of `bz2.BZ2Decompressor`.

    It gives what zlib gives, of damaged members too, in less time. `wbits` is as in zlib: for gzip, for
    zlib's own header or for none.
    """

    eof, needs_input, unused_data = False, True, b""

    def __init__(self, wbits: int = 31) -> None:
        self._stream = zlib_ng.decompressobj(wbits=wbits)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        tail = self._stream.unconsumed_tail
        content = self._stream.decompress(tail + data if tail else data, max_length)
        self.eof, self.unused_data = self._stream.eof, self._stream.unused_data
        full = len(content) == max_length and not self.eof
        self.needs_input = not full and not self._stream.unconsumed_tail
        return content


class Codec(NamedTuple):
    """Describes a compression: the bytes with which its members begin, and how to decompress one."""

    magics: tuple[bytes, ...]
    open_member: Callable[[], Member]


# A frame, or one of the sixteen skippable frames (RFC 8878, 3.1.1 and 3.1.2).
_ZSTD_MAGICS = (b"\x28\xb5\x2f\xfd", *(bytes([n]) + b"\x2a\x4d\x18" for n in range(0x50, 0x60)))
_BZIP2_MARKS = (b"1AY&SY", b"\x17rE8P\x90")  # a block of content, or the end of an empty stream

CODECS: dict[Compression, Codec] = {
    "gzip": Codec((b"\x1f\x8b\x08",), GzipMember),
    "zstd": Codec(_ZSTD_MAGICS, ZstdMember),
    "bzip2": Codec(tuple(b"BZh%d" % n + mark for n in range(1, 10) for mark in _BZIP2_MARKS), bz2.BZ2Decompressor),
    "xz": Codec((b"\xfd7zXZ\x00",), lzma.LZMADecompressor),
}

_GZIP_ERROR = cast(type[Exception], zlib_ng.error)  # its stub makes it an instance
DAMAGE = (_GZIP_ERROR, lzma.LZMAError, OSError, EOFError, ValueError)  # what decompressors raise on bad content


def codec_of(compression: Compression, window: int, opening: bytes = b"") -> Codec:
    """Returns how to decompress a file with this compression.

    `opening` is the beginning of the file where that is a dictionary.

    Raises:
        ValueError: there is a dictionary, and it cannot be read.
    """
    codec = CODECS[compression]
    if compression == "zstd":
        dictionary = read_dictionary(opening) if dictionary_bytes(opening) else None
        return codec._replace(open_member=partial(ZstdMember, window, dictionary))
    if compression == "xz":
        memory = max(_XZ_MEMORY_BYTES, window)
        return codec._replace(open_member=partial(lzma.LZMADecompressor, memlimit=memory))
    return codec


def compression_of(head: bytes) -> Compression:
    """Returns the compression that the first bytes of a file announce, or `none`."""
    return next((name for name, codec in CODECS.items() if head.startswith(codec.magics)), "none")


def most_bytes(size: int, expansion: int) -> int:
    """Returns how many bytes a file of `size` bytes may decompress to."""
    return max(FREE_BYTES, expansion * size)


def read_blocks(
    file: BinaryIO, compression: Compression, expansion: int, start: int = 0, *, window: int = MAX_WINDOW_BYTES
) -> Iterator[Block | Flaw]:
    """Yields the decompressed content of a file in blocks of about 1 MiB, and flaws where it is damaged.

    It begins at byte `start` of the file. Content that comes to more than `expansion` times what was read for it, a
    bomb, ends with a flaw. A member that needs a `window` of more bytes is one, too.
    """
    file.seek(start)
    if compression == "none":
        offset = start
        while content := file.read(READ_BYTES):
            yield Block(content, offset, False)
            offset += len(content)
        return
    source, given = _Source(file, start), 0
    for block in _packed_blocks(source, compression, window):
        given += len(block.content) if isinstance(block, Block) else 0
        if isinstance(block, Block) and given > most_bytes(source.offset - start, expansion):
            detail = f"{given} bytes out of {source.offset - start} (max_expansion); the rest is not read"
            yield Flaw("error", EXPANDS, detail, block.member)
            return
        yield block


def _packed_blocks(source: _Source, compression: Compression, window: int) -> Iterator[Block | Flaw]:
    """The blocks of all members from the source on, with the dictionary that a zstd file may begin with."""
    codec = codec_of(compression, window)
    try:
        codec = codec_of(compression, window, opening(source.file))
    except ValueError as error:  # frames that need it are flaws of their own
        if source.offset == 0:
            yield Flaw("error", "corrupt_zstd", f"the dictionary at byte 0 cannot be read: {error}", 0)
    yield from _member_blocks(source, codec, compression)


def opening(file: BinaryIO) -> bytes:
    """Returns the dictionary frame that a zstd file begins with, or the first bytes of any other file.

    Raises:
        ValueError: the dictionary is too long.
    """
    file.seek(0)
    head = file.read(8)
    size = dictionary_bytes(head)
    if size > MAX_DICTIONARY_BYTES:
        raise ValueError(f"a dictionary has at most {MAX_DICTIONARY_BYTES} bytes, got {size}")
    return head + file.read(max(0, size - len(head)))


class _Source:
    """Gives the raw bytes of a file; seeking inside what was read last costs nothing."""

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self.offset = self._chunk_at = offset
        self.file, self._chunk = file, b""

    def take(self) -> bytes:
        """Returns the next bytes, as many as are at hand; none at the end of the file."""
        content = self._at_hand(1)
        self.offset += len(content)
        return content

    def peek(self, size: int) -> bytes:
        """Returns the next `size` bytes without taking them; fewer at the end of the file."""
        return self._at_hand(size)[:size]

    def _at_hand(self, size: int) -> bytes:
        at = self.offset - self._chunk_at
        if not 0 <= at <= len(self._chunk) - size:
            self.file.seek(self.offset)
            self._chunk, self._chunk_at, at = self.file.read(max(size, READ_BYTES)), self.offset, 0
        return self._chunk[at:] if at else self._chunk


def _member_blocks(source: _Source, codec: Codec, name: str) -> Iterator[Block | Flaw]:
    while head := source.peek(max(map(len, codec.magics))):
        start = source.offset
        if head.startswith(codec.magics):
            yield from _read_member(source, codec, name)
        elif _only_zeros(source):  # tape blocks and some downloaders pad files with zeros
            return
        elif any(magic.startswith(head) for magic in codec.magics):
            yield _truncated(name, start)
            return
        else:
            yield _skip_to_member(source, codec, name, start, "no member begins here")


def _truncated(name: str, start: int) -> Flaw:
    return Flaw("error", f"truncated_{name}", f"the file ends inside the member at byte {start}", start)


def _only_zeros(source: _Source) -> bool:
    """Whether nothing but zeros is left; the source is where it was."""
    start, zeros = source.offset, True
    while zeros and (content := source.take()):
        zeros = not content.strip(b"\0")
    source.offset = start
    return zeros


def _read_member(source: _Source, codec: Codec, name: str) -> Iterator[Block | Flaw]:
    """The blocks of the member at the source, which is then behind it; a flaw where it is damaged."""
    start, member, given, step = source.offset, codec.open_member(), 0, source.offset
    while not member.eof:
        compressed = b""
        if member.needs_input:
            step = source.offset
            compressed = source.take()
            if not compressed:  # damage may hide its end, so that it runs on over those behind it; else the file is cut
                flaw = _skip_to_member(source, codec, name, start, "it has no end")
                yield flaw if source.peek(1) else _truncated(name, start)
                return
        try:
            content = member.decompress(compressed, BLOCK_BYTES)
        except DAMAGE as error:
            yield from _salvage(source, codec, start, step, given)
            flaw = _skip_to_member(source, codec, name, start, str(error))
            yield flaw._replace(reason="zstd_window_too_large") if isinstance(error, WindowError) else flaw
            return
        if content:
            yield Block(content, start, given == 0)
        given += len(content)
    source.offset -= len(member.unused_data)


def _salvage(source: _Source, codec: Codec, start: int, step: int, given: int) -> Iterator[Block]:
    """What a damaged member gives before its damage, beyond the `given` bytes that are out already.

    A decompressor that fails keeps what it had decompressed in that step. So the member is read again, from
    byte `step` of the file on byte by byte, to lose nothing.
    """
    source.offset = start
    member, seen, kept = codec.open_member(), 0, bytearray()
    try:
        for piece in _pieces(source, step):
            content = member.decompress(piece, BLOCK_BYTES)
            while content:
                kept += content[max(given - seen, 0) :]
                seen += len(content)
                content = b"" if member.needs_input or member.eof else member.decompress(b"", BLOCK_BYTES)
            if len(kept) >= BLOCK_BYTES:
                yield Block(bytes(kept), start, seen == len(kept))
                kept.clear()
    except DAMAGE:
        pass  # the flaw that the caller reports
    if kept:
        yield Block(bytes(kept), start, seen == len(kept))


def _pieces(source: _Source, step: int) -> Iterator[bytes]:
    """What is left of the source: in large pieces up to byte `step` of the file, from there in single bytes."""
    while compressed := source.take():
        large = max(step - (source.offset - len(compressed)), 0)
        if large:
            yield compressed[:large]
        for at in range(large, len(compressed)):
            yield compressed[at : at + 1]


def _skip_to_member(source: _Source, codec: Codec, name: str, start: int, detail: str) -> Flaw:
    """Puts the source at the next member that can be read, or at the end; tells what was lost."""
    source.offset = start + 1
    where = "nothing readable follows"
    if (offset := _find_member(source, codec)) is not None:
        source.offset, where = offset, f"reading goes on at byte {offset}"
    return Flaw("error", f"corrupt_{name}", f"member at byte {start}: {detail}; {where}", start)


def _find_member(source: _Source, codec: Codec) -> int | None:
    """Where the next member begins; None, and the source at its end, where there is none."""
    window = b""
    while content := source.take():
        window += content
        tail = _PROBE_BYTES if source.peek(1) else 0
        for at in sorted(_all_positions(window, codec.magics)):
            if at < len(window) - tail and _opens(codec, window[at : at + _PROBE_BYTES]):
                return source.offset - len(window) + at
        window = window[len(window) - tail :] if len(window) > tail else window
    return None


def _all_positions(window: bytes, magics: tuple[bytes, ...]) -> Iterator[int]:
    for magic in magics:
        at = window.find(magic)
        while at >= 0:
            yield at
            at = window.find(magic, at + 1)


def _opens(codec: Codec, head: bytes) -> bool:
    """Whether a member that begins with `head` decompresses so far; chance bytes hardly ever do."""
    try:
        codec.open_member().decompress(head, 1 << 16)
    except DAMAGE:
        return False
    return True
