"""Measures which share of a document's word n-grams also stands in a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from siftlm.errors import UserError
from siftlm.paths import ReadPath
from siftlm.scorers.files import OneFile
from siftlm.scorers.items import items_of
from siftlm.scorers.protocol import NamedSettings, Overlap, Ragged, ragged_text
from siftlm.settings import End
from siftlm.store import digest

VERSION = 4
FILTER_BYTES = 8  # a byte of a first filter for every n-gram: of those that are not there one in nine gets through


class ContaminationSettings(NamedSettings):
    """Looks for the items of a benchmark in the documents, by 13-grams of words."""

    kind: Literal["contamination"] = "contamination"
    table: ClassVar = "annotate.contamination"
    paper: ClassVar = "Brown et al. 2020 (arXiv 2005.14165), appendix C"
    unchecked: ClassVar[str] = ""
    needs: ClassVar = "the items of a benchmark"
    example: ClassVar = {"name": "benchmark", "path": "benchmark.jsonl"}
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the columns, the benchmark's for instance.")
    path: ReadPath = Field(description="The items: .jsonl, .jsonl.gz, .jsonl.zst or .parquet, one a row.")
    text_fields: list[str] = Field(
        ["text"], min_length=1, description="Fields of an item that count, joined by line feeds, lists too."
    )
    ngram: int = Field(13, ge=1, le=64, description="Words in a row that a document and an item must share.")
    min_words: int = Field(
        8, ge=1, le=64, description="An item of fewer words than `ngram` must be shared whole; one of fewer than this "
        "is not found in a longer text, and the run counts it (GPT-3's n was 8 to 13, by the length of a benchmark's "
        "items).",
    )  # fmt: skip

    @property
    def fewest(self) -> int:
        return min(self.min_words, self.ngram)

    def scorer(self) -> ContaminationScorer:
        return ContaminationScorer(self)

    def overlap(self) -> Overlap:
        return Overlap(self.name, self.ngram)


class ContaminationScorer(OneFile["Items"]):
    """Computes `<name>_overlap`, the share of a document's n-grams found in the benchmark, and `<name>_item`.

    Words and n-grams are those of `siftlm_kernels.minhash`, compared by 64-bit hashes. `<name>_item` is the number of
    the item, from 0, that has most of them (the first among equals; an n-gram of several items is the first one's),
    null where the overlap is 0. Both are null for a document without words. An item of fewer than `ngram` words is
    found whole: an n-gram that begins with it, or the last one before it, is one that the benchmark has. An item of
    fewer than `min_words` is found in documents that are nothing else.
    """

    settings: ContaminationSettings
    wanted = "a benchmark's items"

    def fields(self) -> list[pa.Field]:
        name = self.settings.name
        return [pa.field(f"{name}_overlap", pa.float64()), pa.field(f"{name}_item", pa.string())]

    def good_ends(self) -> dict[str, End]:
        return {f"{self.settings.name}_overlap": "lowest"}

    def parse(self) -> Items:
        settings = self.settings
        texts = pa.array(
            [_text(settings, row, item) for row, item in enumerate(items_of(settings.path, settings.text_fields))],
            pa.large_string(),
        )
        items = Items.of(texts, settings.ngram, settings.fewest)
        if items.facts["items"] == items.facts["without_words"]:
            raise UserError(f"{self.place()}: must hold items with words, got {settings.path!r} without any")
        return items

    def identity(self, content: str) -> str:
        chosen = self.settings
        return digest("contamination", VERSION, chosen.name, chosen.text_fields, chosen.ngram, chosen.fewest, content)

    def facts(self) -> dict[str, int]:
        """Returns the number of items, of those found only as a whole, of too short ones, and of wordless ones.

        Too short items are found only in documents that are nothing else.
        """
        return self.fresh().facts

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        counts, rows, grams, items = self.loaded().hits(ragged_text(batch["text"]))
        had = np.unique(np.stack([rows, grams]), axis=1)[0]
        overlap = np.bincount(had, minlength=len(counts)) / np.maximum(counts, 1)
        names: list[str | None] = [None] * len(counts)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=False):
            names[rows[start]] = str(np.bincount(items[start:end]).argmax())
        columns = [pa.array(overlap, pa.float64(), mask=counts == 0), pa.array(names, pa.string())]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(self.fields()))


def word_ngrams(texts: pa.Array, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Returns the hashes of all n-grams of words in texts, and the bounds of each text's, int64[texts + 1]."""
    from siftlm_kernels.minhash import shingle_hashes

    return shingle_hashes(*ragged_text(texts), ngram=ngram)


@dataclass(frozen=True)
class Ngrams:
    """Holds benchmark n-grams as sorted hashes, the item of each, and a filter that most other n-grams fail."""

    hashes: NDArray[np.uint64]
    items: NDArray[np.int64]
    passes: NDArray[np.bool_]

    @classmethod
    def of(cls, hashes: NDArray[np.uint64], items: NDArray[np.int64]) -> Ngrams:
        """Returns the n-grams of `hashes`, given in the order of the items; a repeated n-gram belongs to the first."""
        distinct, first = np.unique(hashes, return_index=True)
        passes = np.zeros(1 << (FILTER_BYTES * max(1, len(distinct)) - 1).bit_length(), np.bool_)
        passes[distinct & np.uint64(len(passes) - 1)] = True
        return cls(distinct, items[first], passes)

    def find(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the positions in `hashes` of n-grams of the benchmark, in order, and the items of these n-grams."""
        at = np.flatnonzero(self.passes[hashes & np.uint64(len(self.passes) - 1)])
        place = np.minimum(np.searchsorted(self.hashes, hashes[at]), max(0, len(self.hashes) - 1))
        same = self.hashes[place] == hashes[at] if len(self.hashes) else np.zeros(len(at), np.bool_)
        return at[same], self.items[place[same]]


@dataclass(frozen=True)
class Items:
    """Holds a benchmark's items, indexed by the number of consecutive words that a document must share.

    That number is `ngram`, or all words of a shorter item.
    """

    indices: tuple[tuple[int, Ngrams], ...]
    facts: dict[str, int]

    @classmethod
    def of(cls, texts: pa.Array, ngram: int, fewest: int) -> Items:
        """Returns the index of the items in `texts`.

        Items of fewer words than `fewest` are found in texts that are nothing else.
        """
        words = np.diff(word_ngrams(texts, 1)[1])
        short = (words >= fewest) & (words < ngram)
        shared = np.where(short, words, ngram)
        indices = []
        for length in [ngram, *np.unique(words[short]).tolist()]:
            items = np.flatnonzero(shared == length)
            hashes, bounds = word_ngrams(texts.take(pa.array(items)), length)
            indices.append((length, Ngrams.of(hashes, np.repeat(items, np.diff(bounds)))))
        facts = {
            "items": len(words),
            "found_whole": int(short.sum()),
            "too_short": int(((words > 0) & (words < fewest)).sum()),
            "without_words": int((words == 0).sum()),
        }
        return cls(tuple(indices), facts)

    def hits(self, texts: Ragged) -> tuple[NDArray[np.int64], ...]:
        """Returns each text's number of n-grams, then the text, n-gram and item of each match by text."""
        from siftlm_kernels.minhash import shingle_hashes

        matches: list[NDArray[np.int64]] = []
        counts = np.zeros(len(texts[1]) - 1, np.int64)
        for length, index in self.indices:  # the n-grams themselves come first
            hashes, bounds = shingle_hashes(*texts, ngram=length)
            counts = counts if matches else np.diff(bounds)
            at, items = index.find(hashes)
            rows = np.searchsorted(bounds, at, side="right") - 1
            matches.append(np.stack([rows, np.minimum(at - bounds[rows], counts[rows] - 1), items]))
        together = np.concatenate(matches, axis=1)
        return counts, *together[:, np.argsort(together[0], kind="stable")]


def _text(settings: ContaminationSettings, row: int, item: Any) -> str:
    """The text of an item: its fields, a line each."""
    lines: list[str] = []
    for field in settings.text_fields:
        value = item.get(field) if isinstance(item, dict) else None
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                raise UserError(
                    f"{settings.place}.text_fields: must name texts or lists of texts of every item, got {field!r}, "
                    f"which is {type(text).__name__} in item {row} of {settings.path}"
                )
            lines.append(text)
    return "\n".join(lines)
