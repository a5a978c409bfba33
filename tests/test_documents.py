"""Ids and domains of documents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tldextract
from hypothesis import given
from hypothesis import strategies as st

from siftlm.documents import DOCUMENT_SCHEMA, RECORD_SCHEMA, document_id, registered_domain

MANIFEST = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "web" / "webpages.manifest.tsv"

ODD_URLS = {
    "https://a.b.bbc.co.uk/news?x=1#y": "bbc.co.uk",
    "HTTP://WWW.Example.COM/": "example.com",
    "http://user:pa:ss@www.example.org:8080/x": "example.org",
    "http://a@b@example.org/": "example.org",
    "https://example.org.": "example.org",
    "https://www.example.org.:443/": "example.org",
    "//cdn.example.net/x.js": "example.net",
    "www.example.net/x:y": "example.net",
    "example.net:8080/x": "example.net",
    "localhost:8080": "localhost",
    "http://localhost/x": "localhost",
    "http://192.168.0.1:80/": "192.168.0.1",
    "http://[2001:DB8::1]:80/x": "2001:db8::1",
    "http://[::1": "::1",
    "https://bücher.example.de/": "example.de",
    "https://www.bücher.de/": "bücher.de",
    "https://www.xn--bcher-kva.de/": "xn--bcher-kva.de",
    "https://someone.github.io/": "github.io",
    "http://co.uk/": "co.uk",
    "http://example.org?x=http://other.com/": "example.org",
    "http://example.org#@other.com": "example.org",
    "http://example.org\\@other.com/": "example.org",
    "  https://example.org/ ": "example.org",
    "ftp://files.example.org/x": "example.org",
    "mailto:someone@example.org": None,
    "javascript:alert(1)": None,
    "data:text/html,x": None,
    "urn:uuid:0": None,
    "/x/y": None,
    "http:///x": None,
    "https://": None,
    "": None,
    None: None,
    f"http://{'a' * 300}.org/": None,
}


@pytest.mark.parametrize(("url", "domain"), ODD_URLS.items())
def test_odd_urls_have_the_domain_that_a_browser_would_go_to(url: str | None, domain: str | None) -> None:
    """Ports, user names, addresses, case, dots and missing schemes do not change where a url leads."""
    assert registered_domain(url) == domain


@pytest.mark.skipif(not MANIFEST.exists(), reason=f"no {MANIFEST}")
def test_domains_of_real_urls_are_those_of_tldextract() -> None:
    """On 1,811 real urls the quick way gives what the package itself gives."""
    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    urls = [line.split("\t")[1] for line in MANIFEST.read_text().splitlines()]
    expected = {url: extract(url).top_domain_under_public_suffix.lower() for url in urls}
    known = {url: domain for url, domain in expected.items() if domain}
    assert len(known) > 1000
    assert {url: registered_domain(url) for url in known} == known


@given(st.text())
def test_any_text_has_a_domain_or_none(url: str) -> None:
    """No url is so odd that it stops a run."""
    domain = registered_domain(url)
    assert domain is None or (domain and domain == domain.lower())


def test_a_record_with_an_own_id_keeps_it() -> None:
    """The id that a record brought along is its id, whatever its url and text."""
    assert document_id("x-1", "http://a.com", "text") == "x-1"


@given(st.text(), st.text())
def test_an_id_depends_on_url_and_text_alone(url: str, text: str) -> None:
    """The same url and text give the same id; another text or the text moved into the url gives another."""
    identity = document_id(None, url, text)
    assert identity == document_id("", url, text)
    assert identity == document_id("", url, memoryview(text.encode()))
    assert len(identity) == 32
    assert identity != document_id(None, url, text + "x")
    assert identity != document_id(None, url + "\0" + text, "") or not text


def test_ids_do_not_change_between_versions() -> None:
    """A pinned value: a changed digest would change every id of every corpus."""
    assert document_id(None, "https://example.org/", "A text.") == "a87d0ef1437dc86c03c50c985adb3ad2"


def test_importing_the_schemas_does_not_load_the_suffix_list() -> None:
    """A configuration is checked without waiting for tldextract."""
    code = "import sys, siftlm.documents; sys.exit('tldextract' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_document_has_what_a_record_has_and_an_identity() -> None:
    """Readers and documents agree on the types of what they share."""
    for field in RECORD_SCHEMA:
        if field.name not in ("record_id", "columns"):
            assert DOCUMENT_SCHEMA.field(field.name).type == field.type
