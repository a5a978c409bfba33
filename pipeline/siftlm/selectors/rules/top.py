"""Defines the rule `top`, which keeps the best documents by a score up to a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from siftlm.paths import ReadPath, readable
from siftlm.selectors.ranked import MinGroup, RankedRule, Ranking, Within, exact
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops
from siftlm.selectors.shares_file import read_rate
from siftlm.settings import End, FileSettings
from siftlm.statistics.cuts import Cuts, Target
from siftlm.statistics.repetition import effective_copies

LARGEST_BUDGET = 1 << 62
EPOCHS = 4.0
"""How often a training run reads its text where `epochs` does not say."""


class Top(RankedRule, FileSettings):
    """Keeps documents in order of a score until a budget is reached; the document that crosses it is kept.

    Thrush, Potts and Hashimoto (arXiv 2409.05816) select pages so. The budget is of tokens, of documents, or
    a rate; with `within` it holds for every group by itself, so `budget_documents` caps what one domain
    gives. A budget above what there is keeps everything, and the run says what is missing. Documents of equal
    score are taken in order of a keyed hash of doc_id. Reason: below_top_<column>, or above_bottom_<column> for
    the lowest.

    With `train_tokens` the budget follows from the training run: train_tokens / epochs tokens are kept, which the run
    reads `epochs` times. Few epochs keep worse text, many repeat the best; up to 4 epochs of text are worth nearly as
    much as new text (Muennighoff et al. 2023, arXiv 2305.16264), and the more a run trains the less it should filter
    (Goyal et al. 2024, arXiv 2404.07177). The manifest says what the epochs are worth in new tokens.
    """

    paper: ClassVar[str] = "Thrush, Potts and Hashimoto 2024, arXiv 2409.05816"
    unchecked: ClassVar[str] = ""
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
    path: ReadPath | None = Field(
        None, description="The file of a rate, as `siftlm mix data_filtering` writes it; `rate`, of tokens, is read "
        "from it.",
    )  # fmt: skip
    train_tokens: int | None = Field(
        None,
        ge=1,
        le=LARGEST_BUDGET,
        description="The tokens of the training run: train_tokens / epochs tokens are kept, rounded up.",
    )
    epochs: float | None = Field(
        None, ge=1, description="With train_tokens: how often the run reads what is kept; default 4."
    )
    by: Literal["documents", "tokens"] = Field("documents", description="What the rate is of.")
    within: Within = "global"
    min_group: MinGroup = 1

    @model_validator(mode="before")
    @classmethod
    def _read(cls, tree: Any) -> Any:
        """Fills in the rate of a file: what is selected depends on it, and not on where it came from."""
        if not isinstance(tree, dict) or not isinstance(tree.get("path"), str) or tree.get("rate") is not None:
            return tree
        return {"by": "tokens", **tree, "rate": read_rate(readable(tree["path"]))}

    @model_validator(mode="after")
    def _has_one_budget(self) -> Top:
        budgets = (self.budget_tokens, self.budget_documents, self.rate, self.train_tokens)
        if sum(given is not None for given in budgets) != 1:
            raise ValueError("top needs one of budget_tokens, budget_documents, rate and train_tokens")
        if self.epochs is not None and self.train_tokens is None:
            raise ValueError("epochs must stand beside train_tokens, got it alone")
        if self.train_tokens is not None and self.within != "global":
            raise ValueError("train_tokens are those of all groups together; within a column, give rate")
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
        if self.train_tokens is not None:
            return ceil(self.train_tokens / exact(self.most_epochs))
        return self.budget_tokens or self.budget_documents

    @property
    def most_epochs(self) -> float:
        """Returns how often the training run may read what is kept."""
        return self.epochs or EPOCHS

    def following(self, good_ends: Mapping[str, End]) -> Self:
        """Returns the rule with the good end of its column (lowest or highest) as direction, unless one was given."""
        return self.model_copy(update={"direction": self.direction or good_ends.get(self.column, "highest")})

    @property
    def unit(self) -> str:
        return self.by if self.rate is not None else "documents" if self.budget_documents is not None else "tokens"

    @property
    def counts_tokens(self) -> bool:
        return self.unit == "tokens"

    def words(self) -> str:
        budget = f"{self.amount:,} {self.unit}" if self.rate is None else f"{100 * self.rate:.6g} % of {self.unit}"
        training = (
            f" ({self.train_tokens:,} of training in {self.most_epochs:g} epochs)"
            if self.train_tokens is not None
            else ""
        )
        return f"{self.column} among the {self.end} {budget}{self.within_words()}{training}"

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
        short = sum(missing)
        told = short if short <= LARGEST_BUDGET else float(short)  # JSON has no larger integers
        kept |= {"budget": self.amount, "short": told, "groups_short": len(missing)}
        return kept | self._training(min(self.amount, int(cuts.mass.sum())))

    def _training(self, kept: int) -> dict[str, Any]:
        """What the training run makes of `kept` tokens: its epochs, and how many new tokens these are worth."""
        if self.train_tokens is None or not kept:
            return {}
        epochs = self.train_tokens / kept
        worth = kept * float(effective_copies(np.array([epochs]))[0])
        return {"train_tokens": self.train_tokens, "epochs": epochs, "effective_tokens": round(worth)}

    def cut_words(self, values: Sequence[str]) -> str:
        return f"{'at least' if self.descending else 'at most'} {values[0]}"
