"""Pushes a finished run to the Hugging Face hub: data, card, manifest and report, in one commit.

Nothing changes on the hub before that commit. Files that have reached it stay in its storage by their digests, so a
push that was interrupted goes on where it stopped when it is started again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from siftlm import filesystem, paths
from siftlm.errors import UserError, reason_of
from siftlm.inspect.run import FinishedRun
from siftlm.remote import hub
from siftlm.remote.names import REPOSITORY
from siftlm.report.card import with_fields_of
from siftlm.report.manifest import CARD, MANIFEST, REPORT

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.hf_api import RepoFile

GITS_OWN = ".gitattributes"
SHOWN = 3  # names in a message
MUST = "push: must be a dataset of the hub that you can write to"
Say = Callable[[str], None]


@dataclass(frozen=True)
class HubTarget:
    """Says where a run goes on the hub, and what it may do there."""

    repository: str  # OWNER/NAME
    revision: str = "main"  # a branch
    public: bool = False
    overwrite: bool = False  # files that no earlier push of this run wrote

    def __post_init__(self) -> None:
        if not REPOSITORY.fullmatch(self.repository):
            raise UserError(f"push: must name a dataset as OWNER/NAME, got {self.repository!r}")

    @property
    def path(self) -> str:
        return f"hf://datasets/{self.repository}"


@dataclass(frozen=True)
class Pushed:
    """Holds what a push made of the dataset: its commit, and the paths of files by what became of them."""

    commit: str
    new: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # which siftlm did not write, and leaves alone

    def lines(self, target: HubTarget) -> list[str]:
        """Returns what to tell of the push, a line each."""
        if not (self.new or self.replaced or self.removed):
            told = [f"{target.path}@{self.commit} has all of it already: nothing was pushed"]
        else:
            of = {"new": self.new, "replaced": self.replaced, "removed": self.removed, "as before": self.same}
            counts = ", ".join(f"{len(names):,} {what}" for what, names in of.items() if names)
            told = [f"{target.path}@{self.commit}: files that are {counts}"]
        left = [f"left alone, for siftlm did not write them: {_some(self.others)}"] if self.others else []
        return [*told, *left]


@dataclass(frozen=True)
class _There:
    """What a branch of a dataset holds before a push."""

    commit: str
    files: Mapping[str, RepoFile]
    manifest: Mapping[str, Any] | None  # of the run that was pushed last; None where none was

    def owned(self) -> set[str]:
        """The files that the last push wrote."""
        if self.manifest is None:
            return set()
        parts = (*self.manifest["data"], *self.manifest["papers"])
        return {MANIFEST, *(part["path"] for part in parts)} & self.files.keys()


def push(folder: str, target: HubTarget, say: Say) -> Pushed:
    """Puts a finished run on the hub in one commit, and returns what that changed.

    The dataset is made where there is none, private unless the target is public. Files of the last push that the run
    has no more are removed; other files stay.

    Raises:
        UserError: the run is damaged, the dataset has what must not be overwritten or is public unasked, or the hub
            refuses something or cannot be reached.
    """
    run = FinishedRun.open(folder)
    files = _files(run)
    with _explained(target):
        from huggingface_hub import HfApi, get_token

        if get_token() is None:
            raise UserError("push: you must be logged in to the hub, got no token; `hf auth login`, or set HF_TOKEN")
        api = HfApi()
        _ready(api, target, say)
        there = _look(api, target)
        _check(run, there, files, target)
        return _committed(api, run, there, files, target)


def _files(run: FinishedRun) -> dict[str, str]:
    """The local files of a run by their paths on the hub; each is as the run wrote it."""
    if not paths.is_local(run.folder):
        raise UserError(f"push: RUN must be a folder on this machine, got {run.folder}; copy it here first")
    for part in (*run.manifest["data"], *run.manifest["papers"]):
        path = f"{run.folder}/{part['path']}"
        if not os.path.isfile(path) or f"xxh3_128:{filesystem.hash_bytes(path)}" != part["checksum"]:
            raise UserError(f"push: files must be as the run wrote them, got {path} gone or changed; run again")
    names = [*(part["path"] for part in run.manifest["data"]), REPORT, MANIFEST, CARD]
    return {name: os.path.abspath(f"{paths.plain(run.folder)}/{name}") for name in names}


def _ready(api: HfApi, target: HubTarget, say: Say) -> None:
    """Makes the dataset and the branch where there are none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        private = bool(api.dataset_info(target.repository).private)
    except RepositoryNotFoundError:
        api.create_repo(target.repository, repo_type="dataset", private=not target.public)
        say(f"made {target.path}, {'public' if target.public else 'private'}")
    else:
        if not private and not target.public:
            raise UserError(f"push: a dataset must be private without --public, got {target.path}, which is public")
        if private and target.public:
            say(f"{target.path} stays private: its settings on the hub make it public")
    if target.revision != "main":
        api.create_branch(target.repository, branch=target.revision, repo_type="dataset", exist_ok=True)


def _look(api: HfApi, target: HubTarget) -> _There:
    from huggingface_hub.hf_api import RepoFile

    commit = str(api.dataset_info(target.repository, revision=target.revision).sha)
    tree = api.list_repo_tree(target.repository, recursive=True, revision=commit, repo_type="dataset")
    files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    content = filesystem.read_bytes(f"{target.path}@{commit}/{MANIFEST}") if MANIFEST in files else b""
    return _There(commit, files, _manifest(content))


def _manifest(content: bytes) -> Mapping[str, Any] | None:
    """The manifest of a run of siftlm; None where the file is something else."""
    try:
        manifest = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    is_one = isinstance(manifest, dict) and {"name", "identity", "data", "papers"} <= manifest.keys()
    return manifest if is_one else None


def _check(run: FinishedRun, there: _There, files: Mapping[str, str], target: HubTarget) -> None:
    """Keeps what somebody else put there from being overwritten unasked."""
    if target.overwrite:
        return
    others = sorted(files.keys() & there.files.keys() - there.owned())
    if others:
        raise UserError(
            f"push: files that siftlm did not write are overwritten with --overwrite only, got {_some(others)} in "
            f"{target.path}"
        )
    if there.manifest is not None and there.manifest["name"] != run.manifest["name"]:
        raise UserError(
            f"push: another run is replaced with --overwrite only, got {there.manifest['name']!r} in {target.path}"
        )


def _committed(api: HfApi, run: FinishedRun, there: _There, files: Mapping[str, str], target: HubTarget) -> Pushed:
    """Sends what the hub does not have, then makes the commit, on top of what was looked at and of nothing else."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    contents: dict[str, str | bytes] = {**files, CARD: _card(files[CARD], there, target)}
    added = [CommitOperationAdd(name, content) for name, content in contents.items()]
    removed = sorted(there.owned() - files.keys())
    same = {add.path_in_repo for add in added if _is_there(add, there.files)}
    others = sorted(there.files.keys() - files.keys() - set(removed) - {GITS_OWN})
    kept = [name for name in files if name in same]
    if len(same) == len(files) and not removed:
        return Pushed(there.commit, same=kept, others=others)
    made = api.create_commit(
        target.repository,
        [*(add for add in added if add.path_in_repo not in same), *map(CommitOperationDelete, removed)],
        commit_message=f"Run {run.manifest['name']}, {run.manifest['identity'][:16]}",
        repo_type="dataset",
        revision=target.revision,
        parent_commit=there.commit,
    )
    changed = [name for name in files if name not in same]
    new = [name for name in changed if name not in there.files]
    replaced = [name for name in changed if name in there.files]
    return Pushed(str(made.oid), new, replaced, removed, kept, others)


def _card(path: str, there: _There, target: HubTarget) -> bytes:
    """The card with the fields that a user gave the card on the hub, as its license."""
    card = filesystem.read_bytes(path).decode()
    if CARD not in there.files:
        return card.encode()
    kept = filesystem.read_bytes(f"{target.path}@{there.commit}/{CARD}").decode(errors="replace")
    try:
        return with_fields_of(kept, card).encode()
    except ValueError as error:
        raise UserError(f"push: {CARD} on the hub {error}, got {target.path}; mend it there") from None


def _is_there(add: CommitOperationAdd, files: Mapping[str, RepoFile]) -> bool:
    """Whether the branch has these very bytes under this name."""
    there = files.get(add.path_in_repo)
    if there is None or there.size != add.upload_info.size:
        return False
    if there.lfs:
        return bool(there.lfs["sha256"] == add.upload_info.sha256.hex())
    with add.as_file() as file:
        content = file.read()
    return bool(there.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())


@contextmanager
def _explained(target: HubTarget) -> Iterator[None]:
    """Turns what the hub refuses, and what its client says of its answers, into one line."""
    try:
        with hub.explained(target.path, MUST):
            yield
    except (ValueError, RuntimeError) as error:  # RuntimeError: of the uploader that is written in Rust
        cause = error.__cause__  # of an upload that failed: the client names the file
        why = hub.why_not(cause) if isinstance(cause, hub.faults()) else "run again to go on"
        raise UserError(f"{MUST}, got {target.path}; {reason_of(error)} {why}") from error


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
