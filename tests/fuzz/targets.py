"""What is fuzzed: the seeds of each target, and what must hold of every input."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from mutate import mutated

from siftlm.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "conf/quickstart"
SMALL = 300  # bytes of an input that the plain Python references look at too


@dataclass(frozen=True)
class Target:
    """`check` raises what is a defect; `share` is this target's part of all inputs."""

    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes], None]
    share: int
    change: Callable[[random.Random, list[bytes]], bytes] = mutated


# --- seeds: the first records of the quickstart's shards --------------------------------------------------------------


@cache
def texts() -> tuple[str, ...]:
    """Real texts: of the web, of Wikipedia in several languages, and odd ones."""
    lines = (QUICKSTART / "c4/c4-00002-of-00004.jsonl").read_bytes().split(b"\n")[:12]
    wiki = pq.read_table(QUICKSTART / "wikipedia/other-00000-of-00001.parquet", columns=["text"])["text"].to_pylist()
    odd = [
        "",
        "\n\n",
        "- bullet\n- bullet\n...",
        "日本語の文章です。ไทย 中文\n\nÉté",
        "a b a b a b a b\na b a b\n\na b",
    ]
    return (*(json.loads(line)["text"][:1500] for line in lines), *(text[:600] for text in wiki[:6]), *odd)


@cache
def archive(name: str) -> tuple[bytes, ...]:
    """The first records of an archive of the quickstart, one a member."""
    content, records = gzip.decompress((QUICKSTART / "peps" / name).read_bytes()), []
    for part in content.split(b"\r\n\r\nWARC/1.")[:8]:
        records.append((part if part.startswith(b"WARC/1.") else b"WARC/1." + part) + b"\r\n\r\n")
    return tuple(record for record in records if len(record) < 20_000)


def jsonl() -> bytes:
    rows: list[Any] = [{"id": n, "text": text[:400], "url": f"http://{n}.org/"} for n, text in enumerate(texts())]
    return "".join(f"{json.dumps(row, ensure_ascii=n % 2 == 0)}\n" for n, row in enumerate(rows)).encode()


def json_layouts() -> list[bytes]:
    """A list, indented and not, indented objects, lines in CR, UTF-16."""
    rows: list[Any] = [{"id": n, "text": text[:200], "x": {"y": [n]}} for n, text in enumerate(texts())]
    each = [json.dumps(row, indent=2) for row in rows]
    written = [json.dumps(rows), json.dumps(rows, indent=1), "\n".join(each), "\r".join(map(json.dumps, rows))]
    return [*(text.encode() for text in written), written[1].encode("utf-16"), written[0].encode("utf-32")]


def arc() -> bytes:
    first = b"1 1 Test\nURL IP-address Archive-date Content-type Archive-length\n"
    parts = [b"filedesc://x.arc 0.0.0.0 20080430204825 text/plain %d\n%s\n" % (len(first), first)]
    for number, record in enumerate(archive("peps-00000.warc.gz")[1:4]):
        block = record.partition(b"\r\n\r\n")[2]
        parts.append(b"http://%d.org/ 1.2.3.4 20080430204825 text/html %d\n%s\n" % (number, len(block), block))
    return b"".join(parts)


def parquet() -> list[bytes]:
    """Plain and nested columns, with and without dictionaries, in row groups of 5."""
    rows = [text[:80] for text in texts()]
    urls = [f"http://{n}.org/" for n in range(len(rows))]
    tables = [
        (pa.table({"text": rows, "url": urls}), {"use_dictionary": False}),
        (pa.table({"text": pa.array(rows, pa.large_string()), "url": urls}), {"compression": "zstd"}),
        (pa.table({"text": [{"en": text} for text in rows], "n": list(range(len(rows)))}), {"compression": "gzip"}),
        (pa.table({"text": [[text] for text in rows]}), {"write_page_checksum": True}),
        (pa.table({"text": pa.array([t.encode() for t in rows], pa.binary())}), {"data_page_version": "2.0"}),
    ]
    found = []
    for table, options in tables:
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=5, **options)
        found.append(sink.getvalue())
    return found


@cache
def fasttext_models() -> tuple[bytes, ...]:
    """Small models of every loss that fastText itself trained on some of these texts, one of them quantised."""
    return tuple(path.read_bytes() for path in sorted((Path(__file__).parent / "seeds").iterdir()))


# --- what must hold ---------------------------------------------------------------------------------------------------


def reads(format_: str, compression: str = "none", **settings: Any) -> Callable[[bytes], None]:
    """Every record is a document or a reject, its position counted without a gap, and the batch is valid Arrow."""

    def check(content: bytes) -> None:
        from siftlm.readers import FORMATS, InputSettings, detect
        from siftlm.readers.records import batched
        from siftlm.stages.ingest import to_documents

        configured = InputSettings(source="fuzz", paths=["x"], max_document_bytes=1 << 19, **settings)
        found = detect("x", content[: 1 << 16])
        for name, packed in {(format_, compression), (found.format, found.compression)}:
            read = FORMATS[name].open_reader()  # type: ignore[index]
            taken: list[tuple[int, int]] = []  # positions, and how many records each stands for
            for batch in batched(read(io.BytesIO(content), packed, configured), 64, 1 << 20):  # type: ignore[arg-type]
                batch.documents.validate(full=True)
                assert to_documents(batch.documents, "fuzz").num_rows == batch.documents.num_rows
                taken += [(position, 1) for position in batch.documents["position"].to_pylist()]
                taken += [(reject.position, reject.records) for reject in batch.rejects]
            expected = 0
            for position, records in sorted(taken):
                assert position == expected
                expected += records

    return check


def check_page(content: bytes) -> None:
    from siftlm.readers.bodies import PageError
    from siftlm.readers.charsets import decode_page
    from siftlm.readers.warc import page_text

    with suppress(PageError):
        page_text(decode_page(content, None)[0], main_content=len(content) % 2 == 0).encode()


def check_response(content: bytes) -> None:
    from siftlm.readers.bodies import PageError, parse_response
    from siftlm.readers.charsets import decode_page

    with suppress(PageError):
        response = parse_response(content, 1 << 19)
        assert len(response.body) <= (1 << 19) + 1
        decode_page(response.body, response.charset)[0].encode()


def check_url(content: bytes) -> None:
    from siftlm.documents import registered_domain

    registered_domain(content.decode("utf-8", "replace"))


def ragged(content: bytes) -> tuple[Any, Any]:
    """The bytes as three documents, cut where they may be cut."""
    size = len(content)
    cuts = [0, *(next(at for at in range(size * n // 3, size + 1) if at == size or content[at] & 0xC0 != 0x80)
                 for n in (1, 2)), size]  # fmt: skip
    return np.frombuffer(content, np.uint8), np.array(sorted(cuts), np.int64)


def utf8(content: bytes) -> bytes:
    return content.decode("utf-8", "replace").encode()


def check_minhash(content: bytes) -> None:
    from siftlm_kernels.minhash import minhash, minhash_bands, shingle_hashes

    text = ragged(content)
    keys, _ = minhash_bands(*text, bands=3, rows=4)
    assert keys.shape == (3, 3)
    shingle_hashes(*text)
    if len(content) <= SMALL:
        assert np.array_equal(minhash(*text, permutations=8), minhash(*text, permutations=8, impl="reference"))


def check_signals(content: bytes) -> None:
    from siftlm_kernels.text_signals import text_signals

    text = ragged(utf8(content))
    found = text_signals(*text)
    if len(content) <= SMALL:
        for name, truth in text_signals(*text, impl="reference").items():
            np.testing.assert_allclose(found[name], truth, rtol=1e-6, err_msg=name)


def check_paragraphs(content: bytes) -> None:
    from siftlm_kernels.paragraphs import cut_spans, paragraphs, without_spans

    text = ragged(content)
    for unit in ("line", "paragraph"):
        hashes, bounds = paragraphs(*text, unit=unit, min_bytes=1 + len(content) % 5)  # type: ignore[arg-type]
        cut = hashes % 2 == 0
        spans = cut_spans(*text, cut, unit=unit, min_bytes=1 + len(content) % 5)  # type: ignore[arg-type]
        _, ends = without_spans(*text, *spans)
        assert len(bounds) == len(ends) == 4
        if len(content) <= SMALL:
            options: Any = {"unit": unit, "min_bytes": 1 + len(content) % 5, "impl": "reference"}
            assert np.array_equal(hashes, paragraphs(*text, **options)[0])
            assert np.array_equal(spans[0], cut_spans(*text, cut, **options)[0])


def check_fasttext_file(content: bytes) -> None:
    """A damaged model is a ValueError, or a model whose kernels stay within their arrays."""
    from siftlm_kernels.fasttext_linear import FastTextLinear
    from siftlm_kernels.fasttext_linear_file import parse_fasttext

    with suppress(ValueError):
        model = FastTextLinear("x", parse_fasttext(content))
        if model.file.input.shape[0] < 100_000:
            model.probabilities(*ragged("word1 word2 été </s> unseen\nword3".encode()))


@cache
def models() -> list[Any]:
    from siftlm_kernels.fasttext_linear import FastTextLinear
    from siftlm_kernels.fasttext_linear_file import parse_fasttext

    return [FastTextLinear("x", parse_fasttext(content)) for content in fasttext_models()]


def check_fasttext_text(content: bytes) -> None:
    text = ragged(utf8(content))
    model = models()[len(content) % len(models())]
    found = model.probabilities(*text)
    if len(content) <= SMALL:
        np.testing.assert_allclose(found, model.probabilities(*text, impl="reference"), atol=1e-5)


def check_ngrams(content: bytes) -> None:
    from siftlm.scorers.ngrams import ImportanceWeights

    log_ratio = np.linspace(-1, 1, 64)
    weights, sizes = ImportanceWeights(2, log_ratio).score([content.decode("utf-8", "replace")])
    assert abs(weights[0]) <= sizes[0]


def check_toml(content: bytes) -> None:
    """A file's bytes as the configuration of a run."""
    from siftlm import config

    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        file.write(content)
        file.flush()
        with suppress(UserError):
            _use(config.load(file.name))


def check_tree(content: bytes) -> None:
    """A configuration that is TOML, with an override, as a run's or the loop's."""
    from siftlm.config import parse
    from siftlm.loop import LoopConfig, validated

    tree, override = json.loads(content)
    with suppress(UserError):
        _use(parse(tree, [override]))
    with suppress(UserError):
        validated(LoopConfig, json.loads(content)[0], [override], "fuzz")


def _use(config: Any) -> None:
    config.scorers(), config.split()
    for rule in (*config.selection().rules, *config.preselect):
        rule.describe()


def check_expression(content: bytes) -> None:
    from siftlm.report.difference import holds

    with suppress(UserError):
        holds(content.decode("utf-8", "replace"), {"kept_tokens": 0.9, "overlap": 1.0, "drift_x": float("inf")})


def trees() -> list[bytes]:
    files = sorted(ROOT.glob("conf/**/*.toml"))
    return [json.dumps([tomllib.loads(path.read_text()), "seed=3"], default=str).encode() for path in files]


VALUES = (
    None, True, -1, 0, 1, 10**30, 0.5, -0.0, 1e308, "", "x", "a.b", "trained", "é" * 300, "\0", [], [[]], {}, {"": {}},
    {"kind": "band"}, ["", 1], {"min": "x"},
)  # fmt: skip
OVERRIDES = (
    "", "=", ".", "a=", "seed", "select.rules.0.min=5", "input.0.paths=[]", "input.c4.format=x", "select.rules.9.x=1",
    "annotate.language=false", "a.b.c.d=[1", "score.0=3", "input=1", "select.rules.x=2", "name.x=1", "input..=1",
)  # fmt: skip


def changed_tree(draw: random.Random, seeds: list[bytes]) -> bytes:
    """A configuration with values replaced, keys renamed, removed or repeated."""
    tree, override = json.loads(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 4))):
        node, key = tree, draw.choice(sorted(tree) or [""])
        while isinstance(node.get(key) if isinstance(node, dict) else node[key], dict | list) and draw.random() < 0.8:
            below = node[key]
            if not below:
                break
            node, key = below, draw.choice(sorted(below) if isinstance(below, dict) else range(len(below)))
        match draw.randrange(4):
            case 0 if isinstance(node, dict):
                node[draw.choice((f"{key}s", "kind", "name", "when", "x"))] = node.pop(key, None)
            case 1 if isinstance(node, dict):
                node.pop(key, None)
            case 2 if isinstance(node, list):
                node.append(deepcopy(draw.choice(VALUES)))
            case _:
                node[key] = deepcopy(draw.choice(VALUES))
    if draw.random() < 0.5:
        override = mutated(draw, [part.encode() for part in OVERRIDES]).decode("utf-8", "replace")
    return json.dumps([tree, override]).encode()


TERMS = (
    "kept_tokens", "overlap", "drift_x", "unknown", "1", "0", "0.9", "1e999", "9" * 400, "-", "not ", "(", ")",
    "True", "'a'", "x.y", "f()", "[0]", "lambda: 0", "1j", "...", "é",
)  # fmt: skip
OPERATORS = (
    " < ",
    " <= ",
    " == ",
    " != ",
    " > ",
    " is ",
    " in ",
    " and ",
    " or ",
    "+",
    "-",
    "*",
    "/",
    "**",
    "//",
    "%",
    ",",
    ":=",
    "",
)


def changed_expression(draw: random.Random, seeds: list[bytes]) -> bytes:
    """A sentence of terms and operators, or a changed seed."""
    if draw.random() < 0.3:
        return mutated(draw, seeds)
    count = draw.choice((1, 2, 3, 5, 9, 200))
    return "".join(draw.choice(TERMS) + draw.choice(OPERATORS) for _ in range(count)).encode()


def of_texts() -> list[bytes]:
    return [text.encode() for text in texts()] + [text[:100].encode() for text in texts()]


def pages() -> list[bytes]:
    return [record.partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")[2] for record in archive("peps-00000.warc.gz")[1:]]


def responses() -> list[bytes]:
    packed = gzip.compress(b"<p>hello</p>" * 9, mtime=0)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=latin-1\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    whole = [record.partition(b"\r\n\r\n")[2] for record in archive("peps-00000.warc.gz")[1:]]
    return [*whole, head + b"Content-Encoding: gzip\r\n\r\n" + packed, chunked]


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def urls() -> list[bytes]:
    return [b"https://a.bbc.co.uk:80/x?y#z", b"//[::1]/x", b"mailto:a@b.c", b"xn--bcher-kva.de"]


def joined(name: str) -> bytes:
    return b"".join(archive(name)[:4])


def members(name: str) -> bytes:
    return b"".join(gzip.compress(record, mtime=0) for record in archive(name)[:4])


TARGETS: dict[str, Target] = {
    "jsonl": Target(lambda: [jsonl()], reads("jsonl", metadata_fields=["id", "x.y"], id_field="id"), 4),
    "json": Target(json_layouts, reads("jsonl", metadata_fields=["id", "x.y"], id_field="id"), 4),
    "jsonl.gz": Target(lambda: [gzip.compress(jsonl(), mtime=0)], reads("jsonl", "gzip"), 4),
    "jsonl.zst": Target(lambda: [zstd(jsonl())], reads("jsonl", "zstd"), 4),
    "jsonl.bz2": Target(lambda: [bz2.compress(jsonl())], reads("jsonl", "bzip2"), 1),
    "jsonl.xz": Target(lambda: [lzma.compress(jsonl())], reads("jsonl", "xz"), 1),
    "warc": Target(lambda: [joined("peps-00000.warc.gz")], reads("warc", metadata_fields=["charset", "http.date"]), 3),
    "warc.gz": Target(lambda: [members("peps-00000.warc.gz")], reads("warc", "gzip"), 2),
    "arc": Target(lambda: [arc()], reads("warc"), 2),
    "wet": Target(lambda: [joined("peps-00001.warc.wet.gz")], reads("wet"), 4),
    "wet.gz": Target(lambda: [members("peps-00001.warc.wet.gz")], reads("wet", "gzip"), 4),
    "parquet": Target(parquet, reads("parquet", id_field="n"), 4),
    "parquet.nested": Target(parquet, reads("parquet", text_field="text.en"), 2),
    "text": Target(of_texts, reads("text"), 3),
    "text.line": Target(of_texts, reads("text", text_unit="line"), 3),
    "text.paragraph": Target(of_texts, reads("text", text_unit="paragraph"), 3),
    "html": Target(pages, check_page, 5),
    "http": Target(responses, check_response, 5),
    "url": Target(urls, check_url, 8),
    "minhash": Target(of_texts, check_minhash, 8),
    "text_signals": Target(of_texts, check_signals, 8),
    "paragraphs": Target(of_texts, check_paragraphs, 8),
    "fasttext.file": Target(lambda: list(fasttext_models()), check_fasttext_file, 8),
    "fasttext.text": Target(of_texts, check_fasttext_text, 8),
    "ngrams": Target(of_texts, check_ngrams, 5),
    "toml": Target(lambda: [path.read_bytes() for path in sorted(ROOT.glob("conf/**/*.toml"))], check_toml, 2),
    "config": Target(trees, check_tree, 8, changed_tree),
    "expression": Target(lambda: [b"kept_tokens < 0.9", b"not (overlap > 1/2 or drift_x == -1)"], check_expression, 10,
                         changed_expression),
}  # fmt: skip
