"""What every rule and weight factor owes: an example that runs, its reasons, words, a schema; and how one is added.

The toys of this module are seen by nothing in siftlm, and are held to the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import numpy as np
import pyarrow as pa
import pytest
from pydantic import Field

from siftlm.engine.values import read_value, write_value
from siftlm.selectors import AnyFactor, AnyRule, Plan, RowRule, Selection, SelectSettings, WeightSettings, select
from siftlm.selectors.component import Component
from siftlm.selectors.factor import FactorSettings
from siftlm.selectors.factors.segments import SegmentsFactor
from siftlm.selectors.reasons import NO_COPY, ZERO_WEIGHT
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops, RuleSettings
from siftlm.statistics.exact import as_fraction, exact_sum
from siftlm.statistics.passes import merged, settled
from siftlm.statistics.stored import stored
from siftlm.store import Store

RANDOM = np.random.default_rng(11)
N = 3000
CORPUS = pa.table(
    {
        "doc_id": [f"doc-{i}" for i in range(N)],
        "domain": [f"site{i * i % 23}.org" for i in range(N)],
        "language": [("en", "de", "fr")[i % 3] for i in range(N)],
        "source": [("web", "books")[i % 2] for i in range(N)],
        "tokens": pa.array(RANDOM.integers(1, 900, N)),
        "cluster_size": pa.array(RANDOM.integers(1, 9, N)),
        "commonness": pa.array(RANDOM.random(N) ** 3),
        "perplexity": [None if i % 50 == 3 else float(v) for i, v in enumerate(np.exp(RANDOM.normal(3, 1, N)))],
    }
)


@stored
@dataclass(frozen=True)
class ToyMean:
    """A count and an exact sum; the mean once the corpus was seen."""

    count: int = 0
    total: int = 0
    done: bool = False

    @classmethod
    def merged(cls, parts: Iterable[ToyMean]) -> ToyMean:
        every = list(parts)
        return cls(sum(part.count for part in every), sum(part.total for part in every))

    @property
    def mean(self) -> float:
        return float(as_fraction(self.total) / self.count)


class ToyBelowMean(RuleSettings):
    """Keeps documents below the mean of the corpus, a statistic that no other rule has."""

    example: ClassVar[Mapping[str, Any]] = {"kind": "toy_below_mean", "column": "perplexity"}

    kind: Literal["toy_below_mean"] = "toy_below_mean"
    column: str = Field(description="The column whose mean is the border.")

    @property
    def ranked_column(self) -> str:
        return self.column

    @property
    def passes(self) -> int:
        return 1

    def words(self) -> str:
        return f"{self.column} below its mean"

    def default_reasons(self) -> tuple[str, ...]:
        return (f"{self.column}_not_below_mean",)

    def begin(self, entry_limit: int) -> ToyMean:
        return ToyMean()

    def observe(self, rows: Rows, state: ToyMean) -> ToyMean:
        return ToyMean(len(rows), exact_sum(rows.real(self.column)))

    def settle(self, state: ToyMean, partial: ToyMean | None) -> ToyMean:
        total = partial or ToyMean()
        return ToyMean(total.count, total.total, done=True)

    def rehearse_columns(self, rows: Rows) -> None:
        rows.real(self.column)

    def drops(self, rows: Rows, state: ToyMean) -> Drops:
        return [(self.default_reasons()[0], rows.real(self.column) >= state.mean)] if len(rows) else []


class ToyHalf(FactorSettings):
    """Half the weight for a language."""

    example: ClassVar[Mapping[str, Any]] = {"kind": "toy_half", "column": "language", "value": "en"}

    kind: Literal["toy_half"] = "toy_half"
    value: str = Field(description="The value whose documents count half.")

    def words(self) -> str:
        return f"half the weight where {self.column} is {self.value}"

    def values(self, rows: Rows, state: None) -> np.ndarray:
        return np.where(rows.isin(self.column, [self.value]), 0.5, 1.0)


class WiderWeights(WeightSettings):
    factors: list[Annotated[AnyFactor | ToyHalf, Field(discriminator="kind")]] = Field(  # type: ignore[assignment]
        default_factory=list, description="Multiplied with one another; none gives 1."
    )


class WiderSettings(SelectSettings):
    """A selection by somebody who has rules and factors of their own."""

    rules: list[Annotated[AnyRule | ToyBelowMean, Field(discriminator="kind")]] = Field(  # type: ignore[assignment]
        default_factory=list, description="Read top to bottom; each can only drop."
    )
    weights: WiderWeights | None = Field(default=None, description="Expected copies of kept documents; default 1.")


def members(union: Any) -> tuple[type[Any], ...]:
    """The classes of a discriminated union."""
    return get_args(get_args(union)[0])


RULES: tuple[type[RuleSettings], ...] = (*members(AnyRule), ToyBelowMean)
FACTORS: tuple[type[FactorSettings], ...] = (*members(AnyFactor), ToyHalf)
EVERY: tuple[type[Component], ...] = (*RULES, *FACTORS)


def with_rules(*rules: Mapping[str, Any]) -> WiderSettings:
    return WiderSettings.model_validate({"rules": list(rules), "tokens": "tokens"})


def with_factors(*factors: Mapping[str, Any]) -> WiderSettings:
    return WiderSettings.model_validate({"weights": {"factors": list(factors), "cap": 1000.0}, "tokens": "tokens"})


def settings_of(kind: type[Component]) -> WiderSettings:
    """A selection by the example alone."""
    return with_rules(kind.example) if issubclass(kind, RuleSettings) else with_factors(kind.example)


def of_example(kind: type[Component]) -> Component:
    """The component that its example configures, read as a user's configuration is."""
    settings = settings_of(kind)
    found: Component = settings.weights.factors[0] if settings.weights else settings.rules[0]
    return found


def decided(settings: SelectSettings, table: pa.Table = CORPUS) -> pa.RecordBatch:
    (decision,) = select([table], settings)
    return decision


@pytest.mark.parametrize("kind", EVERY)
def test_an_example_is_of_its_own_kind_and_says_in_words_what_it_asks(kind: type[Component]) -> None:
    """In one line, with the column that it looks at."""
    component = of_example(kind)
    assert type(component) is kind
    assert kind.example["kind"] == component.kind
    words = component.describe()
    assert words.strip() == words != ""
    assert "\n" not in words + kind.paper
    assert str(kind.example.get("column", "")) in words


@pytest.mark.parametrize("kind", RULES)
def test_the_example_of_a_rule_drops_for_the_reasons_that_it_declares(kind: type[RuleSettings]) -> None:
    """Some documents are kept, and every declared reason is met in the corpus of this test."""
    rule = of_example(kind)
    decision = decided(with_rules(kind.example))
    assert 0 < sum(decision["kept"].to_pylist()) < N
    assert set(decision["reason"].drop_null().to_pylist()) == set(rule.reasons())


@pytest.mark.parametrize("kind", RULES)
def test_a_rule_that_is_renamed_and_keeps_missing_values_declares_that_reason_alone(kind: type[RuleSettings]) -> None:
    settings = with_rules({**kind.example, "reason": "mine", "missing": "keep", "when": {"language": ["en"]}})
    assert settings.rules[0].reasons() == ("mine",)
    assert settings.rules[0].describe().endswith("; only language in en")
    assert settings.rules[0].mentions()[0][:3] == ("when.language", "language", ("en",))
    assert set(decided(settings)["reason"].drop_null().to_pylist()) == {"mine"}


@pytest.mark.parametrize("kind", FACTORS)
def test_the_example_of_a_factor_gives_different_weights_and_drops_for_no_other_reason(
    kind: type[FactorSettings],
) -> None:
    """Its reason is a weight of 0; whole copies may in addition not be drawn."""
    settings = with_factors(kind.example)
    assert of_example(kind).reasons() == (ZERO_WEIGHT,)
    decision = decided(settings)
    assert len(set(decision["weight"].to_pylist())) > 1
    assert set(decision["reason"].drop_null().to_pylist()) <= {ZERO_WEIGHT}
    drawn = settings.model_copy(update={"weights": settings.weights.model_copy(update={"materialise": True})})
    assert set(decided(drawn)["reason"].drop_null().to_pylist()) <= {ZERO_WEIGHT, NO_COPY}


@pytest.mark.parametrize("kind", EVERY)
def test_an_example_needs_the_columns_that_it_declares_and_no_others(kind: type[Component]) -> None:
    """Ids and tokens aside, which every selection may read; a rehearsal without documents sees what is lacking."""
    component = of_example(kind)
    settings = settings_of(kind)
    own = CORPUS.select(sorted({"doc_id", "tokens"} | component.columns()))
    assert decided(settings, own).equals(decided(settings))
    component.rehearse(Rows.of(own.slice(0, 0), 0, "tokens"))


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_found_is_the_same_for_any_shards_and_through_a_store(kind: type[Component], tmp_path: Path) -> None:
    """States and partials are written and read between passes, as a run does; passes are those that are announced."""
    store, selection = Store(str(tmp_path)), Selection(settings_of(kind))

    def through(value: Any) -> Any:
        write_value(store.path("selections", "k"), value, store)
        return read_value(store.path("selections", "k"), store)

    def look(plan: Plan) -> Any:
        return merged(
            through(selection.observe(CORPUS.slice(a, b - a), through(plan))) for a, b in ((7, 9), (9, N), (0, 7))
        )

    plan = through(settled(selection, selection.begin(), look))
    assert selection.decide(CORPUS, plan).equals(decided(selection.settings))
    assert plan.passes == of_example(kind).passes


@pytest.mark.parametrize("kind", EVERY)
def test_an_empty_corpus_is_decided(kind: type[Component]) -> None:
    """With a shard without rows, and without a shard."""
    settings = settings_of(kind)
    assert decided(settings, CORPUS.slice(0, 0)).num_rows == 0
    assert select([], settings) == []


@pytest.mark.parametrize("kind", EVERY)
def test_the_schema_knows_every_kind_with_a_description_of_every_key(kind: type[Component]) -> None:
    known = WiderSettings.model_json_schema()["$defs"][kind.__name__]
    assert known["properties"]["kind"]["const"] == kind.example["kind"]
    assert known["description"]
    assert [key for key, field in known["properties"].items() if key != "kind" and "description" not in field] == []


def test_rules_on_rows_alone_are_those_without_statistics() -> None:
    """`preselect` takes whatever needs no pass."""
    alone = {kind for kind in members(AnyRule) if of_example(kind).begin(16) is None}
    assert set(members(RowRule)) == alone


def test_a_toy_rule_and_a_toy_factor_work_together_with_the_others() -> None:
    """Below the mean of what a threshold keeps, half the weight for English, then the budget."""
    rules = [{"kind": "threshold", "column": "source", "in": ["web"]}, ToyBelowMean.example]
    weights = {"factors": [ToyHalf.example, SegmentsFactor.example], "budget_tokens": 50_000, "cap": 50.0}
    decision = decided(WiderSettings.model_validate({"rules": rules, "weights": weights, "tokens": "tokens"}))
    value = np.array([np.nan if v is None else v for v in CORPUS["perplexity"].to_pylist()])
    web = np.array(CORPUS["source"].to_pylist()) == "web"
    kept = web & (value < value[web & ~np.isnan(value)].mean())
    assert decision["kept"].to_pylist() == kept.tolist()
    weight = np.array(decision["weight"].fill_null(0.0).to_pylist())
    assert (weight * np.array(CORPUS["tokens"])).sum() == pytest.approx(50_000, rel=1e-9)


@pytest.mark.parametrize(
    ("base", "method"), [(RuleSettings, "words"), (RuleSettings, "reasons"), (FactorSettings, "words")]
)
def test_a_component_that_does_not_describe_itself_fails(base: type[Component], method: str) -> None:
    """Nothing is said in its place."""

    class Silent(base):  # type: ignore[misc, valid-type]
        kind: Literal["silent"] = "silent"

    with pytest.raises(NotImplementedError, match="silent"):
        getattr(Silent.model_construct(column="x"), method)()
