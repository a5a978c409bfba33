"""Lists siftlm's own reasons for dropping a document, and checks the reasons that a user writes."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

EXACT, NEAR = "exact_duplicate", "near_duplicate"
ALL_CUT = "all_cut"
"""Paragraphs that other documents have are cut, and nothing is left."""
HELD_OUT = "held_out_for_reference"
"""The document trains the reference model."""
NO_COPY = "no_copy_drawn"
"""The rules kept the document and the draw of copies did not."""
ZERO_WEIGHT = "zero_weight"
"""The rules kept the document and its weight is 0."""
ERROR = "_error"
"""The end of the reasons that are errors of a model, not decisions."""

LONGEST = 100
OURS = frozenset(
    {EXACT, NEAR, ALL_CUT, HELD_OUT, NO_COPY, ZERO_WEIGHT}
    | {"kept", "dropped", "cut_paragraphs", "not_alive", "empty", "held_out_for_benchmark", "records", "documents"}
    | {"none", "null", "nan", "nil", "na"}  # what readers of CSV and JSON take for nothing
)
"""What a rule may not give as its reason, in any case and width of letters."""


def _of_a_rule(reason: str) -> str:
    if len(reason) > LONGEST or not all(
        unicodedata.category(letter)[0] in "LMN" or letter in "_.-" for letter in reason
    ):
        raise ValueError(f"must be at most {LONGEST} letters, digits, '_', '.' and '-'")
    looks_like = unicodedata.normalize("NFKC", reason).casefold()
    if looks_like in OURS or looks_like.endswith(ERROR):
        raise ValueError(f"must not be a name that siftlm gives itself, nor end in {ERROR!r} as a model's errors do")
    return reason


Reason = Annotated[str, Field(min_length=1), AfterValidator(_of_a_rule)]
"""A user's reason: one word in every table, page and query."""
