"""Personal data: what is found and what is not, against tables, Python's `ipaddress`, and FineWeb's rules."""

from __future__ import annotations

import gzip
import ipaddress
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.edits import yardstick

from siftlm.edits import edited_columns, replaced
from siftlm.edits.networks import is_public
from siftlm.edits.pii import PiiSettings, emails, ips, phones

WEB = Path(__file__).resolve().parents[3] / "shared/data/web/c4-sample.jsonl.gz"
WET = WEB.with_name("webpages.warc.wet.gz")


def found(find: Any, text: str) -> list[str]:
    return [text[start:end] for start, end in find(text)]


def edited(text: str, **settings: Any) -> str:
    pii, texts = PiiSettings.model_validate(settings), pa.array([text], pa.large_string())
    return str(replaced(texts, edited_columns(pii, texts)[pii.spans])[0])


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("write to jo.doe+lists@mail.example.co.uk.", ["jo.doe+lists@mail.example.co.uk"]),
        ("<jo@x.org>,(BO@Y.ORG);mailto:al@z.com?subject=x", ["jo@x.org", "BO@Y.ORG", "al@z.com"]),
        ("email=jo@x.org|'al@x.org'", ["jo@x.org", "al@x.org"]),
        ("o'neil@x.ie", ["o'neil@x.ie"]),
        ("邮箱abc@qq.com联系", ["abc@qq.com"]),
        ("jürgen@müller.de", ["jürgen@müller.de"]),
        ("jo@xn--e1afmkfd.xn--p1ai", ["jo@xn--e1afmkfd.xn--p1ai"]),
        ("jo@x.org.5 and jo@x.org-and", ["jo@x.org", "jo@x.org"]),
        ("root@[8.8.8.8] root@10.0.0.1", ["root@[8.8.8.8]", "root@10.0.0.1"]),
        ("ends...jo@x.org", ["jo@x.org"]),
        ("https://jo:secret@host.com/a", ["secret@host.com"]),
        ("a@b.co@c.co", ["a@b.co"]),
        (f"{'x' * 64}@x.org {'x' * 65}@y.org", [f"{'x' * 64}@x.org"]),
        ("jo@localhost, jo@, @x.org, jo@x, jo.@x.org, jo @ x.org, 5@3.20, a@b.c1d, jo@8.8.8.888", []),
        ("a page number behind jo@x.org12", ["jo@x.org"]),
    ],
)
def test_addresses_of_mail(text: str, addresses: list[str]) -> None:
    assert found(emails, text) == addresses


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("8.8.8.8, (1.1.1.1) 9.9.9.9:80 9.9.9.10/24.", ["8.8.8.8", "1.1.1.1", "9.9.9.9", "9.9.9.10"]),
        ("10.0.0.1 127.0.0.1 192.168.1.1 172.16.0.1 169.254.1.1 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255", []),
        ("172.15.0.1 172.32.0.1 100.128.0.1", ["172.15.0.1", "172.32.0.1", "100.128.0.1"]),
        ("256.1.1.1 1.1.1.256 8.8.8 8.8.8.8.8 08.8.8.8 8.8.8.08 v8.8.8.8 8.8.8.8a 18.8.8.888", []),
        ("[2a00:1450:4001:81b::200e]: 2606:4700::1111", ["2a00:1450:4001:81b::200e", "2606:4700::1111"]),
        ("2001:db8::1 fe80::1 ::1 fd00::1 2001::1 12:30:45 2024:05:12 2a00::g 2a00:1:2:3:4:5:6:7:8 std::2a00::", []),
    ],
)  # fmt: skip
def test_public_addresses_of_machines(text: str, addresses: list[str]) -> None:
    assert found(ips, text) == addresses


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("call +49 (0)30 1234567 or +1-212-555-0187", ["+49 (0)30 1234567", "+1-212-555-0187"]),
        ("(212) 555-0187, 212-555-0187 and 212.555.0187", ["(212) 555-0187", "212-555-0187", "212.555.0187"]),
        ("1-800-555-0187", ["1-800-555-0187"]),
        ("+33 1 23 45 67 89", ["+33 1 23 45 67 89"]),
        ("212-555.0187 112-555-0187 212-055-0187 2125550187 212 555 0187 9212-555-0187 212-555-01878", []),
        ("1+12345678 +1234567 +0123456789 2020-05-12 978-3-16-148410-0 x+12345678", []),
    ],
)
def test_numbers_of_phones(text: str, numbers: list[str]) -> None:
    assert found(phones, text) == numbers


@given(st.ip_addresses())
@example(ipaddress.ip_address("192.0.0.9"))
def test_public_is_what_python_says(address: Any) -> None:
    """But for multicast, and the few single addresses within reserved networks."""
    few = [*map(ipaddress.ip_network, ("192.0.0.0/24", "2001::/23", "3fff::/20", "64:ff9b::/96"))]
    if address.is_multicast or any(address in network for network in few if network.version == address.version):
        return
    inside = address.version == 4 or address in ipaddress.ip_network("2000::/3")
    assert is_public(str(address)) == (address.is_global and inside)


def test_one_address_has_one_replacement_and_they_go_round() -> None:
    text = "A@x.org b@x.org a@X.org c@x.org 8.8.8.8 9.9.9.9 8.8.8.8 2a00::1"
    assert edited(text) == (
        "email@example.com firstname.lastname@example.org email@example.com email@example.com "
        "22.214.171.124 126.96.36.199 22.214.171.124 2001:db8::1"
    )


def test_what_is_part_of_an_address_is_nothing_else() -> None:
    text = "root@8.8.8.8 +1-212-555-0187@x.org"
    assert edited(text, phones="replace") == "email@example.com +firstname.lastname@example.org"


def test_what_is_only_counted_stays() -> None:
    pii, text = PiiSettings(emails="count", ips="leave", phones="count"), "a@b.co 8.8.8.8 212-555-0187"
    made = edited_columns(pii, pa.array([text], pa.large_string()))
    assert made.to_pylist() == [{"pii_emails": 1, "pii_phones": 1, "pii_spans": []}]


PIECES = ["a@b.co", "8.8.8.8", "10.0.0.1", "2a00::1", "+49 30 1234567", "é", "\n", ".", "@", "邮", " ", "x", "😀", "7"]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_spans_rise_and_are_counted(text: str) -> None:
    """In bytes of the text, at whole characters."""
    pii, texts = PiiSettings(phones="replace"), pa.array([text], pa.large_string())
    made = edited_columns(pii, texts)
    spans = made[pii.spans][0].as_py()
    edges = [edge for span in spans for edge in (span["start"], span["end"])]
    assert edges == sorted(edges)
    assert len(spans) == sum(made[name][0].as_py() for name in pii.counts())
    for span in spans:
        assert text.encode()[span["start"] : span["end"]].decode().strip()


@given(st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join))
def test_an_edited_text_has_nothing_left_to_edit(text: str) -> None:
    """What stands for an address is found no second time."""
    pii, once = PiiSettings(), edited(text)
    for find in (emails, ips):
        assert {*found(find, once)} <= {*pii.email_replacements, *pii.ip_replacements, *pii.ipv6_replacements}
    assert edited(once) == once


HOSTILE = ["a@a@a@", "1.1.1.1.", "a.a.a.", "a-a@", "2001:", "9", "+1 ", "a@a.a-", "(212)", "'@", "+1."]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    """10 MB of anything: a pattern that backtracks would take hours."""
    text = piece * (10_000_000 // len(piece))
    started = time.monotonic()
    made = edited_columns(PiiSettings(phones="replace"), pa.array([text], pa.large_string()))
    assert time.monotonic() - started < 60
    assert sum(sum(made[name].to_pylist()) for name in ("pii_emails", "pii_ips", "pii_phones")) == 0


@pytest.mark.skipif(not WEB.exists(), reason="needs the sample of web pages")
def test_on_web_pages_the_same_is_found_as_by_the_yardstick() -> None:
    """On 1,000 pages of C4: whatever differs is listed."""
    with gzip.open(WEB) as lines:
        texts = [json.loads(line)["text"] for line in lines]
    ours = [(found(emails, text), found(ips, text)) for text in texts]
    theirs = [(yardstick.emails(text), yardstick.ips(text)) for text in texts]
    assert sum(len(mail) for mail, _ in theirs) > 20
    different = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    assert different == []


@pytest.mark.skipif(not WET.exists(), reason="needs the sample of web pages")
def test_on_text_of_an_archive_the_differences_are_few_and_known() -> None:
    """Among 781 addresses of the yardstick's in 1,801 pages: more of a path than the address, and versions."""
    with gzip.open(WET) as file:
        pages = file.read().decode("utf-8", "replace").split("WARC/1.0")
    ours, theirs = Counter[str](), Counter[str]()
    for page in pages:
        ours.update(found(emails, page) + found(ips, page))
        theirs.update(yardstick.emails(page) + yardstick.ips(page))
    assert theirs.total() == 781
    assert sorted((ours - theirs).elements()) == [
        "49news@infocomcgt.fr",
        "50drk@drk.deDRKBerlinDE",
        "info@tüv.co",
        "mcason@al.com",
        "talk@openstreetmap.org",
    ]
    assert sorted((theirs - ours).elements()) == [
        *("30.0.101.163", "30.0.101.166", "30.0.101.196"),  # of drivers 30.0.101.1631, 30.0.101.1660, 30.0.101.1960
        "49news@infocomcgt.fr4",
        "50drk@drk.deDRKBerlinDE12205Carstennstra",
        "Cason/mcason@al.com",
        "medium.com/@ransu.massol",
        "www.mail-archive.com/talk@openstreetmap.org",
    ]
