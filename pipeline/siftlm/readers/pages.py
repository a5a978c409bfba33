"""From the markup of a page to its text."""

from __future__ import annotations

import re

from resiliparse.extract.html2text import extract_plain_text

from siftlm.readers.bodies import PageError, Response, parse_response
from siftlm.readers.charsets import decode_page

__all__ = ["PageError", "Response", "decode_page", "page_text", "parse_response"]

MAX_PAGE_DEPTH = 1500
"""Extraction takes time quadratic in the depth of nesting: 30 ns x depth^2. Chrome stops at 512 (blink:
kMaximumHTMLParserDOMTreeDepth), and no real page has been seen beyond that."""

MAX_ATTRIBUTES = 1000
"""Parsing takes time quadratic in the attributes of one tag: 120,000 of them take three minutes."""

_PLAIN_TAGS = 3000
_PLAIN_BYTES = 200_000
_VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    ]
)
# Formatting elements nest without cost, and old pages leave them open by the thousand.
_FORMATTING = frozenset(
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"]
)
_CELLS = frozenset(["td", "th", "p", "span"])
# What a start tag closes, where end tags are left out (HTML standard, 13.1.2.4, as far as depth is concerned).
_CLOSES = {
    "p": frozenset(["p", "span"]),
    "li": frozenset(["li", "p", "span"]),
    "dt": frozenset(["dt", "dd", "p", "span"]),
    "dd": frozenset(["dt", "dd", "p", "span"]),
    "option": frozenset(["option"]),
    "td": _CELLS,
    "th": _CELLS,
    "tr": _CELLS | {"tr"},
    "tbody": _CELLS | {"tr", "tbody", "thead"},
}
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:-]*)")
_ATTRIBUTE = r"""[\s/]++[^\s=>/]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>]++))?+"""
_MANY_ATTRIBUTES = re.compile(rf"<[a-zA-Z][^\s/>]*+(?:{_ATTRIBUTE}){{{MAX_ATTRIBUTES},}}")


def page_text(html: str, *, main_content: bool) -> str:
    """The text that a reader of the page sees, without scripts, forms and hidden parts.

    Raises:
        PageError: the page is built to take forever, or cannot be parsed.
    """
    if hazard := _hazard(html):
        raise PageError("page_too_complex", hazard)
    try:
        # The extractor holds the interpreter's lock, so threads do not help here; processes do.
        return extract_plain_text(html, main_content=main_content, alt_texts=False)
    except (ValueError, RuntimeError) as error:
        raise PageError("bad_html", str(error)) from error


def _hazard(html: str) -> str | None:
    if html.count("<") - html.count("</") > _PLAIN_TAGS and (depth := _depth(html)) > MAX_PAGE_DEPTH:
        return f"elements are nested {depth} deep, more than {MAX_PAGE_DEPTH}"
    if len(html) > _PLAIN_BYTES and _MANY_ATTRIBUTES.search(html):
        return f"a tag with more than {MAX_ATTRIBUTES} attributes"
    return None


def _depth(html: str) -> int:
    """How deep elements nest, roughly; counted up to somewhat above the limit."""
    stack: list[str] = []
    deepest = 0
    for tag in _TAG.finditer(html):
        name = tag[2].lower()
        if name in _VOID or name in _FORMATTING:
            continue
        if tag[1]:
            _close(stack, name)
        else:
            while stack and stack[-1] in _CLOSES.get(name, ()):
                stack.pop()
            stack.append(name)
            deepest = max(deepest, len(stack))
            if deepest > 2 * MAX_PAGE_DEPTH:
                break
    return deepest


def _close(stack: list[str], name: str) -> None:
    """Closes the innermost element of that name and what is in it; a stray end tag closes nothing."""
    for place in range(len(stack) - 1, -1, -1):
        if stack[place] == name:
            del stack[place:]
            return
