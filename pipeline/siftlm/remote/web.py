"""Finds single files on web servers, which must give parts of them (ranges) and tell their sizes."""

from __future__ import annotations

from typing import Any

from siftlm.errors import UserError

FEW = 2  # bytes, of which no part needs to be asked for


def size_of(fs: Any, url: str) -> int:
    """Returns the size of a file on a web server in bytes.

    Raises:
        UserError: the file cannot be had, or the server gives no parts of it.
    """
    try:
        size = fs.info(url)["size"]
    except FileNotFoundError as error:
        raise _not_had(url, error.__cause__ or error) from error
    if size is None:
        raise _no_parts(url, "whose server does not tell its size")
    if size > FEW:
        _check_parts(fs, url, int(size))
    return int(size)


def digest_of(info: dict[str, Any]) -> str:
    """Returns the entity tag that a web server gives a file; empty where none stands for every byte."""
    tag = info.get("ETag", "")
    return f"etag:{tag.strip(chr(34))}:{info['size']}" if tag and not tag.startswith("W/") else ""


def faults() -> tuple[type[Exception], ...]:
    """Returns the classes of what goes wrong between this machine and a web server."""
    from aiohttp import ClientError

    return (ClientError, OSError, TimeoutError)


def _check_parts(fs: Any, url: str, size: int) -> None:
    stream = fs.open(url, "rb")
    if not stream.seekable():
        raise _no_parts(url, "whose server gives no parts of files")
    try:
        stream.seek(size - 1)
        stream.read(1)
    except ValueError:
        raise _no_parts(url, "whose server gives no parts of files") from None
    except faults() as error:
        raise _not_had(url, error) from error


def _no_parts(url: str, why: str) -> UserError:
    return UserError(
        f"paths: files on the web must be on servers that give parts of them (HTTP ranges), got {url}, {why}; "
        "download it first"
    )


def _not_had(url: str, error: BaseException) -> UserError:
    status = getattr(error, "status", None)
    known = {
        401: "the server wants a login, which siftlm has none for; download it first",
        403: "the server refuses it; download it where that is allowed",
        404: "the server has no such file (and lists no folders: name files in full)",
    }
    why = known.get(status or 0) or (
        f"the server answered {status}" if status else f"{str(error) or type(error).__name__}"
    )
    return UserError(f"paths: files on the web must be there, got {url}; {why}")
