"""Writes texts as tokens into a memory-mapped file, and cuts windows out of it.

A token file is two files in a local folder: `NAME-tokens.bin`, the ids as uint16 or uint32, and
`NAME-documents.parquet`, which says where each document begins. Every document is its tokens after a separator. Groups
(domains, sources) lie one after the other in the order of their names, and in a group the documents are as they came.
"""

from __future__ import annotations

import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from siftlm import filesystem, paths
from siftlm.errors import UserError
from siftlm.proxies.training.alone import alone_in
from siftlm.proxies.training.tokenizer import DocumentTokenizer
from siftlm.store import Marker, Store, digest

Ints = npt.NDArray[np.int64]
STAGE = "tokens"
NAME = "all"
ENCODED_AT_ONCE = 1 << 20  # characters: what the tokenizer makes of them takes 100 bytes each
WAITING = 1 << 22  # tokens that wait for their groups' files
_DOCUMENTS = pa.schema([("group", pa.int32()), ("tokens", pa.int64()), ("byte_count", pa.int64())])


class TextOfGroup(NamedTuple):
    """Holds a text and the name of its group."""

    group: str
    text: str


@dataclass(frozen=True)
class GroupWindows:
    """Cuts a token file into windows of `context` + 1 tokens, group by group.

    They overlap by one token. What is left at the end of a group, at most `context` tokens, is in no window.
    """

    tokens: npt.NDArray[np.unsignedinteger]
    starts: Ints  # [groups]
    counts: Ints  # [groups]
    context: int

    def take(self, groups: Ints, numbers: Ints) -> Ints:
        """Returns windows `numbers` of `groups`, both int64 [n], as int64 [n, context + 1]."""
        first = self.starts[groups] + numbers * self.context
        return np.asarray(self.tokens[first[:, None] + np.arange(self.context + 1)], np.int64)


@dataclass(frozen=True)
class TokenFile:
    """Holds the tokens of documents by group, memory-mapped, and what is to be known of each document."""

    digest: str  # of all that is in it, for keys
    groups: tuple[str, ...]  # sorted
    tokens: npt.NDArray[np.unsignedinteger]
    separator: int
    vocabulary: int
    document_groups: Ints  # [documents], ascending
    starts: Ints  # [documents + 1], of the separator before each document
    byte_counts: Ints  # [documents], of UTF-8

    @property
    def token_counts(self) -> Ints:
        """Returns the tokens of each document, without its separator."""
        return np.diff(self.starts) - 1

    @cached_property
    def group_starts(self) -> Ints:
        """Returns where each group begins, and the end: int64 [groups + 1]."""
        return self.starts[np.searchsorted(self.document_groups, np.arange(len(self.groups) + 1))]

    def windows(self, context: int) -> GroupWindows:
        """Returns the windows of `context` predicted tokens."""
        counts = np.maximum(0, np.diff(self.group_starts) - 1) // context
        return GroupWindows(self.tokens, self.group_starts[:-1], counts, context)


def write_tokens(
    store: Store, key: str, texts: Iterable[TextOfGroup], tokenizer: DocumentTokenizer, stage: str = STAGE
) -> TokenFile:
    """Returns the token file of a key from the store, made of `texts` in one pass if it is missing.

    The key is to digest the texts, their order and `tokenizer.identity()`. Nothing is held in memory but 24 bytes a
    document.
    """
    folder = store.path(stage, key, "")
    if not paths.is_local(folder):
        raise UserError(f"output.store: must be a local folder where models are trained, got {store.root}")
    if store.find(stage, key) is None:
        with alone_in(Path(folder)):
            if store.find(stage, key) is None:  # another process may have made it meanwhile
                for path in Path(folder).iterdir():  # what a killed process has left
                    filesystem.remove(str(path), recursive=True)
                written = write_token_file(Path(folder), NAME, texts, tokenizer)
                facts = {"groups": len(written.groups), "tokens": len(written.tokens)}
                store.commit(Marker(stage, key, NAME, 0, 0, files=store.seals(stage, key), facts=facts))
    made = open_token_file(Path(folder), NAME)
    assert made is not None, f"{folder} was found whole"
    return made


def write_token_file(folder: Path, name: str, texts: Iterable[TextOfGroup], tokenizer: DocumentTokenizer) -> TokenFile:
    """Writes texts as a token file, which is there as a whole or not at all, and opens it."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = np.dtype(np.uint16 if tokenizer.vocabulary <= 1 << 16 else np.uint32)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".train-") as temporary:
        parts = _GroupFiles(Path(temporary), kind)
        for text, ids in encoded(texts, tokenizer):
            parts.add(text, ids)
        documents, names = parts.join(_tokens_path(folder, name))
    facts = {
        "groups": names,
        "kind": kind.str,
        "separator": tokenizer.separator_id,
        "vocabulary": tokenizer.vocabulary,
        "tokens": filesystem.hash_bytes(str(_tokens_path(folder, name))),
    }
    table = documents.replace_schema_metadata({"facts": orjson.dumps(facts)})
    with filesystem.open_write(str(_documents_path(folder, name)), durable=False) as stream:
        pq.write_table(table, stream)
    made = open_token_file(folder, name)
    assert made is not None, f"{folder} has just been written"
    return made


def open_token_file(folder: Path, name: str) -> TokenFile | None:
    """Opens a token file; None where there is none, or its tokens are not as they were written."""
    try:
        table = pq.read_table(_documents_path(folder, name))
        facts = orjson.loads(table.schema.metadata[b"facts"])
        if filesystem.hash_bytes(str(_tokens_path(folder, name))) != facts["tokens"]:
            return None
    except (OSError, pa.ArrowException):
        return None
    groups, lengths, sizes = (table[column].to_numpy().astype(np.int64) for column in _DOCUMENTS.names)
    content = digest(facts, *(xxhash.xxh3_128_hexdigest(column.tobytes()) for column in (groups, lengths, sizes)))
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    kind = np.dtype(facts["kind"])
    tokens = np.memmap(_tokens_path(folder, name), kind, "r") if starts[-1] else np.zeros(0, kind)
    names = tuple(facts["groups"])
    return TokenFile(content, names, tokens, facts["separator"], facts["vocabulary"], groups, starts, sizes)


def _tokens_path(folder: Path, name: str) -> Path:
    return folder / f"{name}-tokens.bin"


def _documents_path(folder: Path, name: str) -> Path:
    return folder / f"{name}-documents.parquet"


def encoded(texts: Iterable[TextOfGroup], tokenizer: DocumentTokenizer) -> Iterator[tuple[TextOfGroup, list[int]]]:
    """Yields each text with its ids, a separator first; empty texts are left out.

    A text of more than 2^20 characters is encoded in pieces of so many, so that a token may end at a cut that would
    have gone over it.
    """
    for batch in _batches(text for text in texts if text.text):
        pieces = [[text.text[start : start + ENCODED_AT_ONCE] for start in _cuts(text)] for text in batch]
        encodings = iter(tokenizer.tokenizer.encode_batch_fast(_whole(pieces), add_special_tokens=False))
        for text, parts in zip(batch, pieces, strict=True):
            ids = chain.from_iterable(next(encodings).ids for _ in parts)
            yield text, [tokenizer.separator_id, *ids]


def _cuts(text: TextOfGroup) -> range:
    return range(0, len(text.text), ENCODED_AT_ONCE)


def _whole(pieces: Sequence[Sequence[str]]) -> list[str]:
    """All pieces, with a question mark for what is no character: half a surrogate pair."""
    return [piece.encode("utf-8", "replace").decode() for parts in pieces for piece in parts]


def _batches(texts: Iterable[TextOfGroup]) -> Iterator[list[TextOfGroup]]:
    """Runs of texts that are encoded at once."""
    batch: list[TextOfGroup] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text.text)
        if characters >= ENCODED_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _GroupFiles:
    """Appends the tokens of each group to a file of its own, a few at a time, and joins the files."""

    def __init__(self, folder: Path, kind: np.dtype[Any]) -> None:
        self._folder, self._kind = folder, kind
        self._numbers: dict[str, int] = {}
        self._waiting: dict[int, list[list[int]]] = {}
        self._waiting_tokens = 0
        self._groups, self._lengths, self._sizes = array("i"), array("q"), array("q")

    def add(self, text: TextOfGroup, ids: list[int]) -> None:
        """Appends a document to its group."""
        group = self._numbers.setdefault(text.group, len(self._numbers))
        self._groups.append(group)
        self._lengths.append(len(ids))
        self._sizes.append(len(text.text.encode("utf-8", "replace")))
        self._waiting.setdefault(group, []).append(ids)
        self._waiting_tokens += len(ids)
        if self._waiting_tokens >= WAITING:
            self._flush()

    def _flush(self) -> None:
        for group, documents in self._waiting.items():
            ids = np.fromiter(chain.from_iterable(documents), self._kind)
            with (self._folder / str(group)).open("ab") as stream:
                stream.write(ids.tobytes())
        self._waiting, self._waiting_tokens = {}, 0

    def join(self, path: Path) -> tuple[pa.Table, list[str]]:
        """Writes all groups in the order of their names, and returns the table of documents and the names."""
        self._flush()
        names = sorted(self._numbers)
        with filesystem.open_write(str(path), durable=False) as target:
            for name in names:
                with (self._folder / str(self._numbers[name])).open("rb") as source:
                    shutil.copyfileobj(source, target)
        rank = np.empty(len(names), np.int32)
        rank[[self._numbers[name] for name in names]] = np.arange(len(names))
        groups = rank[np.asarray(self._groups, np.int32)]
        order = np.argsort(groups, kind="stable")
        columns = (groups, np.asarray(self._lengths), np.asarray(self._sizes))
        return pa.table([column[order] for column in columns], schema=_DOCUMENTS), names
