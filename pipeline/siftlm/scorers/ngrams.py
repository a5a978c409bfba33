"""Computes DSIR's importance weights of texts from hashed n-grams of a target and a raw corpus.

Xie, Santurkar, Ma and Liang 2023 (arXiv 2302.03169), with the definitions of its public code (p-lambda/dsir):

    words        `\\w+|[^\\w\\s]+` of the lower-cased text (NLTK's WordPunctTokenizer)
    n-grams      all orders 1..n, words joined by one blank
    bucket       int(sha256(utf8).hexdigest(), 16) mod B
    raw_b        count of bucket b in the raw corpus / all
    target_b     (count in the target + smoothing) / all
    weight       sum over the n-grams of a text of log(target_b + 1e-8) - log(raw_b + 1e-8)
    resampling   the k largest of weight + Gumbel noise, which draws k without replacement: `gumbel_noise`

The weight is a sum, so long texts go to the extremes; `mean_log_weight` is the same by n-gram.
"""

from __future__ import annotations

import hashlib
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.settings import Settings
from siftlm.statistics.hashing import hash_strings, keyed, uniform

Floats = npt.NDArray[np.float64]

EPSILON = 1e-8
"""Added to both shares before the logarithm (p-lambda/dsir, hashed_ngram_dsir.py)."""

_NPY_HEADER = re.compile(
    rb"\{'descr': '(?P<kind>[<>|][biuf]\d+)', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>[\d, ]*)\), \}\s*"
)
_WORDS = re.compile(r"\w+|[^\w\s]+")


class NgramSettings(Settings):
    """Configures how n-grams are counted; defaults are those of DSIR's public code."""

    ngrams: int = Field(default=2, gt=0, description="All orders from 1 to this.")
    buckets: int = Field(default=10_000, gt=1, description="Hash buckets of the n-grams.")
    smoothing: float = Field(default=0.0, ge=0, description="Added to every target count.")


def words_of(text: str) -> list[str]:
    """Returns the words and the runs of punctuation of the lower-cased text.

    Words are runs of word characters; the other runs are of what is neither word character nor space.
    """
    return _WORDS.findall(text.lower())


@lru_cache(maxsize=1 << 19)
def bucket_of(ngram: str, buckets: int) -> int:
    """Returns the bucket of an n-gram: its SHA-256, read as one number, modulo the number of buckets."""
    return int.from_bytes(hashlib.sha256(ngram.encode("utf-8", "surrogatepass")).digest(), "big") % buckets


def ngram_buckets(text: str, ngrams: int, buckets: int) -> npt.NDArray[np.int64]:
    """Returns the bucket of every n-gram of the text, for all orders from 1 to `ngrams`."""
    words = words_of(text)
    numbers = [bucket_of(word, buckets) for word in words]
    for order in range(2, ngrams + 1):
        grams = zip(*(words[i:] for i in range(order)), strict=False)
        numbers += [bucket_of(" ".join(gram), buckets) for gram in grams]
    return np.array(numbers, np.int64)


@dataclass(frozen=True)
class NgramCounts:
    """Holds the number of n-grams in each bucket, int64; counts of two corpora add up with `+`."""

    ngrams: int
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[str], settings: NgramSettings) -> NgramCounts:
        counts = np.zeros(settings.buckets, np.int64)
        for text in texts:
            counts += np.bincount(ngram_buckets(text, settings.ngrams, settings.buckets), minlength=settings.buckets)
        return cls(settings.ngrams, counts)

    def __add__(self, other: NgramCounts) -> NgramCounts:
        assert (self.ngrams, len(self.counts)) == (other.ngrams, len(other.counts)), (self, other)
        return NgramCounts(self.ngrams, self.counts + other.counts)


@dataclass(frozen=True)
class ImportanceWeights:
    """Computes log importance weights of texts from `log_ratio[buckets]`, target over raw."""

    ngrams: int
    log_ratio: Floats

    @classmethod
    def fit(cls, raw: NgramCounts, target: NgramCounts, settings: NgramSettings) -> ImportanceWeights:
        """Returns the weights from the counts of both corpora; smoothing is added to the target only."""
        for place, counts in (("raw", raw), ("target", target)):
            if not counts.counts.sum():
                raise UserError(f"dsir.{place}: the corpus must hold some words, got none")
        smoothed = target.counts + settings.smoothing
        target_share = smoothed / smoothed.sum()
        raw_share = raw.counts / raw.counts.sum()
        return cls(raw.ngrams, np.log(target_share + EPSILON) - np.log(raw_share + EPSILON))

    def score(self, texts: Sequence[str]) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Returns the log weight of each text, [texts], and the number of n-grams in it."""
        weights, sizes = np.zeros(len(texts)), np.zeros(len(texts), np.int64)
        for index, text in enumerate(texts):
            buckets = ngram_buckets(text, self.ngrams, len(self.log_ratio))
            weights[index], sizes[index] = self.log_ratio[buckets].sum(), len(buckets)
        return weights, sizes

    def save(self, path: str) -> None:
        """Writes the weights to one .npz file."""
        with filesystem.open_write(path) as file:
            np.savez(file, ngrams=np.int64(self.ngrams), log_ratio=self.log_ratio)

    @classmethod
    def load(cls, path: str) -> ImportanceWeights:
        with filesystem.open_read(path) as file:
            stored = read_npz(file)
        return cls(int(stored["ngrams"]), stored["log_ratio"])

    @classmethod
    def are_at(cls, path: str) -> bool:
        """Tells whether a file holds weights that `save` wrote."""
        try:
            cls.load(path)
        except (OSError, ValueError, KeyError):
            return False
        return True


def read_npz(file: BinaryIO) -> dict[str, np.ndarray]:
    """Returns the arrays of numbers in an .npz file, by name.

    Unlike `np.load`, which has `ast.literal_eval` parse the headers: on CPython 3.11 that may fail in threads.

    Raises:
        ValueError: the file is something else, or cut short.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy"): _read_npy(archive.read(name)) for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError) as error:
        raise ValueError(f"not an .npz file: {error}") from None


def _read_npy(content: bytes) -> np.ndarray:
    width = 2 if content[6:7] == b"\x01" else 4  # of the length of the header, by the version of the format
    start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    header = _NPY_HEADER.fullmatch(content[8 + width : start])
    if not content.startswith(b"\x93NUMPY") or header is None:
        raise ValueError("not an array of numbers in numpy's format")
    shape = [int(length) for length in header["shape"].decode().replace(",", " ").split()]
    array = np.frombuffer(content[start:], np.dtype(header["kind"].decode()), math.prod(shape))
    return array.reshape(shape, order="F" if header["fortran"] == b"True" else "C")


def mean_log_weight(weights: Floats, sizes: npt.NDArray[np.int64]) -> Floats:
    """Returns the mean log weight per n-gram, comparable between lengths; 0 for a text without words."""
    return np.divide(weights, sizes, out=np.zeros_like(weights), where=sizes > 0)


def word_count(sizes: npt.NDArray[np.int64], ngrams: int) -> npt.NDArray[np.int64]:
    """Returns the number of words of each text from its number of n-grams.

    As the public code has it: (n-grams + n(n-1)/2) // n.
    """
    return np.asarray((sizes + ngrams * (ngrams - 1) // 2) // ngrams)


def gumbel_noise(texts: pa.Array, seed: int) -> Floats:
    """Returns -log(-log u), Gumbel noise, with u a keyed hash of each text, the same on every run."""
    return np.asarray(-np.log(-np.log(uniform(keyed(hash_strings(texts), seed, "gumbel")))))
