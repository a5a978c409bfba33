"""Sampling of pages and chunks of text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models import byte_tokenizer

from siftlm.correlate.pages import chunk_text, keyed_uniform, sample_pages
from siftlm.correlate.settings import SampleSettings

texts = st.text(alphabet="ab \näß語🙂", max_size=60)


@settings(max_examples=200, deadline=None)
@given(texts, st.integers(1, 9), st.randoms(use_true_random=False))
def test_chunks_add_up_to_the_text(text: str, size: int, random: object) -> None:
    """For any tokens: gaps, empty spans, tokens that share a character."""
    ends = sorted(random.choices(range(len(text) + 1), k=len(text)))  # type: ignore[attr-defined]
    offsets = [(max(0, end - random.randint(0, 3)), end) for end in ends]  # type: ignore[attr-defined]
    chunks = chunk_text(text, offsets, size)
    assert "".join(chunks) == text
    assert all(chunks)


def test_chunks_hold_as_many_tokens_as_asked() -> None:
    """Special tokens with empty spans count for nothing; the rest goes to the last chunk."""
    text = "aa bb cc dd ee "
    offsets = [(0, 0), (0, 2), (2, 5), (5, 8), (8, 11), (11, 14), (0, 0)]
    assert chunk_text(text, offsets, 2) == ["aa bb", " cc dd", " ee "]
    assert chunk_text(text, offsets, 5) == [text]
    assert chunk_text("", [], 2) == []


def test_chunks_of_a_real_tokenizer_add_up() -> None:
    """A byte-level tokenizer splits characters into several tokens with the same span."""
    text = "Grüße 語 and 🙂🙂 emoji\n\n and some more words, words, words. "
    tokenizer = byte_tokenizer([text], 270).backend_tokenizer
    for size in (1, 2, 3, 7, 100):
        assert "".join(chunk_text(text, tokenizer.encode(text).offsets, size)) == text


def test_every_sampled_domain_has_exactly_n_pages() -> None:
    """Smaller domains, pages without a domain and repeated pages are counted by reason."""
    doc_ids = [f"a{i}" for i in range(10)] + [f"b{i}" for i in range(2)] + ["n", "a0"]
    domains: list[str | None] = ["a"] * 10 + ["b"] * 2 + [None, "a"]
    sample = sample_pages(doc_ids, domains, SampleSettings(pages_per_domain=4))
    assert [domains[index] for index in sample.chosen] == ["a"] * 4
    assert sample.dropped == {"domain_too_small": 2, "no_domain": 1, "not_drawn": 6, "repeated_page": 1}
    assert len(doc_ids) == len(sample.chosen) + sum(sample.dropped.values())


def test_the_sample_depends_on_no_order_but_on_the_seed() -> None:
    """The same pages from any order of the shards."""
    doc_ids = [f"d{i}" for i in range(200)]
    domains = [f"site{i % 3}" for i in range(200)]
    order = np.random.default_rng(0).permutation(200)
    settings_7 = SampleSettings(pages_per_domain=7)
    first = {doc_ids[i] for i in sample_pages(doc_ids, domains, settings_7).chosen}
    turned_ids, turned_domains = [doc_ids[i] for i in order], [domains[i] for i in order]
    assert first == {turned_ids[i] for i in sample_pages(turned_ids, turned_domains, settings_7).chosen}
    other = sample_pages(doc_ids, domains, SampleSettings(pages_per_domain=7, seed=1)).chosen
    assert first != {doc_ids[i] for i in other}


def test_keyed_numbers_are_uniform() -> None:
    """Mean 1/2 and variance 1/12 over 20,000 keys, never 0 or 1."""
    drawn = keyed_uniform([str(i) for i in range(20_000)], 3, "test")
    assert 0 < drawn.min() < drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.var() == pytest.approx(1 / 12, abs=0.003)
