"""Finds what a user can mend behind an error, also where Beam has wrapped it."""

from __future__ import annotations

import errno
import re

from siftlm.errors import UserError

ENVIRONMENT = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "no space left",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "a read-only file system",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.EIO: "a failing disk",
    errno.ENOTDIR: "a file where a folder must be",
    errno.EEXIST: "a file where a folder must be",
    errno.EISDIR: "a folder where a file must be",
    errno.ENAMETOOLONG: "a name that is too long",
    errno.ELOOP: "links that lead in a circle",
}
"""System errors that are no defect of siftlm's."""
BEAM_REMARK = re.compile(r"(?: \[while running '[^']*'\])+$")
WORKER_ERROR = re.compile(r"siftlm\.errors\.UserError: (.+?)(?: \[while running|\\n|$)", re.MULTILINE)
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # numpy's words for a full disk, which carry no number
WORKER_FAULT = re.compile(r"(?:^|\\n)[\w.]*Error: (\[Errno (\d+)\] .+?)(?= \[while running|\\n|$)", re.MULTILINE)


def known(error: BaseException) -> Exception | None:
    """Returns the user's mistake, failed audit or fault of the environment behind an error, None where it is another.

    Beam raises a worker's error again with a remark in its message, from this process with the original behind it,
    from another one as a text with the worker's traceback in it.
    """
    from siftlm.engine.audit import AuditError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError | AuditError):
            return type(cause)(*(BEAM_REMARK.sub("", str(line)) for line in cause.args))
        if isinstance(cause, OSError) and cause.errno in ENVIRONMENT:
            return _of_environment(cause.errno, str(cause))
        if isinstance(cause, OSError) and SHORT_WRITE.fullmatch(str(cause)):
            return _of_environment(errno.ENOSPC, f"{cause} of an array")
        cause = cause.__cause__ or cause.__context__
    if told := WORKER_ERROR.search(str(error)):
        return UserError(told[1])
    faults = [fault for fault in WORKER_FAULT.finditer(str(error)) if int(fault[2]) in ENVIRONMENT]
    return _of_environment(int(faults[-1][2]), faults[-1][1]) if faults else None


def _of_environment(number: int, told: str) -> UserError:
    return UserError(f"{ENVIRONMENT[number]}: {told}; mend that and run again")
