"""The one exception that is a user's to mend; everything else is a defect."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in the configuration, the input or the environment.

    The message is one line: `<dotted place>: <what must hold>, got <value>[; hint]`. The command line prints it
    without a traceback and exits with 2.
    """
