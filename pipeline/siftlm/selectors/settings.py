"""Defines the settings of a selection: its rules, and the weights of the documents that they keep."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from siftlm.derived.settings import ColumnSettings
from siftlm.errors import nearest
from siftlm.selectors.presets.quality import QualityPreset
from siftlm.selectors.rule import RuleSettings, flattened, warned
from siftlm.selectors.rules.ccnet import Ccnet
from siftlm.selectors.rules.fineweb2 import Fineweb2
from siftlm.selectors.rules.sample import Sample
from siftlm.selectors.rules.threshold import Bounds, Threshold
from siftlm.selectors.rules.thresholds import Thresholds
from siftlm.selectors.rules.union import AnyOf, SingleRule
from siftlm.selectors.weights import WeightSettings
from siftlm.settings import End, Settings
from siftlm.statistics.cuts import ENTRY_LIMIT

RULES = "select.rules"

AnyRule = Annotated[SingleRule | AnyOf, Field(discriminator="kind")]
"""Every rule, by its `kind`: a new one is a file and a name in `SingleRule`.

Who adds one from elsewhere subclasses the settings with a wider union, and selects with these:

    class MySettings(SelectSettings):
        rules: list[Annotated[AnyRule | MyRule, Field(discriminator="kind")]] = []
"""
RowRule = Annotated[Threshold | Thresholds | Fineweb2 | Ccnet | Sample, Field(discriminator="kind")]
"""Rules that look at a row alone, without statistics of the corpus."""


PRESETS = "select.preset"


class PresetRules(Settings):
    """Holds the rules of a published recipe."""

    rules: list[Thresholds]


@cache
def _published(name: str) -> list[Thresholds]:
    content = resources.files("siftlm.selectors.presets").joinpath(f"{name}.toml").read_text()
    return PresetRules.model_validate(tomllib.loads(content)).rules


class PublishedPreset(Settings):
    """Keeps what the filters of a published recipe keep, as a file of this package lists them."""

    name: Literal["c4", "fineweb", "gopher"]
    limits: dict[str, Bounds] = Field(
        default_factory=dict, description="Limits of columns of the recipe, instead of the recipe's own."
    )
    without: list[str] = Field(default_factory=list, description="Columns of the recipe that are not limited.")

    @model_validator(mode="after")
    def _changes_what_the_recipe_limits(self) -> PublishedPreset:
        limited = [name for rule in _published(self.name) for name in rule.columns_]
        for key, names in (("limits", self.limits), ("without", self.without)):
            if unknown := [name for name in names if name not in limited]:
                near = nearest(unknown[0], limited)
                hint = f"; did you mean {near!r}?" if near else ""
                raise ValueError(f"{key} must name columns of the preset {self.name}, got {unknown[0]!r}{hint}")
        return self

    def rules(self) -> list[Thresholds]:
        """Returns the rules of the recipe in its order, with the limits that are set here."""
        changed = [rule.with_limits(self.limits, self.without) for rule in _published(self.name)]
        return [rule for rule in changed if rule is not None]

    def columns(self, scores: Sequence[str], classifiers: Sequence[str], *, languages: bool) -> list[ColumnSettings]:  # noqa: ARG002
        """Returns no column: the recipe names those of siftlm alone."""
        return []


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


AnyPreset = Annotated[
    Annotated[PublishedPreset | QualityPreset, Field(discriminator="name")],
    BeforeValidator(_by_name, json_schema_input_type=Literal["c4", "fineweb", "gopher", "quality"] | dict[str, Any]),
]
"""Every preset by its name, or by a table with its name and settings."""


class SelectSettings(Settings):
    """Configures a selection: rules, each applied to what those above it keep, then weights of the kept documents."""

    preset: AnyPreset | None = Field(
        None,
        description='"c4", "fineweb" or "gopher": the filters of a published recipe, before those of `rules`; '
        '"quality", or a table { name, score, classifier, rate }: the best half by the ranks of bits per byte, '
        "punctuation, capitals and a classifier. `siftlm show` prints them.",
    )
    rules: list[AnyRule] = Field(default_factory=list, description="Read top to bottom; each can only drop.")
    weights: WeightSettings | None = Field(None, description="Expected copies of kept documents; default 1.")
    tokens: str | None = Field(
        None, min_length=1, description="The column that counts tokens, <model>_token_count for instance."
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of sampling, of ties and of copies.")
    entry_limit: int = Field(
        ENTRY_LIMIT,
        ge=16,
        description="Entries of a histogram: more take memory, fewer take passes; the answer is the same.",
    )

    @model_validator(mode="after")
    def _has_tokens(self) -> SelectSettings:
        by_tokens = [f"rules.{i}" for i, rule in enumerate(self.rules) if rule.counts_tokens]
        if self.weights is not None and self.weights.counts_tokens:
            by_tokens.append("weights")
        if by_tokens and self.tokens is None:
            raise ValueError(f"tokens must name a column, since {by_tokens[0]} counts tokens")
        return self

    def placed(self) -> list[tuple[str, RuleSettings]]:
        """Returns (place in the configuration, rule) for every rule in order; those of the preset come first."""
        recipe = flattened(f"{PRESETS}.{self.preset.name}", self.preset.rules()) if self.preset else []
        return recipe + flattened(RULES, self.rules)

    def warnings(self) -> list[str]:
        """Returns what of the rules has no effect or more than may be meant, a sentence each, with its place."""
        own = {rule.ranked_column: place for place, rule in flattened(RULES, self.rules) if isinstance(rule, Threshold)}
        recipe = self.preset.rules() if self.preset else []
        twice = [(own[name], name) for rule in recipe for name in sorted(rule.columns()) if name in own]
        both = "has limits of the preset too, and a document must be within both; preset.limits has others instead"
        return [*warned(RULES, self.rules), *(f"{place}: {name} {both}" for place, name in twice)]

    def following(self, good_ends: Mapping[str, End]) -> SelectSettings:
        """Returns the selection with unset directions of rules taken from the good ends of columns."""
        return self.model_copy(update={"rules": [rule.following(good_ends) for rule in self.rules]})

    def columns(self) -> set[str]:
        """Returns the columns that the selection reads."""
        factors = self.weights.factors if self.weights else []
        tokens = {self.tokens} if self.tokens else set()
        read = (component.columns() for component in (*factors, *(rule for _, rule in self.placed())))
        return {"doc_id"}.union(tokens, *read)
