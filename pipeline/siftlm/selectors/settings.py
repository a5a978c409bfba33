"""Defines the settings of a selection: its rules, and the weights of the documents that they keep."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import Field, model_validator

from siftlm.errors import nearest
from siftlm.selectors.rule import RuleSettings, flattened, warned
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
RowRule = Annotated[Threshold | Thresholds | Fineweb2 | Sample, Field(discriminator="kind")]
"""Rules that look at a row alone, without statistics of the corpus."""


PRESETS = "select.preset"
Preset = Literal["c4", "fineweb", "gopher"]


class PresetRules(Settings):
    """Holds the rules of a published recipe."""

    rules: list[Thresholds]


@cache
def preset_rules(name: Preset) -> list[Thresholds]:
    """Returns the rules of a published recipe, from a file of this package."""
    content = resources.files("siftlm.selectors.presets").joinpath(f"{name}.toml").read_text()
    return PresetRules.model_validate(tomllib.loads(content)).rules


class SelectSettings(Settings):
    """Configures a selection: rules, each applied to what those above it keep, then weights of the kept documents."""

    preset: Preset | None = Field(
        None, description="Rules of a published recipe, before those of `rules`; `siftlm show` prints them."
    )
    preset_limits: dict[str, Bounds] = Field(
        default_factory=dict, description="Limits of columns of the preset, instead of the preset's own."
    )
    preset_without: list[str] = Field(default_factory=list, description="Columns of the preset that are not limited.")
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

    @model_validator(mode="after")
    def _changes_what_the_preset_limits(self) -> SelectSettings:
        limited = [name for rule in preset_rules(self.preset) for name in rule.columns_] if self.preset else []
        for key, names in (("preset_limits", self.preset_limits), ("preset_without", self.preset_without)):
            if unknown := [name for name in names if name not in limited]:
                near = nearest(unknown[0], limited)
                hint = f"; did you mean {near!r}?" if near else ""
                raise ValueError(f"{key} must name columns of the preset {self.preset}, got {unknown[0]!r}{hint}")
        return self

    def recipe(self) -> list[Thresholds]:
        """Returns the rules of the preset with the limits that are set here, none without a preset."""
        rules = preset_rules(self.preset) if self.preset else []
        changed = [rule.with_limits(self.preset_limits, self.preset_without) for rule in rules]
        return [rule for rule in changed if rule is not None]

    def placed(self) -> list[tuple[str, RuleSettings]]:
        """Returns (place in the configuration, rule) for every rule in order; those of the preset come first."""
        return flattened(f"{PRESETS}.{self.preset}", self.recipe()) + flattened(RULES, self.rules)

    def warnings(self) -> list[str]:
        """Returns what of the rules has no effect or more than may be meant, a sentence each, with its place."""
        own = {rule.ranked_column: place for place, rule in flattened(RULES, self.rules) if isinstance(rule, Threshold)}
        twice = [(own[name], name) for rule in self.recipe() for name in rule.columns_ if name in own]
        both = "has limits of the preset {} too, and a document must be within both; preset_limits has others instead"
        return [*warned(RULES, self.rules), *(f"{place}: {name} {both.format(self.preset)}" for place, name in twice)]

    def following(self, good_ends: Mapping[str, End]) -> SelectSettings:
        """Returns the selection with unset directions of rules taken from the good ends of columns."""
        return self.model_copy(update={"rules": [rule.following(good_ends) for rule in self.rules]})

    def columns(self) -> set[str]:
        """Returns the columns that the selection reads."""
        weights = {factor.column for factor in self.weights.factors} if self.weights else set()
        tokens = {self.tokens} if self.tokens else set()
        return {"doc_id"}.union(weights, tokens, *(rule.columns() for _, rule in self.placed()))
