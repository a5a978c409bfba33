"""Reading gzip: MB/s of one core under zlib-ng, beside the standard library's zlib and isal.

    python tests/bench/gzip_members.py [--megabytes 60] [--rounds 7]

The same text as one stream of JSON lines, and as archives with a member a record of 30 kB and of 2 kB. Every form is
read by siftlm's own reader with each of the decompressors in turn; a row is the median of the rounds, in CPU time, so
that ratios hold on a busy machine. Decompressors that are not installed are left out.

isal is faster, and is not used: of 20,000 members with a bit, a byte or a piece of them changed it took or refused 49
otherwise than zlib (reserved flags, broken code tables), and of 723 others gave more or less before the damage.
zlib-ng gave the content of zlib for all of 60,000, and its words for the 40,000 of which they were compared;
tests/readers/test_streams.py tries some.
"""

from __future__ import annotations

import argparse
import gzip
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import orjson
from corpus import mixed_corpus

from siftlm.readers.streams import CODECS, Block, GzipMember, read_blocks

DECOMPRESSORS = {"zlib-ng": "zlib_ng.zlib_ng", "zlib": "zlib", "isal": "isal.isal_zlib"}


def member_of(module: Any) -> Callable[[], GzipMember]:
    """Members decompressed by a module with zlib's interface."""

    class Member(GzipMember):
        def __init__(self) -> None:
            self._stream = module.decompressobj(wbits=31)

    return Member


def forms(texts: list[str]) -> Iterator[tuple[str, bytes]]:
    """Names and gzip files of the texts."""
    yield "one stream of JSON lines", gzip.compress(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    content = "\n".join(texts).encode()
    for size in (30_000, 2_000):
        members = (gzip.compress(content[at : at + size]) for at in range(0, len(content), size))
        yield f"members of {size:,} bytes", b"".join(members)


def seconds(content: bytes) -> float:
    """CPU seconds to read the file to its end."""
    start = time.process_time()
    assert all(isinstance(block, Block) for block in read_blocks(io.BytesIO(content), "gzip", 200))
    return time.process_time() - start


def installed() -> dict[str, Callable[[], GzipMember]]:
    """The decompressors that are here."""
    found = {}
    for name, module in DECOMPRESSORS.items():
        try:
            found[name] = member_of(import_module(module))
        except ImportError as missing:
            print(f"left out: {missing}; install the `bench` extra", file=sys.stderr)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=float, default=60.0)
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    texts = mixed_corpus()
    texts = texts[:: max(1, round(sum(map(len, texts)) / 1e6 / chosen.megabytes))]
    members, codec = installed(), CODECS["gzip"]
    for form, content in forms(texts):
        size = sum(len(block.content) for block in read_blocks(io.BytesIO(content), "gzip", 200))  # type: ignore[union-attr]
        taken: dict[str, list[float]] = {name: [] for name in members}
        for _ in range(chosen.rounds):
            for name, member in members.items():
                CODECS["gzip"] = codec._replace(open_member=member)
                taken[name].append(seconds(content))
        for name, times in taken.items():
            ratio = statistics.median(taken["zlib"]) / statistics.median(times)
            print(f"{form:26} {name:8} {size / 1e6 / statistics.median(times):8.0f} MB/s per core, {ratio:4.2f} x zlib")


if __name__ == "__main__":
    main()
