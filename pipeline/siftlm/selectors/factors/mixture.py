"""Defines the factor `mixture`, which gives groups of documents fixed shares of the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from siftlm.paths import ReadPath
from siftlm.selectors.component import Mention
from siftlm.selectors.factor import FactorSettings
from siftlm.selectors.rows import Rows
from siftlm.selectors.shares_file import read_shares
from siftlm.statistics.ordered import Float64Array, Int64Array

Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LARGEST_MIXTURE = 1 << 62
EPOCHS = 4.0
"""How often text may count where `train_tokens` does not say: so many epochs are worth nearly as much as new text."""


class MixtureFactor(FactorSettings):
    """Gives each value of a column a fixed share of the tokens, exact to within one document.

    Each value has a budget of its own. The tokens are `budget_tokens`, or `train_tokens`, or those of all kept
    documents that have a value of the mixture; other documents have no share, and are dropped. Within a value the other
    factors weigh, and no document has more than `cap` copies. A value that has too few tokens for its share is an error
    that says so. A table of factors, which leaves shares to the tokens that there are, is `table`.

    With `train_tokens`, a training run of so many tokens reads the selection once: the weights say how often it should
    see a document. A value of n tokens with a share s counts s * train_tokens / n times: of one with more text than
    that a part is kept, of one with less all of it, repeated up to `epochs` times, and what it then lacks goes to the
    others. More tokens than all values have in `epochs` is an error.
    """

    paper: ClassVar[str] = "Muennighoff et al. 2023, arXiv 2305.16264 (epochs)"
    unchecked: ClassVar[str] = ""

    example: ClassVar[Mapping[str, Any]] = {
        "kind": "mixture", "column": "source", "shares": {"web": 0.6, "books": 0.4},
    }  # fmt: skip

    kind: Literal["mixture"] = "mixture"
    column: str = Field(description="domain, language, source or another column of strings, booleans or integers.")
    shares: dict[str, Share] = Field(
        default_factory=dict, description="The share of each value; they are divided by their sum."
    )
    path: ReadPath | None = Field(
        None,
        description="The shares, from a JSON file with `shares`, or a Parquet file with `unit` and `weight` as "
        "`siftlm project` writes it.",
    )
    target: str | None = Field(None, description="Whose weights count, of a Parquet file that has several targets'.")
    temperature: float = Field(1.0, gt=0, description="Shares become share^(1 / temperature): above 1 more even.")
    floor: float = Field(0.0, ge=0, lt=1, description="The least share of a value.")
    epochs: float | None = Field(
        None,
        gt=0,
        description="How often the tokens of a value may count, at most `cap`; what it cannot fill goes to the others. "
        "Default 4 with train_tokens, else nothing is moved.",
    )
    train_tokens: int | None = Field(
        None, ge=1, le=LARGEST_MIXTURE, description="The tokens of the training run, instead of budget_tokens."
    )
    _origin: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, tree: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Fills in the shares of a file: what is selected depends on them, and not on where they came from."""
        if not isinstance(tree, dict) or not isinstance(tree.get("path"), str) or tree.get("shares"):
            return handler(tree)
        file = read_shares(tree["path"], tree.get("target"))
        made = handler({**tree, "shares": file.shares})
        made._origin = dict(file.origin)
        return made

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if not sum(self.shares.values()) > 0:
            raise ValueError(f"shares must hold a share above 0, or path name a file of them, got {self.shares}")
        if self.floor * len(self.shares) > 1:
            raise ValueError(f"floor must leave {len(self.shares)} values room, got {self.floor}")
        return self

    @property
    def most_epochs(self) -> float | None:
        """Returns how often the tokens of a value may count; None where the shares must be met."""
        return EPOCHS if self.epochs is None and self.train_tokens is not None else self.epochs

    @property
    def origin(self) -> Mapping[str, Any]:
        """Returns where the shares of a file come from: its digest, and what it says of itself; else nothing."""
        return self._origin

    def fractions(self) -> dict[str, float]:
        """Returns the share of each value after temperature and floor; they add up to 1."""
        raised = {value: share ** (1 / self.temperature) if share else 0.0 for value, share in self.shares.items()}
        total = sum(raised.values())
        shares = {value: share / total for value, share in raised.items()}
        low = {value for value, share in shares.items() if share < self.floor}
        while low and low != shares.keys():  # what the floor gives, the others lose in proportion
            rest = sum(share for value, share in shares.items() if value not in low)
            scale = (1 - self.floor * len(low)) / rest
            made = {value: self.floor if value in low else share * scale for value, share in shares.items()}
            below = {value for value, share in made.items() if share < self.floor}
            if below <= low:
                return made
            low |= below
        return shares

    def words(self) -> str:
        told = ", ".join(f"{value} {share:.4g}" for value, share in self.fractions().items())
        return f"shares of tokens by {self.column}: {told}"

    def mentions(self) -> list[Mention]:
        return [Mention("shares", self.column, tuple(self.shares))]

    @property
    def grouped_by(self) -> tuple[str, str]:
        return "column", self.column

    @property
    def passes(self) -> int:
        return 3  # the tokens of each value, then two for its scale

    def group(self, rows: Rows) -> Int64Array:
        """Returns for each row the position of its value among `shares`, -1 for values not listed there."""
        return rows.look_up(self.column, {value: n for n, value in enumerate(self.shares)}, -1.0).astype(int)

    def values(self, rows: Rows, state: None) -> Float64Array:  # noqa: ARG002
        """Returns 1 for rows whose value has a share and 0 for others; the budgets scale them."""
        return rows.look_up(self.column, {value: float(share > 0) for value, share in self.fractions().items()}, 0.0)
