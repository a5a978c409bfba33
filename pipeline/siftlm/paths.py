"""Checks every path in a configuration or on a command line before anything is done with it.

A path is local unless it begins with a scheme that siftlm knows, so `File::Spec.txt`, `zip::x` and `a#b?c%20d.txt`
are names of files. `~` at the beginning is a home folder, everywhere; `./~` is a folder of that name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator

from siftlm.errors import UserError
from siftlm.remote.names import HUB, READ_ONLY, check_form

REMOTE = {
    "gs": "gs",
    "gcs": "gs",
    "s3": "s3",
    "s3a": "s3",
    "az": "az",
    "memory": "memory",
    **{scheme: scheme for scheme in READ_ONLY},
}
"""Scheme -> the name that it goes by: two names of one store are one place."""

SCHEMES = "gs://, s3://, az://, hf:// or https://"
"""Those that a user may write, for messages."""

LOCAL = ("file", "local")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CUT_SCHEME = re.compile(rf"({'|'.join((*LOCAL, *REMOTE))}):/(?!/)")


def scheme_of(path: str) -> str:
    """Returns the scheme of a path, `s3` of s3://bucket/x; empty for a plain path."""
    scheme = _SCHEME.match(path)
    return scheme[1] if scheme else ""


def is_local(path: str) -> bool:
    """Tells whether a path is on this machine's file system."""
    return scheme_of(path) not in REMOTE


def plain(path: str) -> str:
    """Returns a local path without a `file://` before it."""
    return path.split("://", 1)[1] if scheme_of(path) in LOCAL else path


def parts_of(path: str) -> list[str]:
    """Returns the names in a path, from the root to the file."""
    return [part for part in path.split("/") if part]


def absolute(path: str) -> str:
    """Returns a local path as an absolute one without `.` and `..`.

    Links stay where no `..` follows.
    """
    path = os.path.join(os.getcwd(), plain(path))
    above, dots, below = path.rpartition("/../")
    if path.endswith("/.."):
        above, dots, below = path, "/", ""
    if dots:  # what is above a link is above the folder that it leads to
        path = os.path.realpath(f"{above}{dots}") + f"/{below}"
    return "/" + "/".join(part for part in parts_of(path) if part != ".")


def canonical(path: str) -> str:
    """Returns one and the same path for a place, whatever links, schemes and slashes lead to it."""
    if is_local(path):
        return "/" + os.path.realpath(plain(path)).strip("/")
    scheme, rest = path.split("://", 1)
    return f"{REMOTE[scheme]}://" + "/".join(parts_of(rest))


def is_within(path: str, folder: str) -> bool:
    """Tells whether a canonical path is a canonical folder or lies in it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def readable(path: str) -> str:
    """Returns a path to read from with `~` resolved; raises ValueError that says what must hold."""
    if not path.strip():
        raise ValueError("must name a file or a folder, not nothing")
    if "\0" in path:
        raise ValueError("must be a path without a NUL character")
    if cut := _CUT_SCHEME.match(path):
        raise ValueError(f"must have two slashes behind {cut[1]}:")
    scheme = scheme_of(path)
    if scheme in REMOTE:
        check_form(path)
        return _remote(path, least=1)
    if scheme and scheme not in LOCAL:
        raise ValueError(f"must be a local path or begin with {SCHEMES}")
    if scheme and not plain(path).startswith("/"):
        raise ValueError(f"must have an absolute path behind {scheme}://")
    path = _at_home(path) if path.startswith("~") else plain(path)
    try:
        place = canonical(path)
    except FileNotFoundError:
        raise ValueError("must be an absolute path where the current folder is gone") from None
    if place == "/":
        raise ValueError("must not be the root of the file system")
    return path


def written(path: str) -> str:
    """Returns a path to write to without a slash at its end; raises ValueError otherwise."""
    path = readable(path)
    if scheme_of(path) in READ_ONLY:
        told = "; siftlm push puts a finished run there" if scheme_of(path) == HUB else ""
        raise ValueError(f"must be a place that a run can write to, which {scheme_of(path)}:// is not{told}")
    if not is_local(path):
        return _remote(path, least=1 if scheme_of(path) == "memory" else 2)
    return path.rstrip("/")


def _remote(path: str, least: int) -> str:
    """A remote path of so many names at least: the first is a bucket."""
    scheme, rest = path.split("://", 1)
    parts = parts_of(rest)
    if len(parts) < least:
        raise ValueError(f"must name more than {'a bucket' if parts else f'{scheme}://'}")
    if {".", ".."} & set(parts):
        raise ValueError("must not have . or .. in a remote path, where they mean nothing")
    return path.rstrip("/")


def _at_home(path: str) -> str:
    """A path whose first part is `~` or `~user`."""
    name, slash, rest = path.partition("/")
    home = os.path.expanduser(name)
    if not os.path.isabs(home) or not home.strip("/"):
        raise ValueError(f"must begin with a home folder that exists, or with ./{name}")
    return f"{home}{slash}{rest}"


def _model(place: str) -> str:
    """A model's folder or file, or its id on a hub, which is no path."""
    return readable(place) if place.startswith(("~", "/", "file:")) or not place.strip() or "\0" in place else place


ReadPath = Annotated[str, AfterValidator(readable)]
WrittenPath = Annotated[str, AfterValidator(written)]
ModelPlace = Annotated[str, AfterValidator(_model)]


def given(place: str, path: str, rule: Callable[[str], str] = written) -> str:
    """Returns a path from the command line after the checks of `rule`; raises UserError at `place`."""
    try:
        return rule(path)
    except ValueError as error:
        raise UserError(f"{place}: {error}, got {path!r}") from None
