"""Reads training texts in blocks of whole lines, and says of each where it is from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.patterns import survey
from siftlm.readers import FORMATS, detected
from siftlm.readers.records import Flaw
from siftlm.readers.settings import InputSettings
from siftlm.readers.streams import read_blocks

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class TextBlock:
    """Holds some texts of a file.

    Of a plain text file they are lines, one text each, and `first` is the number of the first line. Of another file
    they are documents, with `starts` where each begins, and `first` is the offset of the first record.
    """

    path: str
    first: int
    content: bytes  # ends with a line feed
    starts: tuple[int, ...] | None = None

    def place(self, at: int) -> str:
        """Returns in words where a byte of the content is from."""
        if self.starts is None:
            return f"{self.path}, line {self.first + self.content.count(10, 0, at)}"
        number = sum(1 for start in self.starts if start <= at)
        return f"{self.path}, document {self.first + number - 1}"

    def texts(self) -> list[str]:
        """Returns the texts, without the line feed that ends each."""
        return [text.decode() for text in self.raw()]

    def raw(self) -> list[bytes]:
        """Returns the UTF-8 bytes of the texts, without the line feed that ends each."""
        if self.starts is None:
            return self.content.removesuffix(b"\n").split(b"\n")
        ends = (*self.starts[1:], len(self.content))
        return [self.content[a : b - 1] for a, b in zip(self.starts, ends, strict=True)]


def text_blocks(paths: Sequence[str], text_field: str) -> Iterator[TextBlock]:
    """Yields the texts of files, directories and globs, in the order of their names.

    Raises:
        UserError: a file or a record that cannot be read, or a text that is not UTF-8.
    """
    settings = InputSettings(source="text", paths=list(paths), text_field=text_field)
    for file in survey(paths).files:
        yield from (_checked(block) for block in _of_file(file.path, settings))


def _checked(block: TextBlock) -> TextBlock:
    try:
        block.content.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{block.place(error.start)}: must be UTF-8, got byte {error.object[error.start]:#04x}"
        ) from None
    return block


def _of_file(path: str, settings: InputSettings) -> Iterator[TextBlock]:
    with filesystem.open_read(path) as stream:
        kind = detected(path, stream, settings)
        if kind.format == "text":
            yield from _lines(path, (_whole(path, block) for block in read_blocks(stream, kind.compression, 10**9)))
        else:
            yield from _documents(path, FORMATS[kind.format].open_reader()(stream, kind.compression, settings))


def _whole(path: str, block: object) -> bytes:
    if isinstance(block, Flaw):
        raise UserError(
            f"{path}: must be readable to its end, got {block.reason} at byte {block.offset}: {block.detail}"
        )
    return block.content  # type: ignore[attr-defined,no-any-return]


def _lines(path: str, parts: Iterator[bytes]) -> Iterator[TextBlock]:
    held, size, line = list[bytes](), 0, 1
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= BLOCK_BYTES and (cut := part.rfind(b"\n")) >= 0:
            content = b"".join((*held[:-1], part[: cut + 1]))
            yield TextBlock(path, line, content)
            line += content.count(10)
            held, size = [part[cut + 1 :]], len(part) - cut - 1
    if size:
        content = b"".join(held)
        yield TextBlock(path, line, content if content.endswith(b"\n") else content + b"\n")


def _documents(path: str, entries: Iterator[object]) -> Iterator[TextBlock]:
    def texts() -> Iterator[bytes]:
        for entry in entries:
            if not isinstance(entry, Flaw):
                yield entry.text  # type: ignore[attr-defined]
            elif entry.kind == "error":
                raise UserError(f"{path}: must be readable, got {entry.reason} at {entry.offset}: {entry.detail}")

    return blocks_of(path, texts())


def blocks_of(place: str, texts: Iterable[bytes]) -> Iterator[TextBlock]:
    """Yields documents in blocks, without those that hold nothing but white space; `place` is named in errors."""
    held, starts, size, number = list[bytes](), list[int](), 0, 1
    for text in texts:
        if text.strip():
            starts.append(size)
            held.append(text)
            size += len(text) + 1
        if size >= BLOCK_BYTES:
            yield TextBlock(place, number, b"\n".join(held) + b"\n", tuple(starts))
            number += len(starts)
            held, starts, size = [], [], 0
    if held:
        yield TextBlock(place, number, b"\n".join(held) + b"\n", tuple(starts))
