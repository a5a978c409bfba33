"""Decompression in bounded memory, over damage."""

from __future__ import annotations

import hashlib
import io
import lzma
import random
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.readers.conftest import PACKS

from siftlm.readers.records import Flaw
from siftlm.readers.streams import BLOCK_BYTES, CODECS, DAMAGE, Block, GzipMember, read_blocks

PACKED = sorted(set(PACKS) - {"none"})


def blocks(content: bytes, compression: str) -> tuple[bytes, list[Flaw]]:
    found = list(read_blocks(io.BytesIO(content), compression, 10_000_000))  # type: ignore[arg-type]
    text = b"".join(block.content for block in found if isinstance(block, Block))
    return text, [fault for fault in found if isinstance(fault, Flaw)]


@pytest.mark.parametrize("pack", sorted(PACKS))
@settings(max_examples=25, deadline=None)
@given(parts=st.lists(st.binary(max_size=5000), max_size=5))
def test_members_one_after_the_other_are_one_content(pack: str, parts: list[bytes]) -> None:
    """Concatenated compressed files are the compressed concatenation, empty ones included."""
    assert blocks(b"".join(map(PACKS[pack], parts)), pack) == (b"".join(parts), [])


@pytest.mark.parametrize("pack", PACKED)
def test_zeros_behind_the_last_member_are_padding(pack: str) -> None:
    """Tapes and object stores pad."""
    assert blocks(PACKS[pack](b"text") + b"\0" * 5000, pack) == (b"text", [])


@pytest.mark.parametrize("pack", PACKED)
def test_garbage_between_members_is_one_fault(pack: str) -> None:
    """What lies between is told by its place, and what follows is read."""
    first, last = PACKS[pack](b"first"), PACKS[pack](b"last")
    text, (fault,) = blocks(first + b"garbage" * 20_000 + last, pack)
    assert text == b"firstlast"
    assert (fault.reason, fault.offset) == (f"corrupt_{pack}", len(first))


@pytest.mark.parametrize("pack", PACKED)
def test_a_bomb_is_read_in_small_blocks(pack: str) -> None:
    """A thousand to one, and memory stays small."""
    bomb = PACKS[pack](bytes(100 << 20))
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    size = 0
    for block in read_blocks(io.BytesIO(bomb), pack, 10_000_000):  # type: ignore[arg-type]
        assert isinstance(block, Block)
        assert len(block.content) <= 2 * BLOCK_BYTES
        size += len(block.content)
    assert size == 100 << 20
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("pack", PACKED)
def test_everything_before_a_cut_is_read_but_a_block_of_the_codec(pack: str) -> None:
    """gzip gives all but some bytes; zstd, bzip2 and xz compress in blocks of up to 128 and 900 KiB."""
    text = b"".join(b"%d\n" % (number * number) for number in range(250_000))
    content = PACKS[pack](text)
    found, (fault,) = blocks(content[: len(content) // 2], pack)
    assert text.startswith(found)
    assert len(found) > len(text) // 2 - (1 << 20)
    assert fault.reason == f"truncated_{pack}"


def test_zstd_frames_of_every_making_are_read() -> None:
    """With and without checksums and sizes, skippable frames, long windows up to 128 MiB."""
    text = b"some text\n" * 50_000
    parts = [b"\x50\x2a\x4d\x18\x04\0\0\0skip"]
    for options in ({}, {"write_checksum": True}, {"write_content_size": False}, {"level": 19}, {"threads": 2}):
        parts.append(zstandard.ZstdCompressor(**options).compress(text))  # type: ignore[arg-type]
    long = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=long).compressobj()
    parts.append(stream.compress(text) + stream.flush())
    assert blocks(b"".join(parts), "zstd") == (text * 6, [])


@pytest.mark.parametrize("window_log", [28, 30, 31])
def test_long_windows_are_read_up_to_the_limit(window_log: int) -> None:
    """What `zstd --long=31` writes is read; a limit below refuses it, and what follows is read all the same."""
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = stream.compress(b"text" * 1000) + stream.flush() + PACKS["zstd"](b"next")
    assert blocks(content, "zstd") == (b"text" * 1000 + b"next", [])
    found = list(read_blocks(io.BytesIO(content), "zstd", 200, window=1 << 27))
    assert isinstance(found[0], Flaw)
    assert found[0].reason == "zstd_window_too_large"
    assert f"at most {1 << 27} bytes, got {1 << window_log}" in found[0].detail
    assert [block.content for block in found[1:] if isinstance(block, Block)] == [b"next"]


def test_a_long_window_is_used_over_its_whole_length() -> None:
    """A repetition 140 MiB apart, which a window of 128 MiB cannot reach, comes out right."""
    rare = random.Random(1).randbytes(1 << 20)
    content = rare + bytes(140 << 20) + rare
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compress(content)
    assert len(packed) < len(rare) + (1 << 18)
    digest = hashlib.sha256()
    for block in read_blocks(io.BytesIO(packed), "zstd", 1000):
        assert isinstance(block, Block)
        digest.update(block.content)
    assert digest.digest() == hashlib.sha256(content).digest()


def test_an_xz_dictionary_of_more_than_256_mib_is_within_the_same_limit() -> None:
    """`xz --lzma2=dict=512MiB` is read, or refused by a lower limit."""
    packer = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}])
    content = bytearray(packer.compress(b"text") + packer.flush())
    at = content.index(b"\x21\x01") + 2  # the filter and the size of its properties; then the dictionary's size
    content[at] = 34  # 512 MiB
    content[20:24] = zlib.crc32(content[12:20]).to_bytes(4, "little")
    assert blocks(bytes(content), "xz") == (b"text", [])
    (fault,) = read_blocks(io.BytesIO(content), "xz", 200, window=1 << 27)
    assert isinstance(fault, Flaw)


def test_magic_numbers_that_begin_nothing_do_not_take_long() -> None:
    """Half a megabyte of false beginnings behind a damaged member is read over."""
    damaged = PACKS["gzip"](b"text")[:12]
    text, faults = blocks(damaged + b"\x1f\x8b\x08\xff" * 130_000 + PACKS["gzip"](b"next"), "gzip")
    assert text.endswith(b"next")
    assert len(faults) == 1


class ZlibMember(GzipMember):
    """The same with the standard library's zlib."""

    def __init__(self, wbits: int = 31) -> None:
        self._stream = zlib.decompressobj(wbits=wbits)


def damaged(content: bytes, randomness: random.Random) -> bytes:
    """The content with a bit turned, a byte replaced, cut, or with bytes taken out or put in."""
    at, changed = randomness.randrange(len(content)), bytearray(content)
    match randomness.randrange(5):
        case 0:
            changed[at] ^= 1 << randomness.randrange(8)
        case 1:
            changed[at] = randomness.randrange(256)
        case 2:
            del changed[at:]
        case 3:
            del changed[at : at + randomness.randrange(1, 200)]
        case 4:
            changed[at:at] = randomness.randbytes(randomness.randrange(1, 50))
    return bytes(changed)


@pytest.fixture(scope="module")
def damaged_files() -> list[bytes]:
    """Files of up to three gzip members of all levels, strategies and kinds of content, each damaged somewhere."""
    randomness, words = random.Random(7), [b"the", b"of", b"river", b"<p>", b"\n", "ß".encode(), b"12"]

    def member() -> bytes:
        size = randomness.choice([0, 1, 50, 500, 5000, 100_000])
        text = b" ".join(randomness.choices(words, k=size // 3 + 1))[:size]
        packer = zlib.compressobj(
            randomness.choice([0, 1, 6, 9]), zlib.DEFLATED, 31, 9, randomness.choice([0, 0, zlib.Z_FIXED, zlib.Z_RLE])
        )
        return packer.compress(randomness.choice([text, text, randomness.randbytes(size)])) + packer.flush()

    files = [b"".join(member() for _ in range(randomness.randrange(1, 4))) for _ in range(400)]
    return [damaged(content, randomness) for content in files]


def test_damaged_gzip_gives_what_zlib_gives(damaged_files: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same content, the same flaws in the same words, whatever the damage."""
    found = [list(read_blocks(io.BytesIO(content), "gzip", 10_000_000)) for content in damaged_files]
    monkeypatch.setitem(CODECS, "gzip", CODECS["gzip"]._replace(open_member=ZlibMember))
    monkeypatch.setattr("siftlm.readers.streams.DAMAGE", (zlib.error, *DAMAGE))
    truth = [list(read_blocks(io.BytesIO(content), "gzip", 10_000_000)) for content in damaged_files]
    assert found == truth
    assert sum(isinstance(block, Flaw) for blocks in truth for block in blocks) > 200


@pytest.mark.parametrize("wbits", [15, -15])
def test_damaged_deflate_gives_what_zlib_gives(damaged_files: list[bytes], wbits: int) -> None:
    """As bodies of responses have it: with zlib's header, and with none, at chance bytes too."""

    def told(member: GzipMember, content: bytes) -> tuple[bytes, bytes, str]:
        try:
            return member.decompress(content, 1 << 20), member.unused_data, ""
        except (zlib.error, *DAMAGE) as error:
            return b"", b"", str(error)

    contents = [bytes([0x78, 0x9C]) * (wbits > 0) + content[10:] for content in damaged_files]
    found = [told(GzipMember(wbits), content) for content in contents]
    assert found == [told(ZlibMember(wbits), content) for content in contents]
    assert {error != "" for *_, error in found} == {True, False}
