"""A mixed real corpus for benchmarks: Wikipedia in four languages, BBC news, GitHub code and C4.

The files are those of a folder `data` with `wiki/`, `news/`, `code/` (JSON lists of strings, gzipped) and
`web/c4-sample.jsonl.gz`; none of them is part of the repository.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def mixed_corpus(folder: Path = SHARED) -> list[str]:
    """All documents, in the order of the files' names: about 45 MB."""
    if not folder.is_dir():
        raise SystemExit(f"corpus: a folder with wiki/, news/, code/ and web/ must be there, got {folder}")
    texts: list[str] = []
    for path in sorted(folder.glob("*/*.json.gz")):
        texts += orjson.loads(gzip.decompress(path.read_bytes()))
    for line in gzip.decompress((folder / "web" / "c4-sample.jsonl.gz").read_bytes()).splitlines():
        texts.append(orjson.loads(line)["text"])
    return texts


def ragged(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`(values, offsets)`: the UTF-8 bytes of all texts, and where each begins."""
    encoded = [text.encode(errors="surrogatepass") for text in texts]
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets
