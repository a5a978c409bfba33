"""Defines character classes by code point, and the words and phrases that text signals count."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from siftlm_kernels.normal_form import CODE_POINTS, spans
from siftlm_kernels.unicode_words import SOLO_BLOCKS

SPACE = 1  # str.isspace: what str.split splits at
ALPHA = 2  # str.isalpha
ALNUM = 4  # str.isalnum
DIGIT = 8  # str.isdigit
UPPER = 16  # str.isupper
TERMINAL = 32  # Unicode's Sentence_Terminal
CLOSER = 64  # a quote or bracket that may follow the end of a sentence
SPECIAL = 128  # needs a closer look: part of a counted symbol or of a phrase
SOLO = 256  # a letter or digit of a script without spaces: a word by itself
SPACED_SENTENCES = 512  # of the scripts that end sentences with a space
DIVIDER = 1024  # a mark that stands where other scripts have a space: one of `WORD_DIVIDERS`

THAI_AND_LAO = slice(0x0E00, 0x0F00)

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher, appendix A1.1: the eight words of which a document should contain two."""

BULLETS = "•‣⁃◦●○▪▫■□*-"
"""Gopher, appendix A1.1, says "a bullet point"; these are what lists on the web begin with."""

POLICY_PHRASES = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
"""C4, as built by TFDS `c4_utils.py`: a line with one of these is boilerplate."""

C4_END_MARKS = ".?!\"'"
"""C4, section 2.2: terminal punctuation of a line, as built by TFDS."""

CLOSERS = "\"')]}»”’›」』）】"

WORD_DIVIDERS = (
    "\u0f0b\u0f0c\u0fd2"  # Tibetan tshegs, behind every syllable
    "\u1361"  # Ethiopic wordspace
    "\u16eb\u16ec\u16ed"  # Runic
    "\u2d70\u2e31"  # Tifinagh separator, word separator middle dot (Avestan, Samaritan)
    "\U00010100\U00010101\U0001039f\U000103d0\U0001091f"  # Aegean, Ugaritic, Old Persian, Phoenician
    "\U000111c8\U00011a41\U00011a44\U00011a9a\U00011c43"  # Sharada, Zanabazar, Soyombo, Bhaiksuki
    "\U00012470"  # Old Assyrian
)
"""The visible marks between words or syllables: Unicode Standard Annex 14, class BA, "visible word dividers"."""

# Tibetan's shads end a clause or a sentence, so Unicode leaves them out of Sentence_Terminal; nothing else ends one.
TIBETAN_SHADS = range(0x0F0D, 0x0F12)

# The property Sentence_Terminal of Unicode 16 (PropList.txt): inclusive ranges of code points.
_SENTENCE_TERMINAL = """
21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D5 1803
1809 1944-1945 1AA8-1AAB 1B4E-1B4F 1B5A-1B5B 1B5E-1B5F 1B7D-1B7F 1C3B-1C3C 1C7E-1C7F 2024 203C-203D 2047-2049
2CF9-2CFB 2E2E 2E3C 2E53-2E54 2E60-2E61 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F
AAF0-AAF1 ABEB FE12 FE15-FE16 FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048
110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 113D4-113D5 1144B-1144C
115C2-115C3 115C9-115D7 11641-11642 1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8
11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 16D6E-16D6F 16E98 1BC9F 1DA88
"""


def sentence_terminals() -> list[int]:
    """Returns the code points of `.`, `!`, `?` and other marks that end a sentence in any script."""
    return [*(point for first, last in spans(_SENTENCE_TERMINAL) for point in range(first, last + 1)), *TIBETAN_SHADS]


# `j`, `v`, `m` and `k` are the rarest letters of the phrases: one of them is where a search begins.
_SPECIAL = "#{.…jJvVmMkK"


@lru_cache(maxsize=1)
def character_classes() -> npt.NDArray[np.uint16]:
    """Returns the class bits of every code point, by the `str` methods of the running Python."""
    every = np.arange(CODE_POINTS, dtype=np.uint32).view("U1")
    classes = np.zeros(CODE_POINTS, np.uint16)
    tests = {"isspace": SPACE, "isalpha": ALPHA, "isalnum": ALNUM, "isdigit": DIGIT, "isupper": UPPER}
    for name, bit in tests.items():
        classes |= getattr(np.strings, name)(every) * np.uint16(bit)
    for first, last in SOLO_BLOCKS:
        block = classes[first : last + 1]
        block[block & ALNUM != 0] |= SOLO
    classes[THAI_AND_LAO] |= SPACED_SENTENCES
    classes[sentence_terminals()] |= TERMINAL
    for characters, bit in ((WORD_DIVIDERS, DIVIDER), (CLOSERS, CLOSER), (_SPECIAL, SPECIAL)):
        classes[[ord(character) for character in characters]] |= bit
    return classes
