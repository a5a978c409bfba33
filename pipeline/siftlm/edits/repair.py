"""Repairs texts that were decoded wrongly, with ftfy."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import version
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from siftlm.edits.protocol import EditSettings, Replacement
from siftlm.statistics.ordered import BoolArray

VERSION = 1
REPAIRS = "repairs"
_NEVER = r"\t\n\f\r -%'-~"  # characters that ftfy leaves as they are, whatever stands beside them
_MAYBE = re.compile(f"[^{_NEVER}]")
_NESTED = re.compile(r"&(?:#?[0-9A-Za-z]{1,32};){8}")  # `&amp;amp;amp;`: ftfy goes through the line once for each


class RepairSettings(EditSettings):
    """Repairs text that was decoded wrongly, such as `cafÃ©`, and removes control characters, with ftfy.

    Quotes, ligatures, widths, line ends and normal forms stay as they are: a model should know them.
    """

    kind: Literal["repair"] = "repair"
    paper: ClassVar = "Speer 2019, ftfy (doi 10.5281/zenodo.2591652)"
    unchecked: ClassVar[str] = ""
    packages: ClassVar = ("ftfy",)
    extra: ClassVar = "repair"
    unescape_html: bool = Field(
        True, description="Replace entities such as `&eacute;` too, in texts up to the first line with a `<`."
    )

    def counts(self) -> list[str]:
        return [REPAIRS]

    def identity(self) -> object:
        return VERSION, self.unescape_html, version("ftfy"), unicodedata.unidata_version

    def suspects(self, texts: pa.LargeStringArray) -> BoolArray:
        return np.asarray(pc.match_substring_regex(texts, f"[^{_NEVER}]").to_numpy(zero_copy_only=False), np.bool_)

    def replacements(self, text: str) -> list[Replacement]:
        """Returns the changed stretch of every line that ftfy changes."""
        made, at = [], 0
        for line, repaired in self._lines(text):
            if repaired != line:
                start, end = _changed(line, repaired)
                replacement = repaired[start : len(repaired) - (len(line) - end)]
                made.append(Replacement(at + start, at + end, replacement, REPAIRS))
            at += len(line)
        return made

    def _lines(self, text: str) -> Iterator[tuple[str, str]]:
        """Every line with its line feed, and as `ftfy.fix_text` has it, which goes by lines too."""
        import ftfy

        config = self._config
        for line in re.findall(r"[^\n]*\n|[^\n]+", text):
            if config.unescape_html == "auto" and "<" in line:
                config = config._replace(unescape_html=False)
            of_line = config._replace(unescape_html=False) if _NESTED.search(line) else config
            yield line, ftfy.fix_text(line, of_line) if _MAYBE.search(line) else line

    @cached_property
    def _config(self) -> Any:
        from ftfy import TextFixerConfig

        return TextFixerConfig(
            unescape_html="auto" if self.unescape_html else False,
            fix_latin_ligatures=False,
            fix_character_width=False,
            uncurl_quotes=False,
            fix_line_breaks=False,
            normalization=None,
            explain=False,
        )


def _changed(line: str, repaired: str) -> tuple[int, int]:
    """The stretch [start, end) of a line before and after which both are the same."""
    start = _alike(line, repaired)
    most = min(len(line), len(repaired)) - start
    return start, len(line) - min(most, _alike(line[::-1], repaired[::-1]))


def _alike(first: str, second: str) -> int:
    """How many characters two strings begin with that are the same."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))
