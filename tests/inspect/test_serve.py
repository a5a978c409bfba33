"""`siftlm report --serve`: filters against duckdb, this machine only, hostile parameters, a real browser."""

from __future__ import annotations

import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import duckdb
import pytest

from siftlm.errors import UserError
from siftlm.inspect.run import FinishedRun
from siftlm.inspect.serve import PAGE, DecisionBrowser, Filters, answer, server


@pytest.fixture(scope="module")
def decisions(small_run: str) -> DecisionBrowser:
    return DecisionBrowser(FinishedRun.open(small_run))


@pytest.fixture(scope="module")
def address(small_run: str) -> Iterator[str]:
    listening = server(FinishedRun.open(small_run), 0)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


def truth(folder: str, where: str) -> list[tuple[str, int]]:
    both = f"read_parquet(['{folder}/data/*.parquet', '{folder}/rejects/*.parquet'], union_by_name=true)"
    once = f"(SELECT DISTINCT ON (doc_id) * FROM {both})"
    return duckdb.sql(f"SELECT doc_id, byte_count FROM {once} WHERE {where} ORDER BY byte_count").fetchall()


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({}, "true"),
        ({"decision": "kept"}, "reason IS NULL"),
        ({"decision": "dropped", "source": "few"}, "reason IS NOT NULL AND source = 'few'"),
        ({"reason": "too_small"}, "reason = 'too_small'"),
        ({"domain": "a.com"}, "domain = 'a.com'"),
        ({"column": "byte_count", "low": "20", "high": "50.5"}, "byte_count BETWEEN 20 AND 50.5"),
        ({"source": "nowhere"}, "false"),
    ],
)
def test_filters_find_what_duckdb_finds(
    decisions: DecisionBrowser, small_run: str, asked: dict[str, str], where: str
) -> None:
    """The count and the values in order, over all pages."""
    expected = truth(small_run, where)
    pages = range(1, max(2, -(-len(expected) // PAGE) + 1))
    found = [decisions.find(Filters.parse(urlencode({**asked, "page": n}), decisions.columns)) for n in pages]
    assert {total for total, _ in found} == {len(expected)}
    rows = [row for _, page in found for row in page]
    assert [row["byte_count"] for row in rows] == [size for _, size in expected]
    assert {row["doc_id"] for row in rows} == {name for name, _ in expected}


@pytest.mark.parametrize(
    "value", ["' OR 1=1 --", "a.com'; DROP TABLE x", "<script>alert(1)</script>", "\0", "😀", "%s{}"]
)
def test_parameters_are_values_and_come_back_escaped(decisions: DecisionBrowser, value: str) -> None:
    """No parameter widens a filter or becomes markup."""
    page = decisions.page(urlencode({"domain": value}))
    assert len(re.findall(r'id="total">(\d+) documents', page)) == 1
    assert int(re.findall(r'id="total">(\d+) documents', page)[0]) <= 1
    assert "<script" not in page


@pytest.mark.parametrize(
    "query", ["column=text", "column=__class__", "low=abc", "page=0", "page=-1", "page=1e3", "page=999999", "page=²"]
)
def test_a_parameter_of_the_wrong_kind_is_named(decisions: DecisionBrowser, query: str) -> None:
    """It is refused with what it must be."""
    with pytest.raises(UserError, match=query.partition("=")[0]):
        decisions.page(query)


def test_another_hosts_name_is_refused(decisions: DecisionBrowser) -> None:
    """A page elsewhere that resolves its own name to this machine gets nothing."""
    assert answer(decisions, "/", "evil.example:80", 80)[0] == 403
    assert answer(decisions, "/", "127.0.0.1:80", 80)[0] == 200


@pytest.mark.parametrize("target", ["/../../etc/passwd", "/etc/passwd", "/manifest.json", "//evil", "/document/"])
def test_no_other_path_is_served(decisions: DecisionBrowser, target: str) -> None:
    """There are three pages; nothing is looked up in the file system by a request's path."""
    assert answer(decisions, target, "localhost:80", 80)[0] == 404


@pytest.mark.parametrize(
    "query", ["", "shard=0", "shard=9&row=0", "shard=0&row=99999", "shard=-1&row=0", "shard=a&row=b"]
)
def test_a_place_without_a_document_is_a_mistake(decisions: DecisionBrowser, query: str) -> None:
    """Numbers that are none, or that no document has."""
    assert answer(decisions, f"/document?{query}", "localhost:80", 80)[0] == 400


def test_the_server_listens_on_the_loopback_and_sends_a_policy(address: str) -> None:
    """One request over a socket: status, headers, the report beside it."""
    with urllib.request.urlopen(f"{address}/?decision=kept") as response:
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert b"documents</p>" in response.read()
    with urllib.request.urlopen(f"{address}/report.html") as response:
        assert b"What was dropped, and why" in response.read()
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(urllib.request.Request(address, method="POST", data=b""))


def test_a_browser_shows_a_filtered_page_and_runs_nothing(chromium: str, address: str, small_run: str) -> None:
    """The page as Chromium builds it: the number of documents, and hostile texts as text."""
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    url = f"{address}/?source=odd&domain={quote('a.com')}"
    done = subprocess.run([*command, url], check=True, capture_output=True, timeout=120)
    page = done.stdout.decode()
    expected = len(truth(small_run, "source = 'odd' AND domain = 'a.com'"))
    assert f'id="total">{expected} documents' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page


def test_a_document_is_explained_on_its_page(decisions: DecisionBrowser) -> None:
    """Its way, its cluster and its text."""
    page = decisions.document("shard=0&row=0") + decisions.document("shard=0&row=6")
    assert "Its way" in page
    assert "Its cluster of 2" in page


def test_an_empty_run_has_a_page(empty_run: str) -> None:
    """It says that there is nothing."""
    assert "No document passes these filters" in DecisionBrowser(FinishedRun.open(empty_run)).page("")


def test_a_port_in_use_is_a_mistake(address: str, small_run: str) -> None:
    """It is named, without a traceback."""
    with pytest.raises(UserError, match="--port: must be free"):
        server(FinishedRun.open(small_run), int(address.rpartition(":")[2]))
