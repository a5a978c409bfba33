"""Takes apart the names of files on the Hugging Face hub and on web servers, and checks their form."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

HUB = "hf"
WEB = ("http", "https")
READ_ONLY = (HUB, *WEB)
"""Schemes of what is read and never written."""

COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner and name
_PATH = re.compile(
    r"hf://(?P<kind>datasets/|models/)?(?!spaces/|buckets/|datasets/|models/|kernels/)"
    rf"(?P<repository>{REPOSITORY.pattern})(@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/@]+))?(?P<inner>/.*)?"
)


class HubPath(NamedTuple):
    """Names a file, folder or pattern in a repository of the hub; an empty revision is its default branch."""

    kind: str  # dataset or model, as the hub's API calls it
    repository: str
    revision: str
    inner: str

    @property
    def commit(self) -> str:
        """Returns the revision where it is the id of a commit, whose files never change; else nothing."""
        return self.revision if COMMIT.fullmatch(self.revision) else ""

    def at(self, revision: str) -> str:
        """Returns the path of the same thing at another revision."""
        marked = quote(revision, safe="" if not revision.startswith("refs/") else "/")
        kind = "datasets/" if self.kind == "dataset" else ""
        return f"hf://{kind}{self.repository}{f'@{marked}' if marked else ''}{self.inner}"


def hub_path(path: str) -> HubPath:
    """Returns the parts of an hf:// path; raises ValueError that says what must hold."""
    parts = _PATH.fullmatch(path.rstrip("/"))
    if parts is None:
        raise ValueError("must be hf://datasets/OWNER/NAME[@REVISION]/..., or hf://OWNER/NAME... of a model")
    kind = "dataset" if parts["kind"] == "datasets/" else "model"
    return HubPath(kind, parts["repository"], unquote(parts["revision"] or ""), parts["inner"] or "")


def check_form(path: str) -> None:
    """Raises ValueError where an hf://, http:// or https:// path has not the form of one."""
    if path.startswith(f"{HUB}://"):
        hub_path(path)
    elif path.startswith(tuple(f"{scheme}://" for scheme in WEB)):
        _check_web(path)


def _check_web(path: str) -> None:
    """A password would stand in the manifest, in keys and in messages."""
    parts = urlsplit(path)
    if parts.username is not None:
        raise ValueError("must not have a name or a password before the host: manifests would tell it")
    if not parts.hostname or not parts.path.strip("/"):
        raise ValueError(f"must name a file behind the host of {parts.scheme}://")
