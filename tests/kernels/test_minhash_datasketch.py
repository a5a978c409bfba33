"""Signatures are those of datasketch, where they claim to be."""

from __future__ import annotations

import datasketch
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm_kernels import minhash_reference as reference
from siftlm_kernels.minhash import minhash


def datasketch_hashvalues(text: str, ngram: int, permutations: int, seed: int) -> list[int]:
    """What a user of datasketch computes from the same shingles."""
    sketch = datasketch.MinHash(num_perm=permutations, seed=seed)
    sketch.update_batch([" ".join(shingle).encode() for shingle in reference.shingles(text.encode(), ngram)])
    return [int(value) for value in sketch.hashvalues]


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("abcdeZ .é日本"), max_size=150), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_datasketch_signatures_are_identical(text: str, ngram: int, seed: int) -> None:
    """Shingles of one SHA-1 block and of several, short documents and empty ones."""
    encoded = text.encode()
    found = minhash(
        np.frombuffer(encoded, np.uint8),
        np.array([0, len(encoded)]),
        ngram=ngram,
        permutations=9,
        seed=seed,
        impl="datasketch",
    )
    assert found[0].tolist() == datasketch_hashvalues(text, ngram, 9, seed)


def test_an_index_that_datasketch_built_finds_our_signatures() -> None:
    """A MinHashLSH of datasketch's own sketches, queried by the kernel's."""
    texts = [f"the {k} quick brown foxes jumped over {k} lazy dogs and {k + 1} sleeping cats" for k in range(20)]
    index = datasketch.MinHashLSH(num_perm=64, params=(16, 4))
    for k, text in enumerate(texts):
        sketch = datasketch.MinHash(64)
        sketch.update_batch([" ".join(shingle).encode() for shingle in reference.shingles(text.encode(), 5)])
        index.insert(k, sketch)
    encoded = [text.upper().encode() for text in texts]
    signatures = minhash(
        np.frombuffer(b"".join(encoded), np.uint8),
        np.cumsum([0, *map(len, encoded)]),
        permutations=64,
        impl="datasketch",
    )
    for k, signature in enumerate(signatures):
        assert k in index.query(datasketch.MinHash(hashvalues=signature, scheme="affine32"))
