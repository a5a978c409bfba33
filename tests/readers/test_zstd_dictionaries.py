"""Archives of the Internet Archive's making: zstd frames behind a dictionary of their own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
import zstandard
from tests.readers.conftest import Outcome, http, warc_record

from siftlm.readers import detect
from siftlm.readers.zstd import MAX_DICTIONARY_BYTES

Read = Callable[..., Outcome]

WORDS = [random.Random(word).randbytes(4).hex() for word in range(500)]
RECORDS = [
    warc_record(
        "response",
        http(" ".join(random.Random(number).choices(WORDS, k=60)).encode(), "text/plain"),
        f"http://{number}.org/",
    )
    for number in range(400)
]
TEXTS = [record.rsplit(b"\r\n\r\n", 2)[1].decode() for record in RECORDS]
TRAINED = zstandard.train_dictionary(20_000, RECORDS)


def skippable(content: bytes) -> bytes:
    return b"\x5d\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def archive(records: Sequence[bytes], dictionary: zstandard.ZstdCompressionDict = TRAINED) -> bytes:
    packer = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True)
    return b"".join(map(packer.compress, records))


DICTIONARIES = {
    "plain": TRAINED.as_bytes(),
    "compressed": zstandard.ZstdCompressor().compress(TRAINED.as_bytes()),
}


@pytest.mark.parametrize("form", DICTIONARIES)
@pytest.mark.parametrize("name", ["x.warc.zst", "x", "x.zst"])
def test_an_archive_with_its_own_dictionary_is_read(form: str, name: str, read_content: Read) -> None:
    """The dictionary stands in the first, skippable frame, compressed or not; the name need not help."""
    outcome = read_content(skippable(DICTIONARIES[form]) + archive(RECORDS), name)
    assert (outcome.texts, outcome.errors) == (TEXTS, [])


def test_a_dictionary_longer_than_the_head_does_not_hide_what_follows(read_content: Read) -> None:
    """The format is found behind it."""
    long = zstandard.ZstdCompressionDict(random.Random(1).randbytes(300_000) + b"".join(RECORDS[:50]))
    content = skippable(long.as_bytes()) + archive(RECORDS, long)
    assert read_content(content, "x").texts == TEXTS
    assert detect("x", content).format == "warc"


def test_frames_that_need_no_dictionary_are_read_behind_one(read_content: Read) -> None:
    """Nor do they have to use it: other tools put other things into skippable frames."""
    plain = b"".join(map(zstandard.ZstdCompressor().compress, RECORDS))
    for content in (TRAINED.as_bytes(), b"some note", b""):
        assert read_content(skippable(content) + plain, "x.warc.zst").texts == TEXTS


def test_damage_behind_a_dictionary_costs_one_record(read_content: Read) -> None:
    """The search for the next frame knows the dictionary, too."""
    frames = [archive([record]) for record in RECORDS]
    broken = bytearray(frames[100])
    broken[30] ^= 0xFF
    outcome = read_content(skippable(TRAINED.as_bytes()) + b"".join([*frames[:100], broken, *frames[101:]]), "x")
    assert outcome.texts == TEXTS[:100] + TEXTS[101:]
    assert outcome.errors == ["corrupt_zstd"]


BROKEN = {
    "damaged": skippable(DICTIONARIES["compressed"][:-40] + bytes(40)),
    "cut": skippable(DICTIONARIES["compressed"][:-40]),
    "damaged tables": skippable(TRAINED.as_bytes()[:8] + b"\xff" * 200),
    "a bomb": skippable(zstandard.ZstdCompressor().compress(bytes(MAX_DICTIONARY_BYTES + 1))),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_dictionary_that_cannot_be_read_is_said(case: str, read_content: Read) -> None:
    """And its size is bounded; frames that do not need it are read."""
    content = BROKEN[case] + archive(RECORDS[:3]) + zstandard.ZstdCompressor().compress(RECORDS[3])
    outcome = read_content(content, "x.warc.zst")
    assert outcome.texts == [TEXTS[3]]
    assert "the dictionary at byte 0 cannot be read" in outcome.rejects[0].detail


def test_a_dictionary_that_is_announced_and_not_there_is_said(read_content: Read) -> None:
    """A file cut inside of it, and one that announces gigabytes."""
    for content in (skippable(DICTIONARIES["plain"])[:5000], b"\x5d\x2a\x4d\x18\xff\xff\xff\xff" + b"x" * 5000):
        outcome = read_content(content, "x.warc.zst")
        assert outcome.texts == []
        assert outcome.errors[0] == "corrupt_zstd"


def test_a_window_beyond_the_key_is_an_error_that_names_it(read_content: Read) -> None:
    """Of jsonl as of archives."""
    parameters = zstandard.ZstdCompressionParameters(window_log=31, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = stream.compress(b'{"text": "a"}\n') + stream.flush()
    assert read_content(content, "x.jsonl.zst").texts == ["a"]
    assert read_content(content, "x.jsonl.zst", max_window_bytes=1 << 30).errors == ["zstd_window_too_large"]
