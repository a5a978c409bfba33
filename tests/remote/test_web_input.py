"""https:// files as input, from a web server on this machine (by http://)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.runs.conftest import Bench

from siftlm import filesystem, paths, patterns
from siftlm.errors import UserError

pytest.importorskip("aiohttp")


@dataclass
class WebServer:
    """A web server of a few files; one without `ranges` sends whole files, whatever is asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tag: str = '"one"'
    url: str = ""
    breaks: int = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: WebServer

    def log_message(self, *words: Any) -> None:
        return

    def do_GET(self) -> None:
        web = self.server_of
        content = web.files.get(self.path)
        if content is None:
            self._send(403 if "secret" in self.path else 404, b"none")
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked or not web.ranges:
            self._send(200, content)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        self._send(206, content[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

    do_HEAD = do_GET  # noqa: N815

    def _send(self, status: int, content: bytes, marks: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "ETag": self.server_of.tag, **(marks or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if status == 206 and len(content) > 1 and self.server_of.breaks:
            self.server_of.breaks -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)


@pytest.fixture
def web() -> Iterator[WebServer]:
    state = WebServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_of": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_WAITS", (0.0, 0.0, 0.0))


def lines(count: int) -> bytes:
    return "".join(json.dumps({"id": str(at), "text": f"Text {at}."}) + "\n" for at in range(count)).encode()


def run(bench: Bench, url: str) -> Any:
    return bench.run(input=[{"source": "web", "paths": [url], "id_field": "id"}])


@pytest.mark.usefixtures("no_waits")
def test_a_file_on_the_web_is_read_in_parts(web: WebServer, bench: Bench) -> None:
    """A connection that breaks is taken up again; the next run knows the file by its tag."""
    web.files["/d/x.jsonl"] = lines(100)
    web.breaks = 2
    run(bench, f"{web.url}/d/x.jsonl")
    assert len(bench.rows()) == 100
    assert web.breaks == 0
    assert run(bench, f"{web.url}/d/x.jsonl").unchanged
    web.files["/d/x.jsonl"], web.tag = lines(101), '"two"'
    run(bench, f"{web.url}/d/x.jsonl")
    assert len(bench.rows()) == 101


@pytest.mark.usefixtures("no_waits")
def test_a_server_that_stays_away_stops_the_run(web: WebServer, bench: Bench) -> None:
    """It is no damage of the file."""
    web.files["/d/x.jsonl"] = lines(100)
    web.breaks = 100
    with pytest.raises(UserError, match=r"files must be readable to their ends, got http.*run again"):
        run(bench, f"{web.url}/d/x.jsonl")


def test_weak_tags_are_no_fingerprints(web: WebServer) -> None:
    """A server may keep one for other bytes, so the bytes are read."""
    web.files["/x"], web.tag = b"aaa", 'W/"one"'
    before = filesystem.fingerprint(f"{web.url}/x")
    web.files["/x"] = b"aab"
    assert filesystem.fingerprint(f"{web.url}/x") != before


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/none.jsonl", "the server has no such file"),
        ("/secret.jsonl", "the server refuses it"),
        ("/d/*.jsonl", "every file must be named in full"),
        ("/d/", "every file must be named in full"),
        ("/d", "name files in full"),
    ],
)
def test_what_a_web_server_does_not_give_is_one_line(path: str, why: str, web: WebServer) -> None:
    """With what to do about it."""
    web.files["/d/x.jsonl"] = lines(10)
    with pytest.raises(UserError, match=re.escape(why)):
        patterns.survey([f"{web.url}{path}"])


def test_a_server_without_ranges_is_refused(web: WebServer) -> None:
    """Before anything is read."""
    web.files["/x.jsonl"], web.ranges = lines(10), False
    with pytest.raises(UserError, match=r"HTTP ranges.*whose server gives no parts of files; download it first"):
        patterns.survey([f"{web.url}/x.jsonl"])


def test_nobody_at_the_address_is_one_line() -> None:
    """Nothing listens at the port of the discard protocol."""
    with pytest.raises(UserError, match=r"files on the web must be there, got http://127\.0\.0\.1:9/x"):
        patterns.survey(["http://127.0.0.1:9/x"])


@pytest.mark.parametrize("url", ["https://me:secret@example.org/x", "https://me@example.org/x"])
def test_a_password_in_a_url_is_refused(url: str) -> None:
    """Manifests and keys would tell it."""
    with pytest.raises(ValueError, match="must not have a name or a password"):
        paths.readable(url)


@pytest.mark.parametrize("url", ["https://example.org", "https://example.org/", "https:///x"])
def test_a_url_names_a_file(url: str) -> None:
    """A host alone is none."""
    with pytest.raises(ValueError, match="must name a file"):
        paths.readable(url)


def test_tables_on_the_web_are_joined(web: WebServer, bench: Bench) -> None:
    """A path of [[join]] is a path like others."""
    pytest.importorskip("duckdb")
    web.files["/stars.csv"] = b"id,stars\na,3\nb,5\n"
    bench.shard("1.jsonl", [{"id": "a", "text": "One."}, {"id": "b", "text": "Two."}])
    bench.run(join=[{"path": f"{web.url}/stars.csv", "key": "id", "columns": ["stars"]}])
    assert {row["doc_id"]: row["stars"] for row in bench.rows()} == {"a": 3, "b": 5}
