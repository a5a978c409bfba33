"""Resolves revisions on the Hugging Face hub to commits, tells the digests that it keeps, and explains its errors.

Tokens are the hub's own affair: HF_TOKEN or what `hf auth login` keeps. siftlm neither reads nor tells them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from siftlm.errors import UserError, reason_of
from siftlm.remote.names import HubPath, hub_path


def pinned(path: str) -> str:
    """Returns an hf:// path at the commit that its revision means now.

    One revision means one commit until `forget` is called, however often it is asked for.

    Raises:
        UserError: the repository or the revision does not exist or may not be read, or the hub cannot be reached.
    """
    place = hub_path(path)
    return place.at(_commit(place.kind, place.repository, place.revision))


def at_commit(path: str) -> str:
    """Returns an hf:// path at a commit; asks the hub only where the path does not have one."""
    return path if is_fixed(path) else pinned(path)


def is_fixed(path: str) -> bool:
    """Tells whether an hf:// path is at a commit, so that what it names never changes."""
    return bool(hub_path(path).commit)


def forget() -> None:
    """Lets branches and tags mean another commit from now on, as a new run wants it."""
    _commit.cache_clear()


@cache
def _commit(kind: str, repository: str, revision: str) -> str:
    from huggingface_hub import HfApi

    with explained(HubPath(kind, repository, revision, "").at(revision)):
        info = HfApi().repo_info(repository, repo_type=kind, revision=revision or None)
    return str(info.sha)


def digest_of(info: Mapping[str, Any]) -> str:
    """Returns the digest that the hub keeps of a file: sha256 of large ones, git's id of others."""
    large = info.get("lfs")
    kept = f"sha256:{large['sha256']}" if large else f"git:{info['blob_id']}"
    return f"{kept}:{info['size']}"


def faults() -> tuple[type[Exception], ...]:
    """Returns the classes of what goes wrong with the hub: refusals of it, and failures of the network.

    The first base class of the hub's own error is that of the HTTP library that it is built on.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    return (HfHubHTTPError, HfHubHTTPError.__bases__[0], HFValidationError, OSError)


@contextmanager
def explained(path: str, must: str = "paths: must be a place on the hub that can be read") -> Iterator[None]:
    """Turns what goes wrong with the hub inside the block into a one-line UserError about a path.

    A file that is not there is the FileNotFoundError that it is elsewhere.
    """
    from huggingface_hub.errors import EntryNotFoundError

    try:
        yield
    except FileNotFoundError as error:
        if error.__cause__ is None or isinstance(error.__cause__, EntryNotFoundError):
            raise
        raise trouble(error.__cause__, path, must) from error
    except faults() as error:
        raise trouble(error, path, must) from error


def trouble(error: BaseException, path: str, must: str) -> UserError:
    """Returns the UserError for what went wrong with the hub, with what to do about it."""
    return UserError(f"{must}, got {path}; {why_not(error)}")


def why_not(error: BaseException) -> str:
    """Returns why the hub did not give or take something, and what to do, in a line."""
    return known_reason(error) or f"the hub cannot be reached ({reason_of(error)}); mend the network and run again"


def known_reason(error: BaseException) -> str:
    """Returns why the hub refused something, and what to do; an empty string for an error of another kind."""
    from huggingface_hub import errors

    reasons: list[tuple[type[BaseException], str]] = [  # the special ones before the general ones
        (errors.GatedRepoError, "its owner wants terms to be accepted; do so on the hub, and set HF_TOKEN"),
        (errors.RepositoryNotFoundError, "the hub has none of that name, or none that may be seen without HF_TOKEN"),
        (errors.RevisionNotFoundError, "the hub has no such revision of it; name a branch, a tag or a commit"),
        (errors.HFValidationError, "a hub id is a name, or an owner and a name with a slash between them"),
        (errors.LocalEntryNotFoundError, "the hub cannot be reached, and no copy of it is in the cache"),
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE forbids it; unset that"),
        (errors.EntryNotFoundError, "the repository has no such file at this revision"),
    ]
    if told := next((words for kind, words in reasons if isinstance(error, kind)), None):
        return told
    return _by_status(error)


def _by_status(error: BaseException) -> str:
    """What to do about a refusal by the number of its HTTP status; nothing where it has none."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    known = {
        401: "the hub does not know the token; log in again with `hf auth login`, or set HF_TOKEN",
        403: "the token may not do this; take one with the right to, by `hf auth login` or HF_TOKEN",
        404: "the hub has nothing there",
        412: "somebody else changed it meanwhile; run again",
        429: "the hub has had too many requests; wait, or set HF_TOKEN, and run again",
    }
    if status is None:
        return ""
    return known.get(status) or f"the hub answered {status} ({reason_of(error)}); run again to go on"
