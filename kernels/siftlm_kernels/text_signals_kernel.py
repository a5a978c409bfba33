"""Compiles the pass over the bytes of documents that yields the integer counts behind `text_signals`.

One loop over the characters finds words and lines. Then words and lines get an identity (the position of their first
occurrence: a hash finds it, a comparison of the bytes decides). An n-gram's identity is that of its (n-1)-gram and
of its last word, so no n-gram is ever hashed as text, nothing rests on a hash being free of collisions, and an
n-gram is looked at only where its (n-1)-gram occurs twice: in prose, the eight longer sizes cost next to nothing.

All that may change is in this one file, because numba's cache looks at the file of the outermost function alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from siftlm_kernels.compiling import compiled, compiled_for
from siftlm_kernels.splitmix import FACTOR, step
from siftlm_kernels.text_signals_tables import (
    ALNUM,
    ALPHA,
    BULLETS,
    CLOSER,
    DIGIT,
    DIVIDER,
    POLICY_PHRASES,
    SOLO,
    SPACE,
    SPACED_SENTENCES,
    SPECIAL,
    STOP_WORDS,
    TERMINAL,
    UPPER,
)

COUNTS = (
    "chars", "newlines", "spaces", "upper", "digits", "alnum", "words", "word_chars", "longest", "hashes", "ellipses",
    "alpha_words", "stop_words", "lines", "bullet_lines", "ellipsis_lines", "c4_terminal_lines", "under_3_lines",
    "under_5_lines", "javascript_lines", "policy_lines", "lorem_ipsum", "braces", "sentences", "terminal_lines",
    "short_lines", "paragraphs", "unique_words", "duplicate_lines", "duplicate_line_chars", "duplicate_paragraphs",
    "duplicate_paragraph_chars", "top_2", "top_3", "top_4", *(f"duplicate_{n}" for n in range(5, 11)),
)  # fmt: skip
"""The columns of the kernel's output, integers all."""

CHARS, NEWLINES, SPACES, UPPERS, DIGITS, ALNUMS, WORDS, WORD_CHARS, LONGEST, HASHES, ELLIPSES = range(11)
ALPHA_WORDS, STOPS, LINES, BULLET_LINES, ELLIPSIS_LINES, C4_LINES, UNDER_3, UNDER_5, SCRIPT_LINES = range(11, 20)
POLICY_LINES, LOREM, BRACES, SENTENCES, TERMINAL_LINES, SHORT_LINES, PARAGRAPHS, UNIQUE_WORDS = range(20, 28)
DUPLICATE_LINES, DUPLICATE_LINE_CHARS, DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARS, TOP_2 = range(28, 33)
DUPLICATE_5 = 35

# Rows of the scratch memory: one entry a word, or one a line (a line has at least one word).
W_START, W_BYTES, W_CHARS, W_SPACED, W_ID, W_REPEATS = range(6)
L_START, L_BYTES, L_CHARS, L_ID, L_PARAGRAPH, L_NODE, L_PARENT = range(7)
KEY_BYTES = 8  # an ASCII word of so many bytes is its own key

SHORT_LINE_CHARS = 30  # FineWeb, section 3.6
SMALL_BYTES = 1 << 16

# What a line was found to contain.
SCRIPT_MARK, POLICY_MARK = 1, 2


def _packed(words: tuple[str, ...]) -> npt.NDArray[np.uint64]:
    keys = [int.from_bytes(word.encode(), "big") | 0x20202020 | len(word) << 32 for word in words]
    return np.array(keys, np.uint64)


def _bytes(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8).copy()


STOP_CODES = _packed(STOP_WORDS)
BULLET_CODES = np.array([ord(c) for c in BULLETS], np.int64)
_JAVASCRIPT, _LOREM_IPSUM, (_TERMS, _PRIVACY, *_COOKIES) = (
    _bytes("javascript"), _bytes("lorem ipsum"), [_bytes(phrase) for phrase in POLICY_PHRASES],
)  # fmt: skip
_COOKIE_POLICY, _USES_COOKIES, _USE_OF_COOKIES, _USE_COOKIES = _COOKIES

_HASH = np.uint64(0x9E3779B97F4A7C15)
_S32 = np.uint64(32)
_INEXACT = np.uint64(1 << 63)  # marks a key that is a hash, not the bytes themselves

# By the bits of a character: what it adds to a sum of (upper-case letters << 32) + alphanumeric characters.
_TALLY = np.array([(bits & ALNUM != 0) + ((bits & UPPER != 0) << 32) for bits in range(1 << 11)], np.int64)


@compiled
def _code_point(values: Any, i: int, end: int) -> tuple[Any, int]:
    """The character at byte `i` and its width; a byte that no UTF-8 begins with is a character of its own."""
    lead = np.int64(values[i])
    if lead < 0x80:
        return lead, 1
    if 0xC2 <= lead < 0xE0 and i + 1 < end:
        return (lead & 0x1F) << 6 | (np.int64(values[i + 1]) & 0x3F), 2
    if 0xE0 <= lead < 0xF0 and i + 2 < end:
        return (lead & 0x0F) << 12 | (np.int64(values[i + 1]) & 0x3F) << 6 | (np.int64(values[i + 2]) & 0x3F), 3
    if 0xF0 <= lead < 0xF5 and i + 3 < end:
        high = (lead & 0x07) << 18 | (np.int64(values[i + 1]) & 0x3F) << 12
        point = high | (np.int64(values[i + 2]) & 0x3F) << 6 | (np.int64(values[i + 3]) & 0x3F)
        return min(point, 0x10FFFF), 4
    return 0xFFFD, 1


@compiled
def _is_at(values: Any, start: int, begin: int, end: int, phrase: Any) -> bool:
    """Whether the bytes from `start` are `phrase`, ASCII case aside."""
    if start < begin or start + len(phrase) > end:
        return False
    for k in range(len(phrase)):
        byte = values[start + k]
        if 65 <= byte <= 90:
            byte |= 32
        if byte != phrase[k]:
            return False
    return True


@compiled
def _marks(values: Any, i: int, begin: int, end: int, point: Any, counts: Any) -> int:
    """The phrases whose rarest letter is the one at byte `i`."""
    letter = point | 32
    if letter == 106:  # j
        return SCRIPT_MARK if _is_at(values, i, begin, end, _JAVASCRIPT) else 0
    if letter == 118:  # v
        return POLICY_MARK if _is_at(values, i - 3, begin, end, _PRIVACY) else 0
    if letter == 109:  # m
        if _is_at(values, i - 4, begin, end, _LOREM_IPSUM):
            counts[LOREM] += 1
        return POLICY_MARK if _is_at(values, i - 3, begin, end, _TERMS) else 0
    if (
        _is_at(values, i - 3, begin, end, _COOKIE_POLICY)
        or _is_at(values, i - 8, begin, end, _USES_COOKIES)
        or _is_at(values, i - 10, begin, end, _USE_OF_COOKIES)
        or _is_at(values, i - 7, begin, end, _USE_COOKIES)
    ):
        return POLICY_MARK
    return 0


@compiled
def _stop_word(key: Any, size: int) -> int:
    """The bit of the stop word whose key this is, ASCII case aside, or 0."""
    code = key | np.uint64(0x20202020) | np.uint64(size) << _S32
    for k in range(len(STOP_CODES)):
        if STOP_CODES[k] == code:
            return 1 << k
    return 0


@compiled
def _close_line(
    values: Any, begin: int, line: int, classes: Any, marks: int, words: int, lines: Any, counts: Any
) -> None:
    start, size, chars = begin + lines[L_START, line], lines[L_BYTES, line], lines[L_CHARS, line]
    last = values[start + size - 1]
    dots = size >= 3 and last == 46 and values[start + size - 2] == 46 and values[start + size - 3] == 46
    ellipsis = size >= 3 and last == 0xA6 and values[start + size - 2] == 0x80 and values[start + size - 3] == 0xE2
    counts[ELLIPSIS_LINES] += dots or ellipsis
    counts[C4_LINES] += (last == 46 or last == 63 or last == 33 or last == 34 or last == 39) and not dots
    begin_last = start + size - 1
    while values[begin_last] & 0xC0 == 0x80 and begin_last > start:
        begin_last -= 1
    counts[TERMINAL_LINES] += (classes[_code_point(values, begin_last, start + size)[0]] & TERMINAL) != 0
    counts[SHORT_LINES] += chars < SHORT_LINE_CHARS
    counts[UNDER_3] += words < 3
    counts[UNDER_5] += words < 5
    counts[SCRIPT_LINES] += (marks & SCRIPT_MARK) != 0
    counts[POLICY_LINES] += (marks & POLICY_MARK) != 0


@compiled
def _ends_sentence(values: Any, start: int, end: int, classes: Any) -> Any:
    """Whether the last character of a word, closing quotes and brackets aside, is a sentence terminal."""
    while end > start:
        last = end - 1
        while last > start and values[last] & 0xC0 == 0x80:
            last -= 1
        point, _ = _code_point(values, last, end)
        if not classes[point] & CLOSER:
            return (classes[point] & TERMINAL) != 0
        end = last
    return False


@compiled
def _word_key(values: Any, start: int, end: int, key: Any, ascii_only: bool) -> Any:
    """A key of a word: `key`, its own bytes, where those are few and ASCII, else a hash that is marked as such."""
    if ascii_only and end - start <= KEY_BYTES:
        return key
    hashed = _HASH
    for i in range(start, end):
        hashed = (hashed ^ np.uint64(values[i])) * FACTOR
    return hashed ^ (hashed >> _S32) | _INEXACT


@compiled
def _scan(
    values: Any, begin: int, end: int, classes: Any, words: Any, word_keys: Any, lines: Any, line_keys: Any, counts: Any
) -> None:  # fmt: skip
    """Finds the words and lines of one document and counts all that needs no comparison between them."""
    i = begin
    n_words = n_lines = tally = digits = spaces = stops = 0
    trailing = 0  # bytes that are not the first of their character, so far
    dots = last_dot = 0
    line_words = line_trailing = marks = paragraph = 0
    open_sentence = blank = spaced = False
    last = 0  # the classes of the last letter of a word, where it is not ASCII
    line_hash = _HASH
    while True:
        point, width = _code_point(values, i, end) if i < end else (10, 0)
        if classes[point] & SPACE:
            if point == 10:
                if line_words:
                    _close_line(values, begin, n_lines, classes, marks, line_words, lines, counts)
                    counts[SENTENCES] += open_sentence
                    n_lines += 1
                    line_words = marks = 0
                    blank = False
                elif not blank:
                    blank = True
                    paragraph += 1
                if i >= end:
                    break
                counts[NEWLINES] += 1
            spaces += 1
            spaced = True
            trailing += width - 1
            line_hash = step(line_hash, np.uint64(point))
            i += width
            continue
        # A word begins here; a line too, where it is the first since the newline.
        start, start_trailing = i, trailing
        if line_words == 0:
            lines[L_START, n_lines] = start - begin
            lines[L_PARAGRAPH, n_lines] = paragraph
            line_trailing = trailing
            line_hash = _HASH
            for k in range(len(BULLET_CODES)):
                counts[BULLET_LINES] += BULLET_CODES[k] == point
        elif spaced and open_sentence and last & classes[point] & SPACED_SENTENCES:
            counts[SENTENCES] += 1
        seen = last = 0
        stop = SPACE  # what ends the word: letters of all scripts too, behind one that is a word by itself
        key = np.uint64(0)
        ascii_only = True
        while i < end:
            byte = values[i]
            if byte < 0x80:
                flags = classes[byte]
                if flags & stop:
                    break
                key = key << np.uint64(8) | np.uint64(byte)
                point, width = np.int64(byte), 1
            else:
                point, width = _code_point(values, i, end)
                flags = classes[point]
                if flags & stop or (flags & SOLO and seen & ALNUM):
                    break
                if flags & ALNUM:
                    last, stop = flags, SPACE | ALNUM if flags & SOLO else SPACE
                elif flags & DIVIDER and seen & ALNUM:
                    stop = SPACE | ALNUM
                ascii_only = False
                trailing += width - 1
            seen |= flags
            tally += _TALLY[flags]
            digits += (flags & DIGIT) >> 3
            if flags & SPECIAL:
                if point == 46:
                    dots = dots + 1 if last_dot == i - 1 else 1
                    last_dot = i
                    if dots == 3:
                        counts[ELLIPSES] += 1
                        dots = 0
                elif point == 35:
                    counts[HASHES] += 1
                elif point == 123:
                    counts[BRACES] += 1
                elif point == 0x2026:
                    counts[ELLIPSES] += 1
                else:
                    marks |= _marks(values, i, begin, end, point, counts)
            i += width
        key = _word_key(values, start, i, key, ascii_only)
        size = i - start
        chars = size - (trailing - start_trailing)
        words[W_START, n_words] = start - begin
        words[W_BYTES, n_words] = size
        words[W_CHARS, n_words] = chars
        words[W_SPACED, n_words] = spaced
        spaced = False
        word_keys[n_words] = key
        counts[LONGEST] = max(counts[LONGEST], chars)
        counts[ALPHA_WORDS] += (seen & ALPHA) != 0
        ends = (seen & TERMINAL) != 0 and _ends_sentence(values, start, i, classes)
        counts[SENTENCES] += ends
        open_sentence = not ends
        if size <= 4:
            stops |= _stop_word(key, size)
        n_words += 1
        line_words += 1
        line_hash = step(line_hash, key)
        lines[L_BYTES, n_lines] = i - begin - lines[L_START, n_lines]
        lines[L_CHARS, n_lines] = lines[L_BYTES, n_lines] - (trailing - line_trailing)
        line_keys[n_lines] = line_hash | _INEXACT
    chars = end - begin - trailing
    counts[CHARS], counts[SPACES], counts[DIGITS] = chars, spaces, digits
    counts[UPPERS], counts[ALNUMS] = tally >> 32, tally & 0xFFFFFFFF
    counts[WORDS], counts[WORD_CHARS], counts[LINES] = n_words, chars - spaces, n_lines
    while stops:
        counts[STOPS] += stops & 1
        stops >>= 1


@compiled
def _slot_bits(entries: int) -> int:
    """The size of a table, as a power of two, that is at most two thirds full with `entries`."""
    bits = 4
    while (1 << bits) * 2 < entries * 3:
        bits += 1
    return bits


@compiled
def _slot(key: Any, bits: int) -> Any:
    key = (key ^ (key >> np.uint64(29))) * FACTOR
    key = (key ^ (key >> _S32)) * _HASH
    return np.int64(key >> np.uint64(64 - bits))


@compiled
def _pair(first: int, second: int) -> Any:
    return np.uint64(np.uint32(first)) << _S32 | np.uint64(np.uint32(second))


@compiled
def _same_bytes(values: Any, a: int, b: int, size: int) -> bool:
    for k in range(size):  # noqa: SIM110 (numba compiles no generators)
        if values[a + k] != values[b + k]:
            return False
    return True


@compiled
def _identify(values: Any, begin: int, starts: Any, sizes: Any, keys: Any, ids: Any, n: int, table: Any) -> int:
    """Sets `ids` to the position of the first equal piece of bytes; the number of distinct pieces."""
    bits = _slot_bits(n)
    mask = (1 << bits) - 1
    table[: mask + 1] = -1
    distinct = 0
    for k in range(n):
        key, size = keys[k], sizes[k]
        slot = _slot(key ^ np.uint64(size), bits)
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = k
                ids[k] = k
                distinct += 1
                break
            if (
                keys[other] == key
                and sizes[other] == size
                and (key < _INEXACT or _same_bytes(values, begin + starts[other], begin + starts[k], size))
            ):
                ids[k] = other
                break
            slot = (slot + 1) & mask
    return distinct


@compiled
def _duplicates(ids: Any, chars: Any, n: int) -> tuple[int, int]:
    """How many of `n` pieces occurred before, and their characters."""
    pieces = characters = 0
    for k in range(n):
        if ids[k] != k:
            pieces += 1
            characters += chars[k]
    return pieces, characters


@compiled
def _duplicate_paragraphs(lines: Any, n: int, table: Any) -> tuple[int, int, int]:
    """(paragraphs, duplicate ones, their characters).

    Walks a trie whose edges are lines: two paragraphs are equal when they end in the same node. A node is named
    after the line that made it, and is remembered in the table under (node before it, identity of the line).
    """
    ids, nodes, parents, ended = lines[L_ID], lines[L_NODE], lines[L_PARENT], lines[L_BYTES]
    chars, owner = lines[L_CHARS], lines[L_PARAGRAPH]
    bits = _slot_bits(n)
    mask = (1 << bits) - 1
    table[: mask + 1] = -1
    paragraphs = duplicate = characters = 0
    node, size = -1, 0
    for k in range(n):
        slot = _slot(_pair(node, ids[k]), bits)
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = k
                nodes[k] = k
                parents[k] = node
                ended[k] = 0
                break
            if parents[other] == node and ids[other] == ids[k]:
                nodes[k] = other
                break
            slot = (slot + 1) & mask
        size += chars[k] + (node >= 0)
        node = nodes[k]
        if k + 1 == n or owner[k + 1] != owner[k]:
            paragraphs += 1
            if ended[node]:
                duplicate += 1
                characters += size
            ended[node] = 1
            node, size = -1, 0
    return paragraphs, duplicate, characters


@compiled
def _paragraphs(owner: Any, n: int) -> int:
    paragraphs = 0
    for k in range(n):
        paragraphs += k == 0 or owner[k] != owner[k - 1]
    return paragraphs


@compiled
def _entropy(occurrences: Any, ids: Any, n: int) -> float:
    """Entropy of the words in nats: ln n - sum(c ln c) / n."""
    total = 0.0
    for k in range(n):
        if ids[k] == k and occurrences[k] > 1:
            total += occurrences[k] * np.log(np.float64(occurrences[k]))
    return max(0.0, np.log(np.float64(n)) - total / n) if n else 0.0


@compiled
def _extend(
    n: int, ids: Any, repeats: Any, words: int, positions: Any, n_positions: int, shorter: Any, longer: Any,
    occurrences: Any, table: Any,
) -> int:  # fmt: skip
    """From the repeated (n-1)-grams to the repeated n-grams: their number; `positions` keeps where they are.

    `shorter` and `longer` hold the identities of (n-1)-grams and n-grams by position, `occurrences` counts n-grams.
    """
    while n_positions and positions[n_positions - 1] + n > words:
        n_positions -= 1
    tried = 0
    for p in range(n_positions):  # without a branch, for no processor can guess which words occur twice
        i = positions[p]
        positions[tried] = i
        tried += repeats[ids[i + n - 1]]
    bits = _slot_bits(tried)
    mask = (1 << bits) - 1
    table[: mask + 1] = -1
    for p in range(tried):
        i = positions[p]
        before, last = shorter[i], ids[i + n - 1]
        slot = _slot(_pair(before, last), bits)
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = i
                longer[i] = i
                occurrences[i] = 1
                break
            if shorter[other] == before and ids[other + n - 1] == last:
                longer[i] = other
                occurrences[other] += 1
                break
            slot = (slot + 1) & mask
    kept = 0
    for p in range(tried):
        i = positions[p]
        positions[kept] = i
        kept += occurrences[longer[i]] > 1
    return kept


@compiled
def _top(n: int, positions: Any, n_positions: int, longer: Any, occurrences: Any, chars: Any, spaced: Any) -> int:
    """Characters of all occurrences of the most frequent n-gram, its spaces included; the first of equals."""
    best, at = 0, 0
    for p in range(n_positions):
        i = positions[p]
        if longer[i] == i and occurrences[i] > best:
            best, at = occurrences[i], i
    characters = chars[at]
    for k in range(at + 1, at + n):
        characters += chars[k] + spaced[k]
    return best * characters if best else 0


@compiled
def _repeated(n: int, positions: Any, n_positions: int, longer: Any, occurrences: Any, chars: Any) -> int:
    """Characters of the n-grams that were seen before, from left to right, without overlap."""
    characters = free = 0
    for p in range(n_positions):
        i = positions[p]
        if i < free:
            continue
        name = longer[i]
        if occurrences[name] < 0:
            for k in range(i, i + n):
                characters += chars[k]
            free = i + n
        else:
            occurrences[name] = -occurrences[name]
    return characters


@compiled
def _repetition(words: Any, n_words: int, repeats: Any, grams: Any, table: Any, counts: Any) -> None:
    """The signals of n-grams; `repeats` says by identity whether a word occurs twice."""
    ids, chars, spaced = words[W_ID], words[W_CHARS], words[W_SPACED]
    positions, shorter, longer, occurrences = grams[0], grams[1], grams[2], grams[3]
    kept = 0
    for i in range(n_words):
        shorter[i] = ids[i]
        positions[kept] = i
        kept += repeats[ids[i]]
    for n in range(2, 11):
        kept = _extend(n, ids, repeats, n_words, positions, kept, shorter, longer, occurrences, table)
        if kept == 0:
            return
        if n <= 4:
            counts[TOP_2 + n - 2] = _top(n, positions, kept, longer, occurrences, chars, spaced)
        else:
            counts[DUPLICATE_5 + n - 5] = _repeated(n, positions, kept, longer, occurrences, chars)
        shorter, longer = longer, shorter


@compiled
def _compare(
    values: Any, begin: int, words: Any, word_keys: Any, lines: Any, line_keys: Any, grams: Any, table: Any, counts: Any
) -> float:  # fmt: skip
    """What rests on comparing words and lines with each other; the entropy of the words."""
    n_words, n_lines = counts[WORDS], counts[LINES]
    counts[UNIQUE_WORDS] = _identify(
        values, begin, words[W_START], words[W_BYTES], word_keys, words[W_ID], n_words, table
    )
    distinct = _identify(values, begin, lines[L_START], lines[L_BYTES], line_keys, lines[L_ID], n_lines, table)
    if distinct == n_lines:
        counts[PARAGRAPHS] = _paragraphs(lines[L_PARAGRAPH], n_lines)
    else:
        counts[DUPLICATE_LINES], counts[DUPLICATE_LINE_CHARS] = _duplicates(lines[L_ID], lines[L_CHARS], n_lines)
        paragraphs, duplicates, characters = _duplicate_paragraphs(lines, n_lines, table)
        counts[PARAGRAPHS], counts[DUPLICATE_PARAGRAPHS] = paragraphs, duplicates
        counts[DUPLICATE_PARAGRAPH_CHARS] = characters
    ids = words[W_ID]
    occurrences = words[W_START]
    occurrences[:n_words] = 0
    for k in range(n_words):
        occurrences[ids[k]] += 1
    entropy = _entropy(occurrences, ids, n_words)
    repeats = words[W_REPEATS]
    for k in range(n_words):
        repeats[k] = occurrences[k] > 1
    _repetition(words, n_words, repeats, grams, table, counts)
    return entropy


@compiled
def _word_bound(values: Any, begin: int, end: int) -> int:
    """At least the number of words in these bytes, without decoding them."""
    if end - begin <= SMALL_BYTES:
        return (end - begin) // 2 + 1
    bound, gap = 1, True
    for i in range(begin, end):
        byte = values[i]
        space = byte <= 32 or byte == 0xC2 or (0xE1 <= byte <= 0xE3)
        bound += (gap and not space) + 2 * (byte >= 0xE0)  # it may begin a word of one letter, and the next one
        gap = space
    # What only may be white space outside ASCII has two more bytes or one, which then begin a word.
    return bound + 1


_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_CLASSES = types.Array(types.uint16, 1, "C", readonly=True)


@compiled_for(types.void(_BYTES, _OFFSETS, _CLASSES, types.int64[:, ::1], types.float64[::1]))
def count_signals(values: Any, offsets: Any, classes: Any, counts: Any, entropies: Any) -> None:
    """Fills `counts` with the counts of every document, and `entropies` with the entropies of their words.

    Shapes: (documents, len(COUNTS)) and (documents,). Both must be zero before.

    Args:
        values: UTF-8, shape (bytes,); bytes that are not UTF-8 give some counts, never an error.
        offsets: shape (documents + 1,); no document of 2 GiB or more.
        classes: the table of `text_signals_tables.character_classes`.
    """
    capacity = 1
    for d in range(len(offsets) - 1):
        capacity = max(capacity, _word_bound(values, offsets[d], offsets[d + 1]))
    words, word_keys = np.empty((6, capacity), np.int32), np.empty(capacity, np.uint64)
    lines, line_keys = np.empty((7, capacity), np.int32), np.empty(capacity, np.uint64)
    grams = np.empty((4, capacity), np.int32)
    table = np.empty(1 << _slot_bits(capacity), np.int32)
    for d in range(len(offsets) - 1):
        begin, end = offsets[d], offsets[d + 1]
        _scan(values, begin, end, classes, words, word_keys, lines, line_keys, counts[d])
        entropies[d] = _compare(values, begin, words, word_keys, lines, line_keys, grams, table, counts[d])
