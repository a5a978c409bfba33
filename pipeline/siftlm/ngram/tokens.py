"""Turns blocks of text into ids of words, numbered by their first appearance in the whole text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from siftlm.errors import UserError
from siftlm.ngram.settings import REFUSED, SPECIAL
from siftlm.ngram.text import TextBlock
from siftlm.scorers.ngram_units import TokenLines
from siftlm.statistics.text_sketch import hash_texts, smallest
from siftlm_kernels.ngram_count_kernel import FIRST, count_contexts, grown, merge_words, words_of
from siftlm_kernels.ngram_hash_kernel import murmur

SEPARATORS = np.isin(np.arange(256), list(b"\0\t\n\r "))  # of lmplz
Ids = NDArray[np.uint32]
_SIGNS = re.compile(rb"(?<![^\0\t\n\r ])(?:%s)(?![^\0\t\n\r ])" % "|".join(REFUSED).encode())  # as words


def word_key(word: bytes) -> np.uint64:
    """Returns the hash that a word goes by."""
    return np.uint64(murmur(np.frombuffer(word, np.uint8), 0, len(word)))


@dataclass(frozen=True)
class BlockTask:
    """Says where the ids of a block of text go, and how its texts become tokens."""

    block: TextBlock
    lines: TokenLines
    path: str
    skip_signs: bool = False  # whether the model's own signs are read as spaces where a text has them as words


@dataclass(frozen=True)
class BlockWords:
    """Holds the words of a block by their first appearance; its ids are in a file."""

    path: str
    hashes: NDArray[np.uint64]
    words: list[bytes]
    contexts: NDArray[np.int64]  # how often each id stands before a token
    counts: NDArray[np.int64]  # how often each id is a token
    texts: int  # that are not empty
    hashes_of_texts: NDArray[np.uint64]  # the smallest ones
    signs: int = 0  # words that were read as spaces


def read_words(task: BlockTask) -> BlockWords:
    """Writes the ids of a block to its file, and returns its words.

    Raises UserError for a text that has one of the model's own signs as a word, unless the task says to skip them.
    """
    content, starts = _token_lines(task)
    content, signs = _SIGNS.subn(b" ", content) if task.skip_signs else (content, 0)
    values = np.frombuffer(content, np.uint8)
    tokens = np.empty(len(values) + 1, np.uint32)
    refused = np.array([word_key(word.encode()) for word in REFUSED], np.uint64)
    written, hashes, spans, bad = words_of(values, SEPARATORS, refused, tokens)
    if bad >= 0:
        raise _refusal(task, content, starts, bad)
    tokens = tokens[:written]
    tokens.tofile(task.path)
    contexts, counts = np.zeros(len(hashes) + FIRST, np.int64), np.zeros(len(hashes) + FIRST, np.int64)
    count_contexts(tokens, contexts, counts)
    words = [content[start:end] for start, end in spans.tolist()]
    texts = hash_texts(task.block.raw())
    return BlockWords(task.path, hashes, words, contexts, counts, len(texts), smallest(texts), signs)


def _token_lines(task: BlockTask) -> tuple[bytes, list[int] | None]:
    """The lines of tokens of a block, and where each text begins in them unless they are the block itself."""
    if not task.lines.changes:
        return task.block.content, None
    texts = [text + b"\n" for text in task.lines.of(task.block.texts())]
    return b"".join(texts), list(accumulate((len(text) for text in texts), initial=0))


def _refusal(task: BlockTask, content: bytes, starts: list[int] | None, at: int) -> UserError:
    word = content[at:].split(None, 1)[0].decode()
    place = task.block.place(at)
    if starts is not None:
        number = sum(1 for start in starts if start <= at) - 1
        block = task.block
        place = f"{block.path}, {'line' if block.starts is None else 'document'} {block.first + number}"
    return UserError(f"{place}: must not have the word {word}, which is a sign of the model itself; take it out first")


@dataclass
class WordIds:
    """Holds all words by their ids, and how often each is a token and a context."""

    words: list[bytes] = field(default_factory=lambda: [word.encode() for word in SPECIAL])
    contexts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(FIRST, np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(FIRST, np.int64))
    _hashes: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(1 << 10, np.uint64))
    _table: Ids = field(default_factory=lambda: grown(np.zeros(0, np.uint32), np.zeros(0, np.uint64), 0, 1 << 12))

    def add(self, block: BlockWords) -> Ids:
        """Takes the words of the next block; returns the id of each of its ids."""
        mapping = np.arange(len(block.hashes) + FIRST, dtype=np.uint32)
        new = np.empty(len(block.hashes), np.bool_)
        self._table, self._hashes, size = merge_words(
            self._table, self._hashes, len(self.words), block.hashes, mapping[FIRST:], new
        )
        self.words.extend(block.words[row] for row in np.flatnonzero(new).tolist())
        self.contexts, self.counts = (
            _added(mine, theirs, mapping, size)
            for mine, theirs in ((self.contexts, block.contexts), (self.counts, block.counts))
        )
        return mapping

    def __len__(self) -> int:
        return len(self.words)


def _added(mine: NDArray[np.int64], theirs: NDArray[np.int64], mapping: Ids, size: int) -> NDArray[np.int64]:
    if len(mine) < size:
        mine = np.concatenate([mine, np.zeros(max(size, len(mine)) - len(mine) + len(mine) // 2, np.int64)])
    mine[mapping] += theirs
    return mine


def tasks(blocks: Iterator[TextBlock], lines: TokenLines, folder: str, skip_signs: bool = False) -> Iterator[BlockTask]:
    """Yields a task for each block of text, whose files are numbered."""
    for number, block in enumerate(blocks):
        yield BlockTask(block, lines, f"{folder}/{number}.tokens", skip_signs)
