"""Random changes to real inputs: every input is a function of (seed, target, number), so findings can be repeated."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

LARGEST = 1 << 20  # bytes of an input
TOKENS = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\r\n\r\n", b"\n", b"\n\n", b"\t", b" ",
    b"\xe3\x80\x80", b"\xc2\x85", b"\xe6\x97\xa5", b"\xf0\x9f\x98\x80", b"<", b"</", b"<p>", b"<!--", b"<![CDATA[",
    b"&#0;",
    b"<script>", b"<table><td>", b"charset=utf-7", b"{", b"[", b'"', b"\\u0000", b"\\ud800", b"null", b"NaN", b"1e999",
    b"#",
    b"WARC/1.0\r\n", b"Content-Length: ", b"WARC-Type: conversion\r\n", b"HTTP/1.1 200 OK\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n", b"filedesc:", b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0",
    b"</s>", b"__label__", b"...", b"javascript", b"lorem ipsum",
)  # fmt: skip
NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"255",
    b"65536",
    b"2147483647",
    b"4294967296",
    b"9223372036854775807",
    b"1e400",
    b"9" * 400,
)
WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1)
_DIGITS = re.compile(rb"\d+")


def mutated(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds after 1 to 12 changes; one in 500 is blown up by repetition, to a megabyte at most."""
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 3, 5, 12))):
        _change(draw, content, seeds)
    if draw.random() < 0.002:
        _blow_up(draw, content)
    return bytes(content[:LARGEST])


def _change(draw: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    at = draw.randrange(len(content) + 1)
    end = min(len(content), at + draw.choice((1, 1, 2, 4, 16, 64, 1024)))
    match draw.randrange(9):
        case 0 if at < len(content):
            content[at] ^= 1 << draw.randrange(8)
        case 1:
            content[at:end] = draw.randbytes(end - at)
        case 2:
            content[at:end] = b""
        case 3:
            content[at:at] = draw.choice(TOKENS)
        case 4:
            content[at:at] = content[at:end] * draw.choice((1, 2, 8))
        case 5:
            other = draw.choice(seeds)
            start = draw.randrange(len(other) + 1)
            content[at:end] = other[start : start + draw.choice((1, 16, 256))]
        case 6:
            size = draw.choice((1, 2, 4, 8))
            content[at : at + size] = (draw.choice(WORDS) % (1 << 8 * size)).to_bytes(size, "little")
        case 7:
            if found := _DIGITS.search(content, at):
                content[found.start() : found.end()] = draw.choice(NUMBERS)
        case _ if draw.random() < 0.2:
            del content[at:]


def _blow_up(draw: random.Random, content: bytearray) -> None:
    at = draw.randrange(len(content) + 1)
    piece = draw.choice((bytes(content[at : at + draw.choice((1, 8, 64))]), draw.choice(TOKENS))) or b"x"
    content[at:at] = piece * (draw.choice((10_000, 100_000, LARGEST)) // len(piece))
