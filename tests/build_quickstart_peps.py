"""The PEP half of conf/quickstart: a WARC file of HTML and text responses, and a WET file.

build_quickstart_data.py runs it. A page has what surrounds an article on a real site, so that extraction has
something to leave out.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import re
import tarfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

LANDMARKS = (8, 20, 257)
RESPONSE = "application/http; msgtype=response"
# The smallest GIF: one transparent pixel.
PIXEL = base64.b64decode("R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==")


class Bad(NamedTuple):
    """One row of bad.tsv: the record at `position` (from 0) of `file` is not a document."""

    file: str
    position: int
    kind: str


@dataclass(frozen=True)
class Pep:
    number: int
    rst: str

    @property
    def url(self) -> str:
        return f"https://peps.python.org/pep-{self.number:04d}/"

    @property
    def title(self) -> str:
        found = re.search(r"^Title: (.+)$", self.rst, re.MULTILINE)
        return f"PEP {self.number}: {found.group(1).strip() if found else ''}"


def rank(key: str, text: str) -> bytes:
    """A keyed hash to sort by: an arbitrary order that never changes."""
    return hashlib.blake2b(text.encode(), key=key.encode(), digest_size=16).digest()


def peps(source: Path) -> list[Pep]:
    """PEPs whose copyright section says public domain: three that everybody knows and 25 short ones."""
    found = []
    with tarfile.open(source / "manuals" / "peps.tar.xz") as archive:
        for member in archive:
            name = re.search(r"/pep-(\d{4})\.rst$", member.name)
            stream = archive.extractfile(member) if name else None
            if name and stream:
                found.append(Pep(int(name.group(1)), stream.read().decode()))
    free = [pep for pep in found if "public domain" in pep.rst.rpartition("\nCopyright\n")[2].lower()]
    known = [pep for pep in free if pep.number in LANDMARKS]
    short = [pep for pep in free if 4_000 <= len(pep.rst) <= 12_000 and pep not in known]
    chosen = known + sorted(short, key=lambda pep: rank("pep", pep.url))[:25]
    return sorted(chosen, key=lambda pep: pep.number)


def inline(text: str) -> str:
    """reST's literals, links and references as HTML."""
    text = html.escape(text, quote=False)
    text = re.sub(r"``(.+?)``", r"<code>\1</code>", text, flags=re.DOTALL)
    text = re.sub(r"`([^`]+?)\s+&lt;(\S+?)&gt;`__?", r'<a href="\2">\1</a>', text)
    text = re.sub(r":pep:`(\d+)`", lambda m: f'<a href="/pep-{int(m[1]):04d}/">PEP {m[1]}</a>', text)
    text = re.sub(r":pep:`([^`]+?)\s+&lt;(\d+)&gt;`", r'<a href="/pep-\2/">\1</a>', text)
    text = re.sub(r"::$", ":", text)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)


def block_html(block: str) -> str:
    """One block of reST between blank lines: a section title, a listing, a list, or a paragraph."""
    lines = [line for line in block.split("\n") if not line.startswith(".. ")]
    if len(lines) == 2 and re.fullmatch(r"([=\-~'^])\1+", lines[1].strip()):
        return f"<h2>{inline(lines[0])}</h2>"
    if all(line.startswith(" ") for line in lines):
        return f"<pre>{html.escape(chr(10).join(lines), quote=False)}</pre>" if lines else ""
    if re.match(r"[-*] ", lines[0]):
        points = re.split(r"^[-*] ", "\n".join(lines), flags=re.MULTILINE)[1:]
        return "<ul>" + "".join(f"<li>{inline(point.strip())}</li>" for point in points) + "</ul>"
    return f"<p>{inline(chr(10).join(lines))}</p>"


def page(pep: Pep, charset: str) -> str:
    """A page with what surrounds an article on a real site: navigation, a table of facts, a footer."""
    head, *blocks = re.split(r"\n\s*\n", pep.rst.strip())
    facts = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value.strip())}</td></tr>"
        for name, _, value in (line.partition(":") for line in head.split("\n") if not line.startswith(" "))
    )
    title, body = html.escape(pep.title), "\n".join(map(block_html, blocks))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="{charset}"><title>{title} | peps.python.org</title></head>
<body>
<nav><ul><li><a href="https://www.python.org/">Python</a></li><li><a href="/">PEP Index</a></li>
<li><a href="#contents">Contents</a></li></ul></nav>
<main><article><h1>{title}</h1><table>{facts}</table>
{body}
</article></main>
<footer><p>Source: peps/pep-{pep.number:04d}.rst</p><p><a href="/privacy">Privacy</a></p></footer>
</body></html>
"""


def warc_record(kind: str, url: str, number: int, content_type: str, content: bytes, **more: str) -> bytes:
    """One WARC/1.1 record, gzipped by itself; ids and dates follow from the url and the number."""
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{kind} {number} {url}')}>",
        "WARC-Date": f"2024-08-15T12:{number // 60:02d}:{number % 60:02d}Z",
        **({"WARC-Target-URI": url} if kind != "warcinfo" else {}),
        "WARC-Block-Digest": f"sha1:{base64.b32encode(hashlib.sha1(content).digest()).decode()}",
        **{name.replace("_", "-"): value for name, value in more.items()},
        "Content-Type": content_type,
        "Content-Length": str(len(content)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return gzip.compress(f"WARC/1.1\r\n{lines}\r\n".encode() + content + b"\r\n\r\n", 9, mtime=0)


def http(content_type: str, body: bytes) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def exchange(pep: Pep, number: int) -> Iterator[bytes]:
    """A request and its response: every sixth is plain text, pages in Latin-1 where need be."""
    path = f"GET /pep-{pep.number:04d}/ HTTP/1.1\r\nHost: peps.python.org\r\n\r\n".encode()
    yield warc_record("request", pep.url, number, "application/http; msgtype=request", path)
    if number % 6 == 4:
        answer = http("text/plain; charset=utf-8", pep.rst.encode())
    elif not pep.rst.isascii() and max(pep.rst) < "\u0100":
        answer = http("text/html; charset=iso-8859-1", page(pep, "iso-8859-1").encode("latin-1"))
    else:
        answer = http("text/html", page(pep, "utf-8").encode())
    yield warc_record("response", pep.url, number, RESPONSE, answer)


def write_warc(path: Path, chosen: Sequence[Pep]) -> list[Bad]:
    """Requests and responses; then a picture and a revisit, which hold no text."""
    info = b"software: tests/build_quickstart_data.py\r\nformat: WARC File Format 1.1\r\n"
    records = [warc_record("warcinfo", path.name, 0, "application/warc-fields", info)]
    for number, pep in enumerate(chosen, start=1):
        records += exchange(pep, number)
    logo = ("https://peps.python.org/_static/pixel.gif", len(chosen) + 1)
    records.append(warc_record("response", *logo, RESPONSE, http("image/gif", PIXEL)))
    again = warc_record(
        "revisit",
        chosen[0].url,
        len(chosen) + 2,
        RESPONSE,
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        WARC_Profile="http://netpreserve.org/warc/1.1/revisit/identical-payload-digest",
        WARC_Refers_To_Target_URI=chosen[0].url,
    )
    path.write_bytes(b"".join([*records, again]))
    return [
        Bad(f"peps/{path.name}", len(records) - 1, "not_text"),
        Bad(f"peps/{path.name}", len(records), "revisit"),
    ]


def write_wet(path: Path, chosen: Sequence[Pep]) -> None:
    info = b"Software-Info: tests/build_quickstart_data.py\r\nExtracted-Date: Thu, 15 Aug 2024 12:00:00 GMT\r\n"
    records = [warc_record("warcinfo", path.name, 0, "application/warc-fields", info)]
    for number, pep in enumerate(chosen, start=1):
        text = f"{pep.title}\n{pep.rst}".encode()
        records.append(warc_record("conversion", pep.url, number, "text/plain", text))
    path.write_bytes(b"".join(records))


def write_peps(source: Path, target: Path) -> list[Bad]:
    """Writes two thirds of the PEPs as WARC and one third as WET; returns the records that hold no text."""
    chosen = peps(source)
    write_wet(target / "peps-00001.warc.wet.gz", chosen[2::3])
    return write_warc(target / "peps-00000.warc.gz", chosen[::3] + chosen[1::3])
