"""Converts UTF-16 and UTF-32 text to UTF-8, and guesses the encoding of other text."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from siftlm.readers.records import Flaw
from siftlm.readers.streams import Block

UTF8_MARK = codecs.BOM_UTF8
# The marks of UTF-32 come first: that of little-endian UTF-16 begins the one of UTF-32.
MARKS = {
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
_LONGEST_MARK = 4
_DAMAGE = "siftlm.damage"
_FEW = 6  # bytes above ASCII, too few to tell an encoding that writes whole words with them
_SEEN = 4096  # bytes that say whether every second one is a NUL

BAD_UTF8 = "bad_utf8"


def _as_surrogate(error: UnicodeError) -> tuple[str, int]:
    """What cannot be decoded as a lone surrogate: written out, that is not UTF-8, so its record is refused."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_DAMAGE, _as_surrogate)


def in_utf8(blocks: Iterable[Block | Flaw]) -> Iterator[Block | Flaw]:
    """Yields blocks converted to UTF-8 where they begin with a byte order mark of UTF-16 or UTF-32.

    Other blocks are yielded as they are. Damage gives bytes that are not UTF-8, so that what holds it is refused and
    the rest is read.
    """
    source = iter(blocks)
    first: list[Block | Flaw] = []
    head = b""
    while len(head) < _LONGEST_MARK and (block := next(source, None)):
        first.append(block)
        if isinstance(block, Flaw):
            break
        head += block.content
    encoding = marked(head)
    every = chain(first, source)
    return _transcoded(every, *encoding) if encoding else every


def marked(head: bytes) -> tuple[str, int] | None:
    """Returns the encoding that a byte order mark of UTF-16 or UTF-32 announces, and the size of the mark."""
    return next(((name, len(mark)) for name, mark in MARKS.items() if head.startswith(mark)), None)


def head_in_utf8(head: bytes) -> bytes:
    """Returns the beginning of a file converted to UTF-8, without a byte order mark.

    Of UTF-16 and UTF-32, a character that is cut at the end is left out.
    """
    encoding = marked(head)
    if encoding is None:
        return head.removeprefix(UTF8_MARK)
    decoder = codecs.getincrementaldecoder(encoding[0])(_DAMAGE)
    return decoder.decode(head[encoding[1] :]).encode("utf-8", "surrogatepass")


def head_as_text(head: bytes) -> str | None:
    """Returns the beginning of a file as text, without a character that is cut at the end.

    It is None where the beginning is not UTF-8.
    """
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(head_in_utf8(head))
    except UnicodeDecodeError:
        return None


def _transcoded(blocks: Iterable[Block | Flaw], encoding: str, mark: int) -> Iterator[Block | Flaw]:
    decoder = codecs.getincrementaldecoder(encoding)(_DAMAGE)
    left, member = mark, 0
    for block in blocks:
        if isinstance(block, Flaw):
            decoder.reset()
            yield block
            continue
        content, left, member = block.content[left:], max(0, left - len(block.content)), block.member
        yield Block(decoder.decode(content).encode("utf-8", "surrogatepass"), member, block.first)
    if end := decoder.decode(b"", final=True):
        yield Block(end.encode("utf-8", "surrogatepass"), member, False)


def not_utf8(content: bytes, where: str, offset: int, *, wide: bool = True) -> Flaw | None:
    """Returns a flaw where content is not UTF-8, with its probable encoding; None where it is UTF-8.

    With `wide`, UTF-16 without a byte order mark is a flaw, too.
    """
    at = first_bad_byte(content)
    if at is None and not (wide and is_utf16(content)):
        return None
    return Flaw("error", *undecodable(content, at or 0, where), offset)


def undecodable(content: bytes, at: int, where: str) -> tuple[str, str]:
    """Returns the reason and detail to report for content that is not UTF-8 at byte `at`.

    The detail says what encoding it probably is.
    """
    if is_utf16(content):
        return "utf16_without_mark", f"{where} looks like UTF-16 or UTF-32 without a byte order mark; write it as UTF-8"
    guess = _likely(content, at)
    return BAD_UTF8, f"byte {at} of {where}" + (f", which looks like {guess}" if guess else "")


def first_bad_byte(content: bytes) -> int | None:
    """Returns the position of the first byte that is not UTF-8; None where all are."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def is_utf16(content: bytes) -> bool:
    """Tells whether content without a byte order mark looks like UTF-16 or UTF-32 of mostly Latin text.

    Every second byte of it is NUL then.
    """
    seen = content[:_SEEN]
    if len(seen) < 4 or b"\0" not in seen:
        return False
    even, odd = seen[::2].count(0), seen[1::2].count(0)
    return max(even, odd) > 0.7 * len(seen) / 2 and (min(even, odd) < 0.1 * len(seen) or even + odd > 0.6 * len(seen))


def _likely(content: bytes, at: int) -> str | None:
    """What bytes above ASCII that are not UTF-8 are probably of; None where most of them are UTF-8."""
    seen = content[max(0, at - _SEEN) : at + _SEEN]
    whole = seen.decode("utf-8", "ignore")
    bad = len(seen) - len(whole.encode())
    if sum(character > "\x7f" for character in whole) >= bad:
        return None
    high = sum(byte > 0x7F for byte in seen)
    in_row = sum(first > 0x7F and second > 0x7F for first, second in pairwise(seen))
    if high >= _FEW and in_row > high / 3:
        return "another encoding (Windows-1251, Shift_JIS, GB18030 or EUC-KR, say)"
    return "Latin-1 or Windows-1252"
