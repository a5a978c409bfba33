"""Lists of strings: what each kind has, against definitions spelled out, and over sizes and spellings."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siftlm.errors import UserError
from siftlm.selectors.lists import lines, patterns
from siftlm.selectors.lists.domains import DomainsList
from siftlm.selectors.lists.hashes import HashesList
from siftlm.selectors.lists.patterns import PatternsList
from siftlm.selectors.lists.urls import UrlsList, normal_url
from siftlm.selectors.lists.values import ValuesList

LABELS = st.sampled_from(["a", "b", "com", "co", "uk", "x-y", "www"])
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


def held(settings: Any, values: list[str]) -> list[bool]:
    return settings.opened().holds(pa.array(values, pa.string())).tolist()


@given(st.lists(HOSTS, min_size=1, max_size=6), st.lists(HOSTS, max_size=20))
def test_a_domain_covers_itself_and_what_ends_in_it_behind_a_dot(listed: list[str], hosts: list[str]) -> None:
    expected = [any(host == domain or host.endswith(f".{domain}") for domain in listed) for host in hosts]
    assert held(DomainsList(entries=listed), hosts) == expected
    assert held(DomainsList(entries=listed), [f"https://u:p@{host.upper()}:8080/p?q#f" for host in hosts]) == expected


@pytest.mark.parametrize(
    ("entry", "hosts", "others"),
    [
        ("münchen.de", ["MÜNCHEN.de", "xn--mnchen-3ya.de", "www.münchen.de"], ["munchen.de"]),
        ("xn--fiqs8s", ["例.中国", "http://xn--fsq.xn--fiqs8s/x"], ["中国.com"]),
        ("faß.de", ["xn--fa-hia.de"], ["fass.de"]),
        (".example.com", ["example.com", "a.example.com"], ["anexample.com"]),
        ("*.example.com.", ["example.com", "a.example.com"], []),
        ("0.0.0.0 a.com b.com", ["a.com", "b.com"], ["0.0.0.0"]),
        ("::1 localhost # this machine", ["localhost"], ["c.com"]),
        ("10.0.0.1", ["http://10.0.0.1/x"], ["http://10.0.0.11/x", "1"]),
        ("under_score.com", ["http://a.under_score.com"], []),
    ],
)
def test_a_line_of_a_list_of_domains_covers(entry: str, hosts: list[str], others: list[str]) -> None:
    assert held(DomainsList(entries=[entry]), hosts + others) == [True] * len(hosts) + [False] * len(others)


@pytest.mark.parametrize("entry", ["a.com b.com", "||a.com^", "a..com", "http://a.com/x", "0.0.0.0 a.com/x", "a b"])
def test_a_line_that_is_no_domain_is_refused(entry: str) -> None:
    with pytest.raises(UserError, match=r"entries: must be a domain a line, got .* in entry 2"):
        DomainsList(entries=["ok.com", entry]).opened()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://www.a.com/x/", "https://A.com:443/x#top", True),
        ("a.com", "http://user@a.com/", True),
        ("//a.com/%7Eb", "a.com/~b", True),
        ("a.com/%c3%a9", "a.com/é", True),
        ("a.com/x%2fy", "a.com/x/y", False),
        ("a.com/x?b=1", "a.com/x/?b=1", True),
        ("a.com/x?b=1", "a.com/x?b=2", False),
        ("a.com/X", "a.com/x", False),
        ("a.com:8080/x", "a.com/x", False),
        ("münchen.de/x", "xn--mnchen-3ya.de/x", True),
        ("a.com/x", "b.a.com/x", False),
        ("a.com/x", "a.com/x/y", False),
    ],
)
def test_two_urls_are_the_same_page(one: str, other: str, same: bool) -> None:
    assert (normal_url(one) == normal_url(other)) is same
    assert held(UrlsList(entries=[one]), [other]) == [same]


@given(st.text(max_size=40))
def test_the_normal_form_of_a_url_is_its_own_normal_form(url: str) -> None:
    normal = normal_url(url)
    assert normal is None or normal_url(normal) == normal


@given(st.lists(st.sampled_from(["^a", "b+", "[xy]$", "(?i)Q", "a|c", "zz"]), min_size=1), st.text("abcqxyzQ"))
def test_patterns_are_found_where_re_finds_them(listed: list[str], value: str) -> None:
    expected = any(re.search(pattern, value) for pattern in listed)
    assert held(PatternsList(entries=listed), [value]) == [expected]


def test_thousands_of_patterns_and_one_that_backtracking_would_not_end() -> None:
    many = [f"site{n}[0-9]*\\.(com|org)/" for n in range(5000)]
    started = time.monotonic()
    assert held(PatternsList(entries=[*many, "^(a+)+$"]), ["x.site4999.org/", "a" * 200 + "b", "x"]) == [
        True,
        False,
        False,
    ]
    assert time.monotonic() - started < 20


def test_patterns_too_large_to_be_looked_for_together_are_looked_for_apart() -> None:
    large = [f"{n}\\pL{{90}}" for n in range(64)]
    opened = PatternsList(entries=large).opened()
    assert len(opened.alternatives) > len(large) // patterns.TOGETHER  # type: ignore[attr-defined]
    assert opened.holds(pa.array([f"63{'x' * 90}", f"63{'x' * 89}"])).tolist() == [True, False]


@given(st.lists(st.text(min_size=1).filter(lambda t: t == t.strip() and t[0] != "#"), min_size=1), st.lists(st.text()))
def test_values_are_those_listed(listed: list[str], values: list[str]) -> None:
    assert held(ValuesList(entries=listed), [*values, *listed]) == [v in listed for v in values] + [True] * len(listed)


def test_lines_are_told_by_number_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte order mark and line ends of Windows are no part of a line."""
    monkeypatch.setattr(lines, "BLOCK_BYTES", 7)
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffa.com\r\n# é\r\n\r\n  b.org \r\nlonger-than-a-block.net".encode())
    read = list(lines.read_lines(str(path)))
    assert [text for block in read for text in block.texts.to_pylist()] == ["a.com", "b.org", "longer-than-a-block.net"]
    assert [number for block in read for number in block.numbers.tolist()] == [1, 4, 5]


def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"a" * (lines.BLOCK_BYTES + 1))
    with pytest.raises(UserError, match=r"path: must have lines of at most 1,048,576 bytes, got a longer one in "):
        ValuesList(path=str(path)).opened()


def test_a_list_that_changes_after_it_was_configured_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a\n")
    settings = ValuesList(path=str(path))
    path.write_text("b\n")
    with pytest.raises(UserError, match=r"path: must have the content of digest \w+, got another in "):
        settings.opened()
    assert held(ValuesList(path=str(path)), ["a", "b"]) == [False, True]
    assert ValuesList(path=str(path)).opened() is ValuesList(path=str(path)).opened()


def test_a_million_domains_are_read_in_seconds_and_held_in_eight_bytes_each(tmp_path: Path) -> None:
    count = 1_000_000
    path = tmp_path / "domains"
    path.write_text("".join(f"site-{n}.example{n % 977}.com\n" for n in range(count)))
    started = os.times().user
    opened = DomainsList(path=str(path)).opened()
    assert os.times().user - started < 20
    assert opened.entries == count
    assert opened.keys.hashes.nbytes == 8 * count  # type: ignore[attr-defined]
    assert opened.holds(pa.array(["http://www.site-7.example7.com/", "http://site-7.example8.com/"])).tolist() == [
        True,
        False,
    ]


def test_digests_are_compared_in_either_case_without_the_names_behind_them() -> None:
    digest = "0123456789abcdef" * 2
    assert held(HashesList(entries=[f"{digest.upper()}  a file"]), [digest, digest.upper(), digest[::-1]]) == [
        True,
        True,
        False,
    ]
    for wrong in ("0123", f"{digest}xyz", digest * 5):
        with pytest.raises(UserError, match="must be a digest of 32 to 128 hexadecimal digits a line"):
            HashesList(entries=[wrong]).opened()


def test_a_column_of_numbers_is_compared_with_no_list() -> None:
    from siftlm.selectors import SelectSettings, select

    rule = {"kind": "threshold", "column": "n", "in": {"entries": ["1"]}}
    settings = SelectSettings.model_validate({"rules": [rule]})
    with pytest.raises(UserError, match=r"select\.rules\.0\.in\.column: must be of strings where a table names a list"):
        select([pa.table({"doc_id": ["a"], "n": np.arange(1)})], settings)
