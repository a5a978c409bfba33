"""Extracts the text of a page from its markup."""

from __future__ import annotations

from resiliparse.extract.html2text import extract_plain_text

from siftlm.readers.bodies import PageError, Response, parse_response
from siftlm.readers.charsets import decode_page
from siftlm.readers.hazards import hazard_of

__all__ = ["PageError", "Response", "decode_page", "page_text", "parse_response"]


def page_text(html: str, *, main_content: bool) -> str:
    """Returns the text that a reader of the page sees, without scripts, forms and hidden parts.

    Raises:
        PageError: the page is built to take forever, or cannot be parsed.
    """
    if hazard := hazard_of(html):
        raise PageError("page_too_complex", hazard)
    try:
        # The extractor holds the interpreter's lock, so threads do not help here; processes do.
        return extract_plain_text(html, main_content=main_content, alt_texts=False)
    except (ValueError, RuntimeError) as error:
        raise PageError("bad_html", str(error)) from error
