"""Makes the tokenizer that all arms of a proof share, and measures how many bytes its tokens have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.proving.draws import Indices
from siftlm.proving.libraries import Library
from siftlm.proving.settings import ProveSettings
from siftlm.proxies.training.tokenizer import DocumentTokenizer, open_tokenizer, train_tokenizer
from siftlm.statistics.hashing import hash_strings, keyed
from siftlm.store import Store, digest

STAGE = "proof_tokenizers"
SUFFIX = ".bin"
SAMPLE_BYTES = 16 << 20  # of text that a tokenizer is trained on
SAMPLE_DOCUMENTS = 200  # of a source, whose tokens are counted


def tokenizer_path(settings: ProveSettings, pool: Library, seed: int, store: Store) -> str:
    """Returns the path of the proof's tokenizer in the store, where it is made first if it is missing."""
    origin = settings.tokenizer or [settings.vocabulary, pool.identity, digest(pool.rows["weight"].to_numpy()), seed]
    path = store.path(STAGE, digest(origin), SUFFIX)
    if not store.holds_sealed(path):
        if settings.tokenizer:
            made = open_tokenizer("prove.tokenizer", settings.tokenizer)
        else:
            made = train_tokenizer(_sample(pool, seed, SAMPLE_BYTES), settings.vocabulary)
        store.write_sealed(path, made.content())
    return path


def read_tokenizer(path: str, store: Store) -> DocumentTokenizer:
    """Returns the tokenizer that `tokenizer_path` put into the store."""
    return DocumentTokenizer.of(store.read_sealed(path))


def bytes_per_token(tokenizer: DocumentTokenizer, library: Library, seed: int) -> dict[str, float]:
    """Returns the mean bytes of a token in a sample of every source of which a library has documents."""
    rates = {}
    for source in library.rows["source"].unique().to_pylist():
        rows = _order(library, seed, pc.equal(library.rows["source"], source).to_numpy())[:SAMPLE_DOCUMENTS]
        texts = [text for _, text in library.texts(np.sort(rows))]
        if texts:
            encoded = tokenizer.tokenizer.encode_batch(texts, add_special_tokens=False)
            tokens = sum(len(one.ids) + 1 for one in encoded)
            rates[source] = sum(len(text.encode()) for text in texts) / tokens
    return rates


def _sample(pool: Library, seed: int, size: int) -> Iterator[str]:
    """Texts of a random draw of so many bytes, in the order of the pool."""
    order = _order(pool, seed, np.ones(pool.rows.num_rows, np.bool_))
    sizes = np.cumsum(pool.rows["byte_count"].to_numpy()[order])
    yield from (text for _, text in pool.texts(np.sort(order[: int(np.searchsorted(sizes, size)) + 1])))


def _order(library: Library, seed: int, wanted: np.ndarray) -> Indices:
    """The rows of a library that may be drawn, in a random order."""
    table = library.rows
    rows = np.flatnonzero(wanted & ~table["held_out"].to_numpy() & (table["weight"].to_numpy() > 0))
    hashes = hash_strings(table["doc_id"].take(pa.array(rows)).combine_chunks())
    return np.asarray(rows[np.argsort(keyed(hashes, seed, "prove vocabulary"), kind="stable")], np.int64)
