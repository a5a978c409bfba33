"""The one exception that is a user's to mend, everything else is a defect; and how text of others is printed."""

from __future__ import annotations

_PICTURES = {code: 0x2400 + code for code in range(32) if code not in (9, 10)}  # all but tab and line feed
_PICTURES |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}


class UserError(Exception):
    """A mistake in the configuration, the input or the environment.

    The message is one line: `<dotted place>: <what must hold>, got <value>[; hint]`. The command line prints it
    without a traceback and exits with 2.
    """


def visible(text: str) -> str:
    """Text with pictures for control characters, which a terminal would obey: documents come from anybody."""
    return text.translate(_PICTURES)
