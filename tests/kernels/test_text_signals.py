"""The compiled text signals equal the plain Python ones on any text, and stay linear on the worst."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from siftlm_kernels.text_signals import GROUPS, SIGNALS, text_signals
from siftlm_kernels.text_signals_reference import split_words

SPACES = [" ", "\n", "\n\n", "\r\n", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u2028", "\u3000"]
PIECES = [
    *SPACES, "a", "be", "The", "WITH", "and", "that.", "x" * 31, "#", "{", "}", "...", "..", ".", "…", "•", "- ", "*",
    "!", "?”", '"', "'", ")", "。", "\0", "é", "ß", "Σ", "日本", "😀", "👩\u200d👩", "e\u0301", "٣", "½", "Ⅷ",
    "javascript", "JavaScript", "lorem ipsum", "Lorem Ipsum", "terms of use", "Privacy Policy", "cookie policy",
    "uses cookies", "use of cookies", "use cookies", "cookie", "\u212a", "İ", "\ufeff", "\U0010ffff",
    "カ", "。」", "「", "，", "ก", "กา", "เก่ง", "ລາວ", "ខ្មែរ", "မြန်မာ", "။", "ー", "々", "7", "𠀀",
    "བཀྲ", "་", "།", "༌", "፡", "ሰላም", "ꀉ", "ꦗꦮ", "ᨾᩮᩬᩥᨦ", "ᬩ", "ᥖ", "ꪎ", "ꨀ", "𗀀", "᛫",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
    st.lists(st.sampled_from(["a", "b", "ab", "c"]), max_size=80).map(" ".join),
    st.lists(st.sampled_from(["a b", "a", "", " ", "a b "]), max_size=40).map("\n".join),
)


def ragged(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def assert_equal(texts: list[str]) -> None:
    """The same bits in every column but the entropy, whose sum is taken in another order."""
    fast, slow = text_signals(*ragged(texts)), text_signals(*ragged(texts), impl="reference")
    assert list(fast) == list(slow) == [signal.name for signal in SIGNALS]
    for signal in SIGNALS:
        assert fast[signal.name].dtype == slow[signal.name].dtype == np.dtype(signal.dtype)
        if signal.name == "unigram_entropy":
            np.testing.assert_allclose(fast[signal.name], slow[signal.name], rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(fast[signal.name], slow[signal.name], err_msg=signal.name)


def one(text: str) -> dict[str, float]:
    return {name: float(column[0]) for name, column in text_signals(*ragged([text])).items()}


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=4))
def test_compiled_signals_equal_the_plain_python_ones(texts: list[str]) -> None:
    """Any Unicode, any line separators, empty documents among others."""
    assert_equal(texts)


def test_signals_equal_the_plain_python_ones_on_long_repetitive_text() -> None:
    """Every n-gram size has repeats, overlaps and ties, and documents are longer than the small-document bound."""
    random = np.random.default_rng(3)
    vocabulary = ["alpha", "beta", "gamma", "delta", "ε", "ζήτα"]
    texts = []
    for size in (50, 500, 40_000):
        words = list(random.choice(vocabulary, size))
        words[size // 2 : size // 2] = words[: size // 3]
        breaks = np.where(random.random(len(words)) < 0.1, "\n", " ")
        texts.append("".join(word + gap for word, gap in zip(words, breaks, strict=True)))
    assert_equal(texts)


def test_every_code_point_is_classified_as_by_str() -> None:
    """Letters, digits, capitals and white space are what Python says, for each of the 1.1 million characters."""
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    assert_equal(["".join(points[i : i + 4096]) for i in range(0, len(points), 4096)])


def test_a_row_of_the_batch_does_not_depend_on_its_neighbours() -> None:
    """Offsets may begin anywhere in the values, and scratch memory carries nothing over."""
    texts = ["a b a b a b.", "x\nx\nx\n\ny", "", "one two three four five six. one two three four five six."]
    values, offsets = ragged(texts)
    whole = text_signals(values, offsets)
    for row in range(len(texts)):
        alone = text_signals(values, offsets[row : row + 2])
        assert all(alone[name][0] == column[row] for name, column in whole.items())


def test_empty_documents_have_zeros() -> None:
    """No ratio is NaN, and a batch without documents has every column."""
    assert set(one("").values()) == {0.0}
    assert one(" \n\t\n")["word_count"] == 0
    assert all(len(column) == 0 for column in text_signals(*ragged([])).values())


def test_gopher_quality_counts_are_those_of_a_worked_example() -> None:
    """Counted by hand."""
    row = one("• The cat and #1 dog...\n- 42 …\n\nBe with us.")
    assert row["word_count"] == 12
    assert row["stop_word_count"] == 4
    assert row["hash_word_ratio"] == 1 / 12
    assert row["ellipsis_word_ratio"] == 2 / 12
    assert row["bullet_line_fraction"] == 2 / 3
    assert row["ellipsis_line_fraction"] == 2 / 3
    assert row["alpha_word_fraction"] == 7 / 12
    assert row["paragraph_count"] == 2


def test_repetition_is_that_of_a_worked_example() -> None:
    """`a b c` three times in 17 characters: the 2-gram `a b` (3 characters) thrice; no 5-gram free of overlap twice."""
    row = one("a b c a b c a b c")
    assert row["top_2_gram_char_fraction"] == 9 / 17
    assert row["top_3_gram_char_fraction"] == 15 / 17
    assert row["duplicate_5_gram_char_fraction"] == 5 / 17
    assert row["duplicate_6_gram_char_fraction"] == 6 / 17
    assert row["duplicate_7_gram_char_fraction"] == 0
    assert one("a b c d")["top_2_gram_char_fraction"] == 0


def test_duplicate_lines_and_paragraphs_are_those_of_a_worked_example() -> None:
    """White space at a line's ends and the kind of line break don't make two lines differ."""
    row = one("aa bb\r\n cc\n\naa bb \ncc\n\ncc")
    assert row["line_count"] == 5
    assert row["paragraph_count"] == 3
    assert row["duplicate_line_fraction"] == 3 / 5
    assert row["duplicate_paragraph_fraction"] == 1 / 3
    assert row["duplicate_line_char_fraction"] == 9 / 25
    assert row["duplicate_paragraph_char_fraction"] == 8 / 25
    assert row["duplicate_char_fraction"] == 9 / 19


def test_c4_and_fineweb_line_rules_are_those_of_a_worked_example() -> None:
    """Counted by hand."""
    row = one("We use cookies here now.\nEnable JavaScript!\nlorem ipsum {x}\nTo be continued...\nWhat is “it”? 。")
    assert row["c4_terminal_line_fraction"] == 2 / 5
    assert row["terminal_line_fraction"] == 4 / 5
    assert row["under_3_word_line_fraction"] == 1 / 5
    assert row["under_5_word_line_fraction"] == 4 / 5
    assert row["javascript_line_fraction"] == 1 / 5
    assert row["policy_line_fraction"] == 1 / 5
    assert row["lorem_ipsum_count"] == row["curly_brace_count"] == 1
    assert row["sentence_count"] == 6
    assert row["short_line_fraction"] == 1


@pytest.mark.parametrize(
    ("text", "words", "sentences"),
    [
        pytest.param("我喜欢看书。你呢？", 7, 2, id="Chinese"),
        pytest.param("「你好，」他说。\n我很好", 7, 2, id="Chinese, quoted, two lines"),
        pytest.param("2024年，OpenAI发布了GPT模型。", 9, 1, id="Chinese with Latin words and a number"),
        pytest.param("これはペンです。あれは本です！", 13, 2, id="Japanese"),
        pytest.param("ฉันรักเธอ เธอรักฉัน", 14, 2, id="Thai, whose sentences end with a space"),
        pytest.param("ฉันมี iPhone 2 เครื่อง", 10, 1, id="Thai: a space beside another script ends nothing"),
        pytest.param("ຂ້ອຍຮັກເຈົ້າ", 8, 1, id="Lao"),
        pytest.param("ខ្ញុំស្រឡាញ់អ្នក។", 9, 1, id="Khmer"),
        pytest.param("မင်္ဂလာပါ။ နေကောင်းလား။", 9, 2, id="Burmese"),
        pytest.param("བཀྲ་ཤིས་བདེ་ལེགས། ང་བོད་པ་ཡིན།", 8, 2, id="Tibetan, whose syllables end in a tsheg"),
        pytest.param("བོད་༢༠༢༤ལོ", 2, 1, id="Tibetan: a digit without a tsheg keeps together"),
        pytest.param("ꆈꌠꁱꂷ。ꉢꇬ。", 6, 2, id="Yi"),
        pytest.param("ꦱꦸꦒꦼꦁ​ꦫꦮꦸꦃ꧉", 4, 1, id="Javanese"),
        pytest.param("ᨣᩴᩤᨾᩮᩬᩥᨦ", 3, 1, id="Tai Tham"),
        pytest.param("ᦷᦎᦺᦑ", 4, 1, id="New Tai Lue, whose vowels are letters"),
        pytest.param("ᥖᥭᥰ", 3, 1, id="Tai Le, whose vowels and tones are letters"),
        pytest.param("ꪼꪕꪒꪾ", 3, 1, id="Tai Viet"),
        pytest.param("ᬩᬮᬶ᭟ᬩᬲ", 4, 2, id="Balinese"),
        pytest.param("ꨌꩌꨨꨣ", 3, 1, id="Cham"),
        pytest.param("ㄅㄆㄇ ﾊﾛｰ", 6, 1, id="Bopomofo, half-width Katakana"),
        pytest.param("𛀀𛀁 𪜀𫝀𫠠𬺰𰀀", 7, 1, id="Kana Supplement and Han beyond the first plane"),
        pytest.param("ሰላም፡ለዓለም፡ሁሉ።", 3, 1, id="Ethiopic with wordspaces"),
        pytest.param("ሰላም ለዓለም ሁሉ።", 3, 1, id="Ethiopic with spaces"),
        pytest.param("ᮘᮞ ᮞᮥᮔ᮪ᮓ", 2, 1, id="Sundanese, which has spaces"),
        pytest.param("ꓡꓲꓢꓴ ꓐꓢ", 2, 1, id="Lisu, which has spaces"),
        pytest.param("한국어는 띄어쓰기를 한다. 그렇다.", 4, 2, id="Korean, which has spaces"),
        pytest.param("Hello world. Good-bye!", 3, 2, id="English"),
        pytest.param("Don't stop3.5now e\u0301a naïve", 4, 1, id="Latin words are not split"),
    ],
)
def test_words_and_sentences_of_every_script_are_those_counted_by_hand(text: str, words: int, sentences: int) -> None:
    """A letter with its marks is a word where a script has no spaces; digits and Latin words keep together."""
    row = one(text)
    assert (row["word_count"], row["sentence_count"]) == (words, sentences)
    assert_equal([text])


def test_n_grams_of_a_script_without_spaces_are_as_long_as_their_text() -> None:
    """The most frequent 2-gram is `我们`, two characters without a space between, three times in nine."""
    row = one("我们一我们二我们三")
    assert row["top_2_gram_char_fraction"] == 6 / 9
    assert one("we us 1 we us 2 we us 3")["top_2_gram_char_fraction"] == 15 / 23


def test_a_page_of_a_script_without_spaces_passes_the_length_rules_of_gopher_and_c4() -> None:
    """50 words, three sentences, lines of five words: what a page of 200 characters has in every language."""
    for page in (
        "这是一个很长的句子，里面有很多词。" * 12,
        "ประโยคภาษาไทยที่ยาวมาก " * 12,
        "これは長い文です。" * 12,
        "བཀྲ་ཤིས་བདེ་ལེགས། " * 13,
        "ꆈꌠꁱꂷꉢꇬꆀ。" * 12,
    ):
        row = one(page)
        assert row["word_count"] >= 50
        assert row["sentence_count"] >= 3
        assert row["under_5_word_line_fraction"] == 0
        assert row["longest_word_length"] <= 5


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("word " * 400_000, id="one word"),
        pytest.param("x" * 2_000_000, id="one long word"),
        pytest.param(" ".join(map(str, range(300_000))), id="one line of many words"),
        pytest.param("same line\n" * 200_000, id="equal lines"),
        pytest.param("\n" * 2_000_000, id="empty lines"),
        pytest.param("\n".join(map(str, range(300_000))), id="distinct lines"),
        pytest.param("a\nb\n\n" * 300_000, id="equal paragraphs"),
        pytest.param("😀" * 500_000, id="emoji"),
        pytest.param("." * 2_000_000, id="dots"),
        pytest.param("k" * 2_000_000, id="letters that phrases are looked for at"),
        pytest.param("字" * 600_000, id="a script without spaces"),
        pytest.param("字a" * 400_000, id="two scripts in turn"),
    ],
)
def test_the_worst_documents_take_time_linear_in_their_bytes(text: str) -> None:
    """About 2 MB each, in some 0.1 s; one quadratic step would take longer than the test may."""
    row = one(text)
    assert row["char_count"] == len(text)
    assert row["word_count"] == len(split_words(text))


def test_bytes_that_are_not_utf_8_do_no_harm() -> None:
    """The kernel never reads past a document, whatever its last byte promises."""
    broken = np.array([0xF0, 0x9F, 0x20, 0xE2, 0x80, 0x61, 0xC3, 0xFF, 0xF4, 0xBF, 0xBF, 0xBF, 0xF4], np.uint8)
    for end in range(len(broken) + 1):
        row = text_signals(broken, np.array([0, end], np.int64))
        assert row["char_count"][0] <= end


def test_signals_are_documented() -> None:
    """Distinct names, known groups, a definition and a source each."""
    assert len({signal.name for signal in SIGNALS}) == len(SIGNALS)
    assert {signal.group for signal in SIGNALS} == set(GROUPS)
    assert all(signal.definition and signal.source for signal in SIGNALS)


def test_an_unknown_implementation_is_refused() -> None:
    """With the known ones in the message."""
    with pytest.raises(ValueError, match="impl: must be 'auto' or 'reference', got 'gpu'"):
        text_signals(*ragged(["a"]), impl="gpu")  # type: ignore[arg-type]
