"""Writes a trained model as a binary file: KenLM's probing format, with the words and a seal behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from siftlm.errors import UserError
from siftlm.ngram.discounts import Smoothing
from siftlm.ngram.parts import PartTask
from siftlm.ngram.pool import Workers
from siftlm.ngram.tables import TableTask, fill_table, unigram_logs, word_backoffs
from siftlm.ngram.tokens import Ids, word_key
from siftlm_kernels.mapped import mapped
from siftlm_kernels.ngram_hash_kernel import insert_all
from siftlm_kernels.ngram_probing import PROBING, Header, ModelLayout, seal

READ_BYTES = 1 << 20


def layout_of(counts: Sequence[int]) -> tuple[Header, ModelLayout]:
    """Returns the header and the layout of a model with so many n-grams of each order."""
    header = Header(PROBING, tuple(counts))
    return header, ModelLayout.of(header)


def write_model(
    path: str,
    words: Sequence[bytes],
    smooth: Smoothing,
    parts: Sequence[PartTask],
    extends: NDArray[np.bool_],
    run: Workers,
) -> None:
    """Writes the file of a model, whose n-grams from bigrams on the parts have.

    Args:
        path: Where it goes, a local path.
        words: Every word by its id.
        smooth: The numbers of n-grams and the probabilities of words.
        parts: What has the probabilities of longer n-grams.
        extends: Which words are the last of a bigram, by id.
        run: What works on several orders at a time.
    """
    header, layout = layout_of(smooth.counts)
    table = mapped(path, (layout.end,))
    table[: header.size // 4] = np.frombuffer(header.pack(), np.uint32)
    table[header.size // 4 + 1] = len(words)  # version 0 before it
    insert_words(table, layout, words)
    unigrams = table[layout.unigrams : layout.unigrams + 2 * len(words)].reshape(-1, 2)
    logs = unigram_logs(smooth)
    unigrams[:, 0] = np.where(extends, logs & np.uint32(0x7FFFFFFF), logs | np.uint32(0x80000000))
    unigrams[:, 1] = word_backoffs(parts, len(words))
    table.flush()
    tasks = [TableTask(path, layout, n, tuple(parts)) for n in range(len(smooth.counts), 1, -1)]
    shared = sum(run.map(fill_table, tasks))
    if shared:
        raise UserError(
            f"train-ngram: different n-grams must have different hashes of 64 bits, got {shared} that do not"
        )
    finish(path, words)


def insert_words(table: Ids, layout: ModelLayout, words: Sequence[bytes]) -> None:
    """Puts the ids of words into the table of words; <unk>, the first, is not in it."""
    keys = np.array([word_key(word) for word in words[1:]], np.uint64)
    numbers = np.arange(1, len(words), dtype=np.uint32)
    insert_all(table, layout.words, layout.word_buckets, 3, keys, numbers, np.uint32(0))


def finish(path: str, words: Sequence[bytes]) -> None:
    """Writes the words and the seal at the end of a model's file."""
    digest, size = xxhash.xxh3_128(), 0
    with open(path, "r+b") as stream:
        stream.seek(0, 2)
        stream.write(b"".join(word + b"\0" for word in words))
        stream.seek(0)
        while chunk := stream.read(READ_BYTES):
            digest.update(chunk)
            size += len(chunk)
        stream.write(seal(size, digest.digest()))
