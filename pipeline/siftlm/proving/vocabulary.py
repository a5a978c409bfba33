"""Makes the tokenizer that all arms of a proof share, and measures how many bytes its tokens have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from siftlm.proving.draws import first_in_order
from siftlm.proving.libraries import Library
from siftlm.proxies.training.tokenizer import DocumentTokenizer, open_tokenizer, train_tokenizer
from siftlm.store import Store, digest

STAGE = "proof_tokenizers"
SUFFIX = ".bin"
SAMPLE_BYTES = 16 << 20  # of text that a tokenizer is trained on
SAMPLE_DOCUMENTS = 200  # of a source, whose tokens are counted
PURPOSE = "prove vocabulary"  # of the draws


class VocabularySettings(Protocol):
    """Says which tokenizer small models have: one from outside, or one of so many tokens that is trained."""

    @property
    def tokenizer(self) -> str | None: ...

    @property
    def vocabulary(self) -> int: ...


def tokenizer_path(
    settings: VocabularySettings, pool: Library, seed: int, store: Store, place: str = "prove.tokenizer"
) -> str:
    """Returns the path of a pool's tokenizer in the store, where it is made first if it is missing.

    `place` is that of the setting, for messages.
    """
    origin = settings.tokenizer or [settings.vocabulary, pool.identity, pool.training.digest, seed]
    path = store.path(STAGE, digest(origin), SUFFIX)
    if not store.holds_sealed(path):
        if settings.tokenizer:
            made = open_tokenizer(place, settings.tokenizer)
        else:
            made = train_tokenizer(_sample(pool, seed, SAMPLE_BYTES), settings.vocabulary)
        store.write_sealed(path, made.content())
    return path


def read_tokenizer(path: str, store: Store) -> DocumentTokenizer:
    """Returns the tokenizer that `tokenizer_path` put into the store."""
    return DocumentTokenizer.of(store.read_sealed(path))


def bytes_per_token(tokenizer: DocumentTokenizer, library: Library, seed: int) -> dict[str, float]:
    """Returns the mean bytes of a token in a sample of every source of which a library has documents."""
    rates, places = {}, library.training
    for source in sorted(set(places.sources)):
        rows = first_in_order(places.hashes, seed, PURPOSE, SAMPLE_DOCUMENTS, places.of_source([source]))
        texts = [text for _, text in places.texts(np.sort(rows))]
        if texts:
            encoded = tokenizer.tokenizer.encode_batch(texts, add_special_tokens=False)
            tokens = sum(len(one.ids) + 1 for one in encoded)
            rates[source] = sum(len(text.encode()) for text in texts) / tokens
    return rates


def _sample(pool: Library, seed: int, size: int) -> Iterator[str]:
    """Texts of a random draw of so many bytes, in the order of the pool."""
    places, most = pool.training, SAMPLE_DOCUMENTS
    while True:
        order = first_in_order(places.hashes, seed, PURPOSE, most)
        sizes = np.cumsum(places.bytes[order], dtype=np.int64)
        if most >= len(places) or sizes[-1] > size:
            break
        most *= 8
    yield from (text for _, text in places.texts(np.sort(order[: int(np.searchsorted(sizes, size)) + 1])))
