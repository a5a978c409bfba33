"""Serves a read-only page without scripts, to this machine only, that filters the decisions of a finished run.

Every request reads the few columns that it asks for, shard by shard, and keeps no more than a page of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem
from siftlm.engine.shards import Task
from siftlm.errors import UserError
from siftlm.inspect.excerpts import Excerpts
from siftlm.inspect.explain import explain_row
from siftlm.inspect.run import FinishedRun
from siftlm.report.manifest import REPORT
from siftlm.report.page import render
from siftlm.report.view import Document
from siftlm.stages.columns import read_columns
from siftlm.stages.summary import numeric_columns

LOOPBACK = "127.0.0.1"
PAGE = 25  # documents
LAST_PAGE = 400  # a page needs all before it
NAMES = ("reason", "source", "language", "domain")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Filters:
    """Holds the filters of one request; values are compared as Arrow scalars, never put into a query's text."""

    decision: str  # kept, dropped, or either
    names: Mapping[str, str]
    column: str
    low: float | None
    high: float | None
    descending: bool
    page: int

    @classmethod
    def parse(cls, query: str, columns: Mapping[str, pa.DataType], default: str = "byte_count") -> Filters:
        """Returns the filters of a query string; `default` is the column where it names none.

        Raises:
            UserError: a value is not of its kind.
        """
        asked = {name: value.strip() for name, value in parse_qsl(query, max_num_fields=50) if value.strip()}
        column = asked.get("column") or default
        if column not in numeric_columns(dict(columns)):
            raise UserError(f"column: must be a column of numbers, got {column!r}")
        page = asked.get("page", "1")
        if not page.isascii() or not page.isdigit() or not 1 <= int(page[:9]) <= LAST_PAGE:
            raise UserError(f"page: must be between 1 and {LAST_PAGE}, got {page!r}")
        return cls(
            decision=asked.get("decision", ""),
            names={name: asked[name] for name in NAMES if name in asked and name in columns},
            column=column,
            low=_number(asked, "low"),
            high=_number(asked, "high"),
            descending=asked.get("order") == "descending",
            page=int(page),
        )

    def query(self, page: int) -> str:
        """Returns the query string of another page with the same filters."""
        asked: dict[str, Any] = {"decision": self.decision, **self.names, "column": self.column, "page": page}
        asked |= {name: bound for name, bound in (("low", self.low), ("high", self.high)) if bound is not None}
        return urlencode(asked | ({"order": "descending"} if self.descending else {}))

    def expression(self) -> pc.Expression:
        """Returns the Arrow expression that is true for documents which pass all filters."""
        passing = pc.scalar(True)
        if self.decision in ("kept", "dropped"):
            passing &= pc.field("kept") == (self.decision == "kept")
        for name, value in self.names.items():
            passing &= pc.field(name) == pc.scalar(value)
        if self.low is not None or self.high is not None:
            values = pc.field(self.column).cast(pa.float64())
            passing &= values >= (-np.inf if self.low is None else self.low)
            passing &= values <= (np.inf if self.high is None else self.high)
        return passing


def _number(asked: Mapping[str, str], name: str) -> float | None:
    try:
        return float(asked[name]) if name in asked else None
    except ValueError:
        raise UserError(f"{name}: must be a number, got {asked[name]!r}") from None


class DecisionBrowser:
    """Finds documents of a run by their decision and their columns."""

    def __init__(self, run: FinishedRun) -> None:
        self.run, self.tasks, self.columns = run, run.tasks(), run.columns()
        counts = run.manifest["counts"].get("decisions", {"dropped": {}, "errors": {}})
        self.reasons = sorted({**counts["dropped"], **counts["errors"]})
        self.sources = sorted({shard["source"] for shard in run.manifest["inputs"]})

    def find(self, filters: Filters) -> tuple[int, list[dict[str, Any]]]:
        """Returns (number of documents that pass, rows of one page), ordered by the column, missing values last."""
        first, wanted = (filters.page - 1) * PAGE, filters.page * PAGE
        direction = "descending" if filters.descending else "ascending"
        keys = [(filters.column, direction), ("shard", "ascending"), ("row", "ascending")]
        total, best = 0, pa.table({})
        for task in self.tasks:
            table = self._shard(task, filters)
            total += table.num_rows
            best = pa.concat_tables([best, table], promote_options="default")
            best = best.take(pc.sort_indices(best, sort_keys=keys))[:wanted]
        return total, best[first:wanted].to_pylist()

    def _shard(self, task: Task, filters: Filters) -> pa.Table:
        names = {"doc_id", "kept", *NAMES, filters.column} & self.columns.keys()
        table = read_columns(task, self.run.store, names)
        table = table.append_column("row", pa.array(np.arange(table.num_rows)))
        table = table.append_column("shard", pa.array(np.full(table.num_rows, task.shard)))
        return table.select(sorted(table.schema.names)).filter(filters.expression())

    def documents(self, rows: list[dict[str, Any]], column: str) -> list[tuple[str, Document]]:
        """Returns (query string that names the document, document) for every row."""
        excerpts, documents = Excerpts(self.run), []
        excerpts.read((row["shard"], row["row"]) for row in rows)
        for row in rows:
            names = row["doc_id"], row.get("source"), row.get("domain")
            text = excerpts.excerpt((row["shard"], row["row"]))
            place = urlencode({"shard": row["shard"], "row": row["row"]})
            documents.append((place, Document(*names, text, row["kept"], row["reason"], row[column])))
        return documents

    def page(self, query: str) -> str:
        """Returns the page of documents that a query string asks for."""
        filters = Filters.parse(query, self.columns, self.run.default_column())
        total, rows = self.find(filters)
        last = max(1, -(-total // PAGE))
        return render(
            "decisions.html.jinja",
            name=self.run.manifest["name"],
            filters=filters,
            total=total,
            documents=self.documents(rows, filters.column),
            first=(filters.page - 1) * PAGE + 1,
            previous=filters.query(filters.page - 1) if filters.page > 1 else None,
            following=filters.query(filters.page + 1) if filters.page < min(last, LAST_PAGE) else None,
            reasons=self.reasons,
            sources=self.sources,
            numeric=numeric_columns(self.columns),
            has_language="language" in self.columns,
            has_report=filesystem.exists(f"{self.run.folder}/{REPORT}"),
        )

    def document(self, query: str) -> str:
        """Returns the page of one document: its text, and the steps that kept or dropped it."""
        asked = dict(parse_qsl(query, max_num_fields=10))
        shard, row = (_index(asked, name) for name in ("shard", "row"))
        if shard >= len(self.tasks) or row >= self.run.manifest["inputs"][shard]["documents"]:
            raise UserError(f"shard, row: must be a document's place, got {shard}, {row}")
        return render("document.html.jinja", document=explain_row(self.run, shard, row))


def _index(asked: Mapping[str, str], name: str) -> int:
    text = asked.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise UserError(f"{name}: must be a whole number, got {text!r}")
    return int(text)


def server(run: FinishedRun, port: int) -> ThreadingHTTPServer:
    """Returns a server bound to the loopback interface, not yet serving; port 0 takes a free one."""
    decisions = DecisionBrowser(run)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host, port = self.headers.get("Host", ""), self.connection.getsockname()[1]
            status, body, kind = answer(decisions, self.path, host, port)
            self.send_response(status)
            for name, text in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Logs nothing, because requests hold what somebody looks for."""

    try:
        return ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise UserError(f"--port: must be free, got {port}; {error.strerror}") from None


def serve(run: FinishedRun, port: int, say: Callable[[str], None]) -> None:
    """Serves the decisions of a run until interrupted, after passing the address to `say`."""
    listening = server(run, port)
    say(f"http://{LOOPBACK}:{listening.server_port}/  (Ctrl-C ends it)")
    with suppress(KeyboardInterrupt):
        listening.serve_forever()


HTML, PLAIN = "text/html; charset=utf-8", "text/plain; charset=utf-8"


def answer(decisions: DecisionBrowser, target: str, host: str, port: Any) -> tuple[HTTPStatus, bytes, str]:
    """Returns (status, body, content type) for a request; a host other than this machine is refused.

    A page elsewhere could send a request with another host's name.
    """
    if host not in {f"{LOOPBACK}:{port}", f"localhost:{port}"}:
        return HTTPStatus.FORBIDDEN, b"this page is for this machine only", PLAIN
    url = urlsplit(target)
    try:
        match url.path:
            case "/":
                return HTTPStatus.OK, decisions.page(url.query).encode(), HTML
            case "/document":
                return HTTPStatus.OK, decisions.document(url.query).encode(), HTML
            case "/report.html" if filesystem.exists(f"{decisions.run.folder}/{REPORT}"):
                return HTTPStatus.OK, filesystem.read_bytes(f"{decisions.run.folder}/{REPORT}"), HTML
    except (UserError, ValueError) as error:
        return HTTPStatus.BAD_REQUEST, str(error).encode(errors="replace"), PLAIN
    return HTTPStatus.NOT_FOUND, b"no such page", PLAIN
