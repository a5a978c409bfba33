"""Defines the rule `top`, which keeps the best documents by a score up to a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from siftlm.selectors.ranked import MinGroup, RankedRule, Ranking, Within, exact
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops
from siftlm.settings import End
from siftlm.statistics.cuts import Cuts, Target

LARGEST_BUDGET = 1 << 62


class Top(RankedRule):
    """Keeps documents in order of a score until a budget is reached; the document that crosses it is kept.

    Thrush, Potts and Hashimoto (arXiv 2409.05816) select pages so. The budget is of tokens, of documents, or
    a rate; with `within` it holds for every group by itself, so `budget_documents` caps what one domain
    gives. A budget above what there is keeps everything, and the run says what is missing. Documents of equal
    score are taken in order of a keyed hash of doc_id. Reason: below_top_<column>, or above_bottom_<column> for
    the lowest.
    """

    paper: ClassVar[str] = "Thrush, Potts and Hashimoto 2024, arXiv 2409.05816"
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "top", "column": "perplexity", "direction": "lowest", "budget_tokens": 100_000,
    }  # fmt: skip

    kind: Literal["top"] = "top"
    direction: End | None = Field(
        None,
        description="Which values come first; default the good ones where siftlm knows them (the lowest perplexity, "
        "the highest probability of a classifier), else the highest.",
    )
    budget_tokens: int | None = Field(None, ge=1, le=LARGEST_BUDGET, description="Tokens kept.")
    budget_documents: int | None = Field(None, ge=1, le=LARGEST_BUDGET, description="Documents kept.")
    rate: float | None = Field(None, gt=0, le=1, description="The share kept, in the unit of `by`.")
    by: Literal["documents", "tokens"] = Field("documents", description="What the rate is of.")
    within: Within = "global"
    min_group: MinGroup = 1

    @model_validator(mode="after")
    def _has_one_budget(self) -> Top:
        if sum(given is not None for given in (self.budget_tokens, self.budget_documents, self.rate)) != 1:
            raise ValueError("top needs one of budget_tokens, budget_documents and rate")
        return self

    @property
    def descending(self) -> bool:
        return self.end == "highest"

    @property
    def end(self) -> End:
        """Returns which values are taken first: `highest` or `lowest`."""
        return self.direction or "highest"

    @property
    def amount(self) -> int | None:
        """Returns the budget in tokens or documents; None where the rule has a rate."""
        return self.budget_tokens or self.budget_documents

    def following(self, good_ends: Mapping[str, End]) -> Self:
        """Returns the rule with the good end of its column (lowest or highest) as direction, unless one was given."""
        return self.model_copy(update={"direction": self.direction or good_ends.get(self.column, "highest")})

    @property
    def unit(self) -> str:
        return self.by if self.rate is not None else "tokens" if self.budget_tokens is not None else "documents"

    @property
    def counts_tokens(self) -> bool:
        return self.unit == "tokens"

    def words(self) -> str:
        budget = f"{self.amount:,} {self.unit}" if self.rate is None else f"{100 * self.rate:.6g} % of {self.unit}"
        return f"{self.column} among the {self.end} {budget}{self.within_words()}"

    def default_reasons(self) -> tuple[str, ...]:
        return (f"{'below_top' if self.descending else 'above_bottom'}_{self.column}",)

    def targets(self, number: int) -> tuple[Target, ...]:  # noqa: ARG002
        share = exact(self.rate) if self.rate is not None else None
        return (Target(share=share, amount=self.amount),)

    def drops(self, rows: Rows, state: Ranking) -> Drops:
        """Returns the reason and a mask of the rows ranked after the one that crosses the budget."""
        return [(self.default_reasons()[0], ~state.cuts[0].before(0, self.ranked(rows, 0, ())))]

    def budget_outcome(self, cuts: Cuts) -> dict[str, Any]:
        """Returns the budget or rate for the manifest, and what groups lack of it.

        `short` is the sum that all groups lack of it, `groups_short` how many lack any.
        """
        kept: dict[str, Any] = {"end": self.end, "by": self.column, "within": self.within, "unit": self.unit}
        if self.amount is None:
            return kept | {"rate": self.rate}
        missing = [self.amount - mass for mass in cuts.mass.tolist() if mass < self.amount]
        if not len(cuts.groups):  # no document at all
            missing = [self.amount]
        return kept | {"budget": self.amount, "short": sum(missing), "groups_short": len(missing)}

    def cut_words(self, values: Sequence[str]) -> str:
        return f"{'at least' if self.descending else 'at most'} {values[0]}"
