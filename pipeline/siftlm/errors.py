"""Defines the error for mistakes that a user can correct, and replaces control characters in text."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_PICTURES = {code: 0x2400 + code for code in range(32) if code not in (9, 10)}  # all but tab and line feed
_LINE_PICTURES = {9: 0x2409, 10: 0x240A}
_PICTURES |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}


class UserError(Exception):
    """Reports a mistake in the configuration, the input or the environment.

    The message is one line: `<dotted place>: <what must hold>, got <value>[; hint]`; of several mistakes there is one
    each. The command line prints it without a traceback and exits with 2.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)

    def __str__(self) -> str:
        return "\n".join(map(one_line, self.args))


class NoRoomError(UserError):
    """Reports work that does not fit in the memory of a device, however small its batches are."""


def visible(text: str) -> str:
    """Returns text with printable symbols in the place of control characters.

    A terminal would obey those, and documents come from anybody.
    """
    return text.translate(_PICTURES)


def one_line(text: str) -> str:
    """Returns text as one line, with printable symbols for control characters, line ends and tabs.

    Names of files may have them.
    """
    return visible(text).translate(_LINE_PICTURES)


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Returns the one of `names` that is most like an unknown name; None where none is near.

    `cutoff` is how alike they must be, by difflib.
    """
    as_spelled: dict[str, str] = {}
    for known in names:
        as_spelled.setdefault(known.casefold(), known)
    near = difflib.get_close_matches(name.casefold(), as_spelled, n=1, cutoff=cutoff)
    return as_spelled[near[0]] if near else None


def reason_of(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
