"""The MinHash kernel against the plain Python reading of its docstring, and against hostile input."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.kernels.whole import true_jaccard

from siftlm_kernels import minhash_reference as reference
from siftlm_kernels.minhash import band_hashes, minhash, minhash_bands, shingle_hashes, spaced_words

NONE = 0xFFFFFFFF
MIXED = st.text(st.sampled_from("abZ_9 .\n\0é ßİẞȺΣя한कि́私はกﬀⅧ😀𠀀K"), max_size=120)
# Bytes out of which well-formed and ill-formed sequences of every length arise.
JUNK = st.lists(st.sampled_from(list(b"aZ \x80\x82\x9f\xa0\xac\xbf\xc0\xc3\xe0\xe2\xed\xf0\xf4\xf5\xff")), max_size=80)


def ragged(texts: Sequence[str | bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(values, offsets) of texts."""
    encoded = [text.encode() if isinstance(text, str) else text for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


@settings(max_examples=150, deadline=None)
@given(st.lists(MIXED | st.text(max_size=60), max_size=4), st.integers(1, 7), st.integers(0, 2**64 - 1))
def test_the_kernel_equals_the_docstring_on_any_text(texts: list[str], ngram: int, seed: int) -> None:
    """Every script, case mapping and length that hypothesis finds; lone surrogates are ill-formed UTF-8."""
    values, offsets = ragged([text.encode(errors="surrogatepass") for text in texts])
    fast = minhash(values, offsets, ngram=ngram, permutations=5, seed=seed)
    assert np.array_equal(fast, minhash(values, offsets, ngram=ngram, permutations=5, seed=seed, impl="reference"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | JUNK.map(bytes), max_size=4))
def test_the_kernel_equals_the_docstring_on_any_bytes(texts: list[bytes]) -> None:
    """Ill-formed UTF-8 separates words and nothing else happens."""
    values, offsets = ragged(texts)
    fast = minhash(values, offsets, ngram=2, permutations=3)
    assert np.array_equal(fast, minhash(values, offsets, ngram=2, permutations=3, impl="reference"))


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10_000,
        "x" * 4_095 + "é y",
        "x" * 4_096 + " y",
        "x" * 4_088 + " " + "é" * 5_000,
        "ab " * 5_000,
        "日本語" * 3_000,
        "Ⱥ" * 5_000 + " b",
        "😀" * 2_000 + "end",
        b"a" * 4_094 + "é".encode() + b"\xe2\x82",
    ],
    ids=range(9),
)
def test_block_boundaries_leave_no_trace(text: str | bytes) -> None:
    """Words, characters and runs that cross the kernel's blocks of 4,096 bytes."""
    values, offsets = ragged([text])
    fast = minhash(values, offsets, ngram=3, permutations=4)
    assert np.array_equal(fast, minhash(values, offsets, ngram=3, permutations=4, impl="reference"))


def test_case_and_punctuation_make_no_difference() -> None:
    """Words are lower-cased and separated by whatever is no word character."""
    signatures = minhash(*ragged(["The QUICK, brown (fox)! Ça_va?", "the quick\tbrown fox ça_va"]), ngram=2)
    assert np.array_equal(signatures[0], signatures[1])


def test_fewer_words_than_a_shingle_make_one_shingle() -> None:
    """Short documents match their own copies and nothing else."""
    signatures = minhash(*ragged(["one two", "ONE two.", "one", "two one"]), ngram=5)
    assert np.array_equal(signatures[0], signatures[1])
    assert not (signatures[0] == signatures[2]).any()
    assert not (signatures[0] == signatures[3]).any()


@pytest.mark.parametrize("text", ["", " ", "...", "😀😀 🎉", "\0\0\0", b"\xff\xfe\x80"])
def test_a_document_without_words_has_no_signature_and_says_so(text: str | bytes) -> None:
    """All columns are the maximum, and the fused form marks it as matching nothing."""
    values, offsets = ragged([text, "word"])
    assert (minhash(values, offsets)[0] == NONE).all()
    assert minhash_bands(values, offsets)[1].tolist() == [False, True]
    assert minhash_bands(values, offsets, bands=2, rows=2, impl="reference")[1].tolist() == [False, True]


@settings(max_examples=50, deadline=None)
@given(st.lists(MIXED, min_size=1, max_size=6), st.integers(1, 4), st.integers(1, 3))
def test_the_fused_form_gives_the_bands_of_the_signatures(texts: list[str], bands: int, rows: int) -> None:
    """`minhash_bands` is `band_hashes` of `minhash`."""
    values, offsets = ragged(texts)
    fused, has_words = minhash_bands(values, offsets, ngram=2, bands=bands, rows=rows, seed=3)
    signatures = minhash(values, offsets, ngram=2, permutations=bands * rows, seed=3)
    assert np.array_equal(fused, band_hashes(signatures, bands, rows))
    assert np.array_equal(has_words, reference.have_words(values, offsets))


def test_band_hashes_follow_their_definition() -> None:
    """The docstring's formula in plain Python, and the band's index in the key."""
    signatures = np.full((1, 6), 7, np.uint32)
    keys = band_hashes(signatures, 3, 2)
    for band, key in enumerate(keys[0]):
        h = reference.step(0x9E3779B97F4A7C15, band)
        assert int(key) == reference.mix(reference.step(reference.step(h, 7), 7))
    assert len(set(keys[0].tolist())) == 3


@settings(max_examples=50, deadline=None)
@given(st.lists(MIXED, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_batch_and_order_make_no_difference(texts: list[str], random: object) -> None:
    """A document's signature is its own: alone, in a batch, in any order, at any offset."""
    whole = minhash(*ragged(texts), permutations=4)
    for row, text in enumerate(texts):
        values, offsets = ragged(["padding é", text, "more"])
        assert np.array_equal(minhash(values, offsets[1:3], permutations=4)[0], whole[row])
    assert np.array_equal(minhash(*ragged(texts[::-1]), permutations=4), whole[::-1])


def test_no_documents_have_no_signatures() -> None:
    """Empty arrays in, empty arrays of the right shape out."""
    values, offsets = np.zeros(0, np.uint8), np.zeros(1, np.int64)
    assert minhash(values, offsets, permutations=8).shape == (0, 8)
    assert minhash(values, offsets, permutations=8, impl="reference").shape == (0, 8)
    assert minhash(values, offsets, permutations=8, impl="datasketch").shape == (0, 8)
    keys, has_words = minhash_bands(values, offsets)
    assert keys.shape == (0, 14)
    assert has_words.shape == (0,)
    assert true_jaccard(values, offsets, np.zeros((0, 2), np.int64)).shape == (0,)


def test_one_line_of_50_megabytes_is_like_any_other() -> None:
    """One huge document, with and without separators; the unbroken one is a single word."""
    line = (b"lorem ipsum dolor sit amet " * 1_900_000)[:50_000_000]
    unbroken = b"x" * 50_000_000
    values, offsets = ragged([line, unbroken])
    _, has_words = minhash_bands(values, offsets)
    assert has_words.all()
    same_shingles = line[: 27 * 3] + line[50_000_000 // 27 * 27 :]
    assert np.array_equal(minhash(values, offsets[:2]), minhash(*ragged([same_shingles])))
    assert true_jaccard(values, offsets, np.array([[0, 0], [0, 1]])).tolist() == [1.0, 0.0]


def test_a_million_documents_of_one_word() -> None:
    """Each word has its own key in every band: no two different ones meet by chance."""
    texts = [b"w%d" % k for k in range(500_000)] * 2
    keys, has_words = minhash_bands(*ragged(texts), bands=2, rows=2)
    assert has_words.all()
    assert np.array_equal(keys[:500_000], keys[500_000:])
    assert len(np.unique(keys)) == 2 * 500_000


def test_shingle_hashes_are_those_of_the_reference() -> None:
    """In document order, repeats included."""
    texts = ["a b a b a b", "", "one", "the the the"]
    hashes, bounds = shingle_hashes(*ragged(texts), ngram=2)
    for row, text in enumerate(texts):
        expected = [reference.shingle_hash(shingle) for shingle in reference.shingles(text.encode(), 2)]
        assert hashes[bounds[row] : bounds[row + 1]].tolist() == expected


def test_different_shingles_have_different_hashes() -> None:
    """A quarter of a million structured shingles: counters, single letters, permutations of words."""
    words = [*(f"{k:04}" for k in range(200)), *(f"abcdefg{c}" for c in "abcdefghij"), "a" * 8, "a" * 9, "a" * 17]
    pairs = [f"{left} {right}" for left in words for right in words]
    hashes, _ = shingle_hashes(*ragged(pairs), ngram=2)
    assert len(np.unique(hashes)) == len(pairs)
    assert len(np.unique(hashes >> np.uint64(32))) > len(pairs) - 5  # birthdays of 32 bits: 0.2 expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab ", max_size=12), min_size=1, max_size=5), st.data())
def test_true_jaccard_is_that_of_the_sets(texts: list[str], data: st.DataObject) -> None:
    """Brute force over sets of shingles as strings, for pairs in any order, with repeats."""
    number = st.integers(0, len(texts) - 1)
    pairs = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=6))
    sets = [{" ".join(shingle) for shingle in reference.shingles(text.encode(), 2)} for text in texts]
    expected = [len(sets[a] & sets[b]) / max(1, len(sets[a] | sets[b])) for a, b in pairs]
    found = true_jaccard(*ragged(texts), np.array(pairs, np.int64), ngram=2)
    assert found.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(MIXED, max_size=4))
def test_spaced_words_are_the_words_of_the_reference(texts: list[str]) -> None:
    """Joined by one space, with none at either end."""
    values, bounds = spaced_words(*ragged(texts))
    found = [values[bounds[k] : bounds[k + 1]].tobytes().decode() for k in range(len(texts))]
    assert found == [" ".join(word for word in reference.words(text.encode()) if word) for text in texts]


def test_wrong_arguments_are_refused() -> None:
    """Offsets outside the values would read foreign memory."""
    values = np.zeros(4, np.uint8)
    with pytest.raises(ValueError, match="ngram"):
        minhash(values, np.array([0, 4]), ngram=0)
    for offsets in ([0, 5], [-1, 4], [3, 2], []):
        with pytest.raises(ValueError, match="offsets"):
            minhash(values, np.array(offsets, np.int64))
    with pytest.raises(ValueError, match="bands"):
        band_hashes(np.zeros((1, 8), np.uint32), 3, 3)


def test_threads_do_not_disturb_each_other() -> None:
    """The kernels have no state and release the GIL."""
    values, offsets = ragged([f"document {k} " * 200 for k in range(50)])
    expected, found = minhash_bands(values, offsets)[0], {}

    def work(name: int) -> None:
        found[name] = minhash_bands(values, offsets)[0]

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(keys, expected) for keys in found.values())
