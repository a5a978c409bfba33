"""Defines the preset `quality`, which keeps the documents with the best mean rank of several columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from siftlm.derived.settings import ColumnSettings
from siftlm.errors import UserError
from siftlm.selectors.rules.top import Top
from siftlm.settings import Name, Settings

COLUMN = "quality_rank"


class QualityPreset(Settings):
    """Ranks documents by bits per byte, punctuation, capitals and a classifier, and keeps those of the best mean rank.

    On web pages that people judged, single columns told kept pages from dropped ones with an AUC of .76 (length), .67
    (perplexity), .80 (bits per byte) and .77 (capitals); among pages of equal length with .51, .55, .72 and .73. The
    mean rank of four columns had .88, and .83 among pages of equal length.
    """

    name: Literal["quality"] = "quality"
    score: Name | None = Field(None, description="The `[[score]]` whose bits per byte count; default the only one.")
    classifier: Name | None = Field(
        None,
        description="A column whose high values are good, such as a classifier of good text against the web; default "
        "the only one of `[[annotate.classifiers]]` or, without one, none.",
    )
    rate: float = Field(0.5, gt=0, le=1, description="The share of documents that is kept.")

    def rules(self) -> list[Top]:
        """Returns the rule that keeps the best documents."""
        return [Top(column=COLUMN, direction="highest", rate=self.rate, reason="low_quality")]

    def columns(self, scores: Sequence[str], classifiers: Sequence[str], *, languages: bool) -> list[ColumnSettings]:
        """Returns the column of mean ranks.

        Args:
            scores: The names of the run's language models.
            classifiers: The columns of the run's classifiers.
            languages: Whether documents have a language, within which they are ranked then: a byte is not the same
                amount of text in all of them.

        Raises:
            UserError: there is no language model, or several and none is named; or the same of classifiers.
        """
        score = self.score or _only("score", scores, "[[score]]")
        classifier = self.classifier or (_only("classifier", classifiers, "classifier") if classifiers else None)
        within = ", within=language" if languages else ""
        low = [f"{score}_bits_per_byte", "uppercase_fraction"]
        high = ["terminal_line_fraction", *([classifier] if classifier else [])]
        ranks = [*(f"1 - rank({name}{within})" for name in low), *(f"rank({name}{within})" for name in high)]
        return [ColumnSettings(name=COLUMN, expr=f"({' + '.join(ranks)}) / {len(ranks)}")]


def _only(setting: str, names: Sequence[str], what: str) -> str:
    if len(names) == 1:
        return names[0]
    raise UserError(
        f"select.preset.{setting}: must name one of several, got nothing; there are {', '.join(names)}"
        if names
        else f"select.preset: quality must have a {what}, whose bits per byte it ranks, got none"
    )
