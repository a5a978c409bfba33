"""Reads the lines of a list in a text file, in blocks of bounded memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.statistics.ordered import BoolArray, Int64Array

BLOCK_BYTES = 1 << 22
LONGEST_LINE = 1 << 20
SHOWN = 60  # characters of a line in a message


@dataclass(frozen=True)
class Lines:
    """Holds some lines of a list without white space around them; blank lines and comments (`#`) are left out."""

    path: str  # of the file, empty for entries of the configuration
    texts: pa.Array  # large_string[lines]
    numbers: Int64Array  # of each line in its file, from 1

    @classmethod
    def of(cls, texts: pa.Array, first: int = 1, path: str = "") -> Lines:
        """Returns the lines that are neither blank nor comments; the first of `texts` has the number `first`."""
        trimmed = pc.utf8_trim_whitespace(texts.cast(pa.large_string()))
        kept = pc.and_not(pc.not_equal(trimmed, ""), pc.starts_with(trimmed, "#"))
        return cls(path, trimmed.filter(kept), np.flatnonzero(np.asarray(kept)) + first)

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, mask: BoolArray) -> Lines:
        """Returns the lines for which `mask`, bool[lines], is true."""
        return Lines(self.path, self.texts.filter(pa.array(mask)), self.numbers[mask])

    def mistake(self, line: int, must: str, detail: str = "") -> UserError:
        """Returns the error for the line at an index that is not what it must be."""
        text = self.texts[line].as_py()
        shown = text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
        where = f"{self.path}, line {self.numbers[line]}" if self.path else f"entry {self.numbers[line]}"
        return UserError(f"{'path' if self.path else 'entries'}: {must}, got {shown!r} in {where}{detail}")


def read_lines(path: str) -> Iterator[Lines]:
    """Yields the lines of a text file in UTF-8 block by block; one whose name ends in `.gz` is unpacked.

    Raises:
        UserError: there is no such file, it is damaged, or a line is not UTF-8 or longer than `LONGEST_LINE` bytes.
    """
    first = 1
    with readable(path, "a text file of one entry a line"), filesystem.open_read(path) as stream:
        content = cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if path.endswith(".gz") else stream
        for block in _blocks(content, path):
            text = _decoded(block, first, path)
            yield Lines.of(pc.split_pattern(pa.array([text], pa.large_string()), "\n").flatten(), first, path)
            first += block.count(b"\n")


@contextmanager
def readable(path: str, wanted: str) -> Iterator[None]:
    """Turns an error of the file system or of gzip into a UserError that says what the path must be."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = str(getattr(error, "strerror", None) or error).partition("\n")[0]
        raise UserError(f"path: must be {wanted}, got {path!r}: {reason}") from None


def _blocks(stream: BinaryIO, path: str) -> Iterable[bytes]:
    """Whole lines of about `BLOCK_BYTES` together."""
    begun = b""
    while block := stream.read(BLOCK_BYTES):
        whole, end, rest = block.rpartition(b"\n")
        if end:
            yield begun + whole + end
            begun = b""
        begun += rest
        if len(begun) > LONGEST_LINE:
            raise UserError(f"path: must have lines of at most {LONGEST_LINE:,} bytes, got a longer one in {path!r}")
    if begun:
        yield begun


def _decoded(block: bytes, first: int, path: str) -> str:
    """A block as text; a NUL or what is not UTF-8 is a mistake, which names the line."""
    nul = block.find(b"\0")
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        at, got = error.start, f"byte 0x{block[error.start]:02x}"
    else:
        if nul < 0:
            return text.removeprefix("\ufeff") if first == 1 else text
        at, got = nul, "a NUL byte"
    line = first + block.count(b"\n", 0, at)
    raise UserError(f"path: must be a text file in UTF-8, got {got} in {path}, line {line}")
