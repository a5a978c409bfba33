"""Shapes of bands and written signatures, beside datasketch, which chooses and reads them."""

from __future__ import annotations

from typing import Any

import datasketch
import pyarrow as pa
import pytest
from datasketch.lsh import _optimal_param
from pydantic import ValidationError

from siftlm.scorers import open_scorer
from siftlm.scorers.minhash import ShingleSettings, SignatureSettings
from siftlm_kernels import minhash_reference as reference

TEXTS = {
    "a": "The quick brown fox jumps over the lazy dog, and then it sleeps until the evening comes again.",
    "b": "The quick brown fox jumps over the lazy dog, and then it sleeps until the morning comes again.",
    "c": "Nothing of what stands here is said by any other of these documents at all.",
    "d": "-",
}


def sketch(text: str, permutations: int = 112, seed: int = 1, ngram: int = 5) -> Any:
    """What a user of datasketch computes from the same shingles."""
    made = datasketch.MinHash(num_perm=permutations, seed=seed)
    made.update_batch([" ".join(shingle).encode() for shingle in reference.shingles(text.encode(), ngram)])
    return made


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.72, 0.8, 0.9])
@pytest.mark.parametrize("permutations", [64, 112, 256])
def test_bands_and_rows_for_a_similarity_are_those_that_datasketch_chooses(
    similarity: float, permutations: int
) -> None:
    """A false positive weighs as much as a false negative; the settings outlive their own JSON."""
    shingles = ShingleSettings(similarity=similarity, permutations=permutations)
    assert (shingles.bands, shingles.rows) == _optimal_param(similarity, permutations, 0.5, 0.5)
    assert ShingleSettings.model_validate_json(shingles.model_dump_json()) == shingles


def test_bands_that_a_similarity_chose_are_those_of_the_same_bands_named() -> None:
    """An earlier run may have named them."""
    chosen = ShingleSettings(similarity=0.8, permutations=112)
    assert ShingleSettings(similarity=0.8).permutations == 112
    assert open_scorer(chosen).digest() == open_scorer(ShingleSettings(bands=chosen.bands, rows=chosen.rows)).digest()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"similarity": 0.8, "bands": 20}, "similarity must stand without bands and rows"),
        ({"similarity": 0.8, "rows": 8}, "similarity must stand without bands and rows"),
        ({"permutations": 64}, "permutations must come with similarity"),
        ({"similarity": 0.99, "permutations": 2}, "permutations must be enough for two bands, got 2"),
        ({"similarity": 1.5}, "less than 1"),
    ],
)
def test_a_similarity_excludes_bands_and_rows(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ShingleSettings.model_validate(given)


@pytest.mark.parametrize("seed", [1, 7, 2**32 - 1])
def test_datasketch_reads_the_signatures_as_its_own(seed: int) -> None:
    """Equal sketches, so equal estimates and hashes; a text without a word gives an empty one."""
    settings = SignatureSettings(ngram=3, permutations=64, seed=seed)
    batch = pa.record_batch({"text": pa.array(TEXTS.values(), pa.large_string())})
    (column,) = open_scorer(settings).score(batch).columns
    read = [datasketch.LeanMinHash.deserialize(signature) for signature in column.to_pylist()]
    own = [datasketch.LeanMinHash(sketch(text, 64, seed, ngram=3)) for text in TEXTS.values()]
    assert read == own
    assert [one.is_empty() for one in read] == [False, False, False, True]
    assert read[0].jaccard(sketch(TEXTS["b"], 64, seed, ngram=3)) == own[0].jaccard(own[1]) > 0.5
