"""Computes the probabilities of `FastTextLinear` in plain Python, and by the fastText package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from siftlm_kernels.fasttext_linear import LOG_OFFSET, tree_children
from siftlm_kernels.fasttext_linear_file import FastTextFile, FloatArray

_EOS = b"</s>"
_SPACE = re.compile(rb"[ \n\r\t\v\f\0]+")


def reference_probabilities(
    file: FastTextFile, values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> FloatArray:
    """Returns what `FastTextLinear.probabilities` returns, computed in plain Python one text at a time."""
    bounds = offsets.tolist()
    names = [file.entry_bytes[a:b].tobytes() for a, b in pairwise(file.entry_offsets.tolist())]
    entries = {name: index for index, name in enumerate(names)}
    pruned = None if file.pruned is None else dict(file.pruned.tolist())
    texts = (values[a:b].tobytes() for a, b in pairwise(bounds))
    rows = [_outputs(file, list(_rows(file, text, entries, pruned))) for text in texts]
    return np.array(rows, np.float32).reshape(len(bounds) - 1, len(file.labels))


def _rows(file: FastTextFile, text: bytes, entries: dict[bytes, int], pruned: dict[int, int] | None) -> Iterator[int]:
    """The rows of the input matrix that a text is the mean of."""

    def of_bucket(bucket: int) -> Iterator[int]:
        row = bucket if pruned is None else pruned.get(bucket)
        if row is not None:
            yield file.words + row

    hashes = []
    for token in _tokens(text):
        entry = entries.get(token, -1)
        if entry >= file.words or (entry < 0 and token.startswith(b"__label__")):
            continue
        hashes.append(_hash(token))
        if entry >= 0:
            yield entry
        if token != _EOS:
            for gram in _subwords(token, file.minn, file.maxn):
                yield from of_bucket(_hash(gram) % file.bucket)
    for i, first in enumerate(hashes):
        combined = _signed(first)
        for following in hashes[i + 1 : i + file.word_ngrams]:
            combined = (combined * 116049371 + _signed(following)) % 2**64
            yield from of_bucket(combined % file.bucket)


def _tokens(text: bytes) -> list[bytes]:
    tokens = [token for token in _SPACE.split(text) if token]
    return tokens[: tokens.index(_EOS) + 1] if _EOS in tokens else [*tokens, _EOS]


def _hash(token: bytes) -> int:
    h = 2166136261
    for byte in token:
        h = ((h ^ (byte if byte < 128 else byte + 0xFFFFFF00)) * 16777619) % 2**32
    return h


def _signed(h: int) -> int:
    return h - 2**32 if h >= 2**31 else h


def _subwords(token: bytes, minn: int, maxn: int) -> Iterator[bytes]:
    word = b"<" + token + b">"
    starts = [i for i, byte in enumerate(word) if byte & 0xC0 != 0x80] + [len(word)]
    characters = len(starts) - 1
    for i in range(characters):
        for n in range(1, min(maxn, characters - i) + 1):
            if n >= minn and not (n == 1 and (i == 0 or i + n == characters)):
                yield word[starts[i] : starts[i + n]]


def _outputs(file: FastTextFile, rows: list[int]) -> npt.NDArray[Any]:
    if not rows:
        return np.full(len(file.labels), np.nan)
    hidden = np.zeros(file.dim, np.float32)
    for row in rows:
        hidden += file.input[row : row + 1][0]
    hidden *= np.float32(1.0 / len(rows))
    logits = [_dot(row, hidden) for row in file.output[: len(file.labels)]]
    if file.loss == "hs":
        return _tree(file, np.array(logits, np.float64))
    if file.loss == "softmax":
        exponentials = np.exp(np.array(logits, np.float64) - max(logits))
        return np.asarray(exponentials / exponentials.sum() + LOG_OFFSET)
    return np.array([_sigmoid(float(x)) for x in logits]) + LOG_OFFSET


def _dot(row: FloatArray, hidden: FloatArray) -> np.float32:
    """One product after the other in float32, as fastText adds them."""
    return np.float32(np.cumsum(row * hidden, dtype=np.float32)[-1])


def _sigmoid(x: float) -> float:
    """fastText's table: 512 steps between -8 and 8."""
    if abs(x) > 8:
        return float(x > 0)
    step = int(float(np.float32(x + 8)) * 512 / 8 / 2)
    return 1.0 / (1.0 + float(np.exp(-(step / 32 - 8))))


def _tree(file: FastTextFile, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    labels = len(file.labels)
    scores = np.zeros(2 * labels - 1)
    for node, children in reversed(list(enumerate(tree_children(file.label_counts)))):
        right = 1.0 / (1.0 + np.exp(-logits[node]))
        scores[children[0]] = scores[labels + node] + np.log(1.0 - right + LOG_OFFSET)
        scores[children[1]] = scores[labels + node] + np.log(right + LOG_OFFSET)
    return np.asarray(np.exp(scores[:labels]))


def package_probabilities(
    path: str, labels: tuple[str, ...], values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> FloatArray:
    """Returns what `FastTextLinear.probabilities` returns, computed by `predict` of the package `fasttext`."""
    model = _package_model(path)
    column = {label: index for index, label in enumerate(labels)}
    probabilities = np.full((len(offsets) - 1, len(labels)), np.nan, np.float32)
    for d, (begin, end) in enumerate(pairwise(offsets.tolist())):
        text = values[begin:end].tobytes().decode("utf-8").replace("\n", " ")
        for label, probability in zip(*model.predict(text, k=-1, threshold=-1.0), strict=True):
            probabilities[d, column[label]] = probability
    return probabilities


@lru_cache(maxsize=2)
def _package_model(path: str) -> Any:
    import fasttext

    return fasttext.load_model(path)
