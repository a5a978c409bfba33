"""A stand-in of the Hugging Face hub's API on this machine: what huggingface_hub calls, and no more.

It was written from what the client sends and takes, not from the hub. It can break connections in the middle, refuse
tokens and gate repositories. Git is not behind it: a commit is a mapping of paths to blobs, its id a digest of that.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 100  # entries of a listing in one answer


@dataclass(frozen=True)
class Blob:
    content: bytes
    large: bool  # stored by git LFS

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """git's id of a blob; of a large file the blob is a pointer."""
        shown = f"oid sha256:{self.sha256}".encode() if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(shown) + shown).hexdigest()

    def told(self, path: str) -> dict[str, Any]:
        facts: dict[str, Any] = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        if self.large:
            facts["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 130}
        return facts


Tree = dict[str, Blob]


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    commits: dict[str, Tree] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, tree: Tree, branch: str = "main", message: str = "") -> str:
        above = self.branches.get(branch, "")
        told = json.dumps([above, message, {path: blob.oid for path, blob in sorted(tree.items())}])
        commit = hashlib.sha1(told.encode()).hexdigest()
        self.commits[commit], self.branches[branch] = tree, commit
        self.messages.append(message)
        return commit

    def head(self, branch: str = "main") -> Tree:
        return self.commits[self.branches[branch]]


class HubStandIn:
    """The state of the stand-in: repositories, large files, and what was asked of it."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()  # requests by what they are for
        self.sent_bytes = self.taken_bytes = 0  # of files
        self.breaks: dict[str, int] = {}  # what for -> how many more connections break in the middle
        self.breaks_after = 0  # connections that are left whole before that
        self.before_commit: Callable[[], None] | None = None
        self.tokens = {"hf_good"}
        self.seen_tokens: set[str] = set()
        self.url = ""

    def dataset(self, name: str, files: dict[str, bytes], **of: Any) -> Repository:
        """A dataset with one commit; files that end in .parquet, .gz and .zst are large ones."""
        repository = self.repositories.setdefault(("datasets", name), Repository(**of))
        repository.commit({path: self.blob(path, content) for path, content in files.items()})
        return repository

    def blob(self, path: str, content: bytes) -> Blob:
        blob = Blob(content, path.endswith((".parquet", ".gz", ".zst")))
        if blob.large:
            self.large[blob.sha256] = content
        return blob

    def breaks_now(self, what: str) -> bool:
        left = self.breaks.get(what, 0)
        if left and self.breaks_after:
            self.breaks_after -= 1
            return False
        self.breaks[what] = max(0, left - 1)
        return left > 0


class RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


_ROUTES = {
    "info": r"/api/(?P<kind>datasets|models)/(?P<name>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?",
    "tree": r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(/(?P<path>.*))?",
    "paths-info": r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)",
    "preupload": r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)",
    "commit": r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)",
    "branch": r"/api/(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)",
    "create": r"/api/repos/create",
    "yaml": r"/api/validate-yaml",
    "upload": r"/upload/(?P<oid>[0-9a-f]{64})",
    "batch": r"/(?P<kind>datasets)/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch",
    "resolve": r"/(?:(?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.*)",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubStandIn

    def log_message(self, *words: Any) -> None:
        return

    def _answer(self) -> None:
        split = urlsplit(self.path)
        self.query, self.unread = parse_qs(split.query), int(self.headers.get("Content-Length") or 0)
        try:
            for what, route in _ROUTES.items():
                if parts := re.fullmatch(route, split.path):
                    self.hub.asked[what] += 1
                    self.parts = {key: unquote(value or "") for key, value in parts.groupdict().items()}
                    self._know()
                    getattr(self, "_" + what.replace("-", "_"))()
                    return
            raise RefusedError(404, message=f"the stand-in does not know {split.path}")
        except RefusedError as refused:
            self._body()
            marks = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self._send(refused.status, {"error": refused.message}, {k: v for k, v in marks.items() if v})

    do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815

    def _know(self) -> None:
        """Refuses a token that nobody has; `self.known` tells whether there is one."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.known = bool(token)
        self.hub.seen_tokens |= {token} - {""}
        if token and token not in self.hub.tokens:
            raise RefusedError(401, message="Invalid credentials in Authorization header")

    def _repository(self) -> Repository:
        repository = self.hub.repositories.get((self.parts["kind"] or "models", self.parts["name"]))
        if repository is None or (repository.private and not self.known):
            raise RefusedError(404 if self.known else 401, "RepoNotFound", "Repository not found")
        return repository

    def _commit_id(self) -> str:
        repository, revision = self._repository(), self.parts["revision"] or "main"
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _readable(self) -> Tree:
        return self._repository().commits[self._commit_id()]

    def _writable(self) -> Repository:
        repository = self._repository()
        if not self.known:
            raise RefusedError(401, message="no token")
        return repository

    def _info(self) -> None:
        commit, repository = self._commit_id(), self._repository()
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        told = {"id": self.parts["name"], "sha": commit, "private": repository.private, "siblings": siblings}
        self._send(
            200, told | {"gated": "manual" if repository.gated else False, "tags": [], "downloads": 0, "likes": 0}
        )

    def _tree(self) -> None:
        tree, within = self._readable(), self.parts["path"].strip("/")
        deep, start = self.query.get("recursive") in (["True"], ["true"]), int(self.query.get("cursor", ["0"])[0])
        listed = _listing(tree, within, deep)
        if within and not listed:
            raise RefusedError(404, "EntryNotFound", f"{within} does not exist")
        page = listed[start : start + PAGE]
        following = f"{self.hub.url}{urlsplit(self.path).path}?recursive={deep}&cursor={start + PAGE}"
        self._send(200, page, {"Link": f'<{following}>; rel="next"'} if start + PAGE < len(listed) else {})

    def _paths_info(self) -> None:
        tree = self._readable()
        wanted = parse_qs(self._body().decode()).get("paths", [])
        self._send(200, [tree[path].told(path) for path in wanted if path in tree])

    def _preupload(self) -> None:
        self._writable()
        tree, files = self._readable(), json.loads(self._body())["files"]
        told = []
        for file in files:
            path, there = file["path"], tree.get(file["path"])
            mode = "lfs" if path.endswith((".parquet", ".gz", ".zst")) else "regular"
            oid = None if there is None else there.sha256 if there.large else there.oid
            told.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._send(200, {"files": told})

    def _batch(self) -> None:
        self._writable()
        objects = []
        for asked in json.loads(self._body())["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/upload/{asked['oid']}"}}
            objects.append(asked | ({} if asked["oid"] in self.hub.large else {"actions": upload}))
        self._send(200, {"transfer": "basic", "objects": objects})

    def _upload(self) -> None:
        size = int(self.headers["Content-Length"])
        if self.hub.breaks_now("upload"):
            self.rfile.read(size // 2)
            self.hub.taken_bytes += size // 2
            self._break()
            return
        content = self._body()
        self.hub.taken_bytes += len(content)
        assert hashlib.sha256(content).hexdigest() == self.parts["oid"]
        self.hub.large[self.parts["oid"]] = content
        self._send(200, {})

    def _commit(self) -> None:
        repository, branch = self._writable(), self.parts["revision"]
        lines = [json.loads(line) for line in self._body().splitlines()]
        if self.hub.before_commit:
            self.hub.before_commit()
        header, tree = lines[0]["value"], dict(repository.head(branch))
        if header.get("parentCommit", repository.branches[branch]) != repository.branches[branch]:
            raise RefusedError(412, message="A commit has happened since")
        for line in lines[1:]:
            self._apply(tree, line["key"], line["value"])
        commit = repository.commit(tree, branch, header["summary"])
        self._send(
            200, {"commitUrl": f"{self.hub.url}/datasets/{self.parts['name']}/commit/{commit}", "commitOid": commit}
        )

    def _apply(self, tree: Tree, key: str, value: dict[str, Any]) -> None:
        path = value["path"]
        if key == "file":
            tree[path] = Blob(base64.b64decode(value["content"]), False)
        elif key == "lfsFile":
            tree[path] = Blob(self.hub.large[value["oid"]], True)
        elif key == "deletedFile":
            del tree[path]
        else:
            raise RefusedError(400, message=f"the stand-in does not know {key}")

    def _branch(self) -> None:
        repository, branch = self._writable(), self.parts["revision"]
        self._body()
        if branch in repository.branches:
            raise RefusedError(409, message="Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        self._send(200, {})

    def _create(self) -> None:
        asked = json.loads(self._body())
        if not self.known:
            raise RefusedError(401, message="no token")
        name = f"{asked['organization']}/{asked['name']}"
        private = asked.get("visibility") == "private" or asked.get("private", False)
        if ("datasets", name) in self.hub.repositories:
            raise RefusedError(409, message="You already created this dataset repo")
        self.hub.dataset(name, {".gitattributes": b"*.parquet filter=lfs\n"}, private=private)
        self._send(200, {"url": f"{self.hub.url}/datasets/{name}"})

    def _yaml(self) -> None:
        self._body()
        self._send(200, {"errors": [], "warnings": []})

    def _resolve(self) -> None:
        if self._repository().gated and not self.known:  # whose files are listed all the same
            raise RefusedError(403, "GatedRepo", "Access to this dataset is restricted")
        blob = self._readable().get(self.parts["path"])
        if blob is None:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        content, asked = blob.content, re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        marks = {"Accept-Ranges": "bytes", "ETag": f'"{blob.sha256}"', "X-Repo-Commit": self._commit_id()}
        if asked:
            start, end = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
            marks["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content = content[start : end + 1]
        self._send_bytes(206 if asked else 200, content, marks)

    def _body(self) -> bytes:
        """What was sent with the request; nothing where it has been read already."""
        left, self.unread = self.unread, 0
        return self.rfile.read(left)

    def _send(self, status: int, told: Any, marks: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(told).encode(), {"Content-Type": "application/json", **(marks or {})})

    def _send_bytes(self, status: int, content: bytes, marks: dict[str, str]) -> None:
        file = status in (200, 206) and "Content-Type" not in marks
        breaks = file and self.hub.breaks_now("resolve")
        self.send_response(status)
        for name, value in {**marks, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        given = content[: len(content) // 2] if breaks else content
        if self.command != "HEAD":
            self.wfile.write(given)
            self.hub.sent_bytes += len(given) if file else 0
        if breaks:
            self._break()

    def _break(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()


def _listing(tree: Tree, within: str, deep: bool) -> list[dict[str, Any]]:
    """What is in a folder, folders first, as the hub lists it."""
    prefix = f"{within}/" if within else ""
    below = {path: blob for path, blob in tree.items() if path.startswith(prefix)}
    folders = {path[:at] for path in below for at in range(len(prefix), len(path)) if path[at] == "/"}
    listed = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
    listed += [blob.told(path) for path, blob in sorted(below.items())]
    return [entry for entry in listed if deep or "/" not in entry["path"][len(prefix) :]]


@contextmanager
def standing_in() -> Iterator[HubStandIn]:
    """A stand-in that listens on this machine until the block ends."""
    hub = HubStandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
