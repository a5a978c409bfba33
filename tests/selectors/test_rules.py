"""What each rule keeps, against sorted arrays and counts by hand."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from siftlm.errors import UserError
from siftlm.selectors import AnyRule, Selection, SelectSettings, keep_rows, select
from siftlm.selectors.plan import resolve
from siftlm.statistics.exponential import exp_negative

RANDOM = np.random.default_rng(5)
N = 2000
CORPUS = pa.table(
    {
        "doc_id": [f"doc-{i}" for i in range(N)],
        "domain": pa.array([None if i % 97 == 0 else f"site{i * i % 23}.org" for i in range(N)]),
        "language": [("en", "de", "fr")[i % 3] for i in range(N)],
        "source": ["web"] * N,
        "word_count": pa.array(RANDOM.integers(0, 12, N)),
        "tokens": pa.array(RANDOM.integers(1, 900, N)),
        "perplexity": pa.array(
            [None if i % 50 == 3 else float(v) for i, v in enumerate(np.exp(RANDOM.normal(3, 1, N)))]
        ),
        "clean": pa.array([i % 4 != 0 for i in range(N)]),
        "probability": pa.array(RANDOM.random(N)),
    }
)

MINIMAL: dict[str, dict[str, Any]] = {
    "threshold": {"column": "perplexity", "min": 5, "max": 80},
    "thresholds": {"columns": {"perplexity": {"min": 5, "max": 80}}},
    "fineweb2": {
        "columns": {"perplexity": {"by": "language", "table": {"en": {"max": 20}, "fr": {"min": 5, "max": 80}}}}
    },
    "ccnet": {
        "column": "perplexity",
        "columns": {"perplexity": {"by": "language", "table": {"en": {"max": 20}, "fr": {"min": 5, "max": 80}}}},
    },
    "any": {
        "rules": [
            {"kind": "threshold", "column": "perplexity", "max": 20},
            {"kind": "threshold", "column": "word_count", "min": 11},
        ]
    },
    "band": {"column": "perplexity", "criterion": "medium", "rate": 0.5},
    "top": {"column": "perplexity", "budget_tokens": 100_000},
    "diverse": {"column": "perplexity", "within": "domain", "per_group": 40, "budget_documents": 150},
    "sample": {"rate": 0.3},
    "gaussian": {"column": "perplexity", "rate": 0.4},
    "stepwise": {"column": "perplexity", "rate": 0.4},
}
KINDS = [rule.model_fields["kind"].default for rule in get_args(get_args(AnyRule)[0])]

BAND = {"column": "perplexity", "criterion": "high", "rate": 0.2}


def settle(*rules: dict[str, Any], **more: Any) -> SelectSettings:
    """Settings with these rules."""
    return SelectSettings.model_validate({"rules": list(rules), "tokens": "tokens", **more})


def decided(table: pa.Table, *rules: dict[str, Any], **more: Any) -> tuple[np.ndarray, list[str | None]]:
    """The kept rows and the reasons of the others."""
    (decision,) = select([table], settle(*rules, **more))
    return np.asarray(decision["kept"]), decision["reason"].to_pylist()


def column(name: str, table: pa.Table = CORPUS) -> np.ndarray:
    """A column, NaN for nulls."""
    return np.asarray(table[name].to_pandas() if name == "domain" else table[name])


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_rule_gives_each_row_one_verdict(kind: str) -> None:
    """Kept rows have no reason, dropped ones have one, and a null score is `<column>_missing`."""
    rule = {"kind": kind, **MINIMAL[kind]}
    kept, reasons = decided(CORPUS, rule)
    assert [reason is None for reason in reasons] == kept.tolist()
    assert 0 < kept.sum() < N
    if "column" in rule:
        missing = np.asarray(CORPUS["perplexity"].is_null())
        assert {r for r, m in zip(reasons, missing, strict=True) if m} == {"perplexity_missing"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_can_keep_missing_values_rename_its_reason_and_leave_others_alone(kind: str) -> None:
    """`missing`, `reason` and `when` mean the same in every rule."""
    rule = {"kind": kind, **MINIMAL[kind], "missing": "keep", "reason": "mine", "when": {"language": ["en", "de"]}}
    kept, reasons = decided(CORPUS, rule)
    assert set(reasons) == {None, "mine"}
    assert kept[column("language") == "fr"].all()
    if "column" in rule:
        assert kept[np.asarray(CORPUS["perplexity"].is_null())].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [0, 1])
def test_every_rule_takes_an_empty_corpus_and_a_single_document(kind: str, rows: int) -> None:
    """No warning, no error; one verdict a row."""
    kept, _ = decided(CORPUS.slice(10, rows), {"kind": kind, **MINIMAL[kind]})
    assert len(kept) == rows


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("any", "sample")])
def test_every_rule_takes_a_column_of_nulls(kind: str) -> None:
    """All are dropped as missing, and the search for cuts ends."""
    index = CORPUS.schema.get_field_index("perplexity")
    table = CORPUS.set_column(index, "perplexity", pa.nulls(N, pa.float64()))
    kept, reasons = decided(table, {"kind": kind, **MINIMAL[kind]})
    assert not kept.any()
    assert set(reasons) == {"perplexity_missing"}


def test_a_threshold_is_inclusive_and_names_the_bound() -> None:
    """min and max themselves are kept."""
    kept, reasons = decided(CORPUS, {"kind": "threshold", "column": "word_count", "min": 3, "max": 8})
    count = column("word_count")
    np.testing.assert_array_equal(kept, (count >= 3) & (count <= 8))
    expected = np.where(count < 3, "word_count_below_min", np.where(count > 8, "word_count_above_max", None))
    assert reasons == expected.tolist()


@given(st.integers(-1, 13), st.integers(0, 5))
def test_a_threshold_is_monotone(bound: int, more: int) -> None:
    """What a higher min keeps, a lower one keeps too."""
    low, _ = decided(CORPUS, {"kind": "threshold", "column": "word_count", "min": bound})
    high, _ = decided(CORPUS, {"kind": "threshold", "column": "word_count", "min": bound + more})
    assert (low | ~high).all()


def test_lists_hold_strings_booleans_and_integers() -> None:
    """`in` and `not_in` compare with the column's own type; a null is in no list."""
    kept, _ = decided(CORPUS, {"kind": "threshold", "column": "language", "in": ["en", "xx"]})
    np.testing.assert_array_equal(kept, column("language") == "en")
    kept, reasons = decided(CORPUS, {"kind": "threshold", "column": "clean", "not_in": [True]})
    np.testing.assert_array_equal(kept, ~column("clean"))
    assert "clean_in_list" in reasons
    kept, _ = decided(CORPUS, {"kind": "threshold", "column": "word_count", "in": [1, 5]})
    np.testing.assert_array_equal(kept, np.isin(column("word_count"), [1, 5]))
    kept, reasons = decided(CORPUS, {"kind": "threshold", "column": "domain", "not_in": ["site0.org"]})
    assert reasons[0] == "domain_missing"


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 1.0])
def test_bands_cut_the_sorted_scores_at_exact_percentiles(rate: float) -> None:
    """low, medium and high keep the ranks whose midpoints (i + 1/2) / n lie in the band."""
    score = column("perplexity")
    present = ~np.isnan(score)
    rank = np.empty(N)
    rank[np.argsort(np.where(present, score, np.inf), kind="stable")] = np.arange(N)
    twice, thousand = (2 * rank + 1).astype(int) * 1000, int(rate * 1000)
    size = int(present.sum())
    ends = {
        "low": (0, 2 * size * thousand),
        "medium": (size * (1000 - thousand), size * (1000 + thousand)),
        "high": (2 * size * (1000 - thousand), 2 * size * 1000 + 1),
    }
    for criterion, (first, last) in ends.items():
        kept, _ = decided(CORPUS, {"kind": "band", "column": "perplexity", "criterion": criterion, "rate": rate})
        np.testing.assert_array_equal(kept, present & (twice >= first) & (twice < last))
        assert abs(int(kept.sum()) - rate * size) <= 1


def test_adjacent_bands_share_no_document_and_leave_none_out() -> None:
    """low 0.3, medium 0.4 and high 0.3 partition a column full of ties, exactly 600, 800, 600."""
    parts = [
        decided(CORPUS, {"kind": "band", "column": "word_count", "criterion": criterion, "rate": rate})[0]
        for criterion, rate in (("low", 0.3), ("medium", 0.4), ("high", 0.3))
    ]
    assert [int(part.sum()) for part in parts] == [600, 800, 600]
    assert (np.sum(parts, axis=0) == 1).all()


def test_a_band_by_tokens_keeps_its_share_of_tokens() -> None:
    """Each end is within half a document of its place."""
    rule = {"kind": "band", "column": "perplexity", "criterion": "medium", "rate": 0.4, "by": "tokens"}
    kept, _ = decided(CORPUS, rule)
    tokens = column("tokens")
    total = tokens[~np.isnan(column("perplexity"))].sum()
    assert abs(tokens[kept].sum() - 0.4 * total) <= tokens.max()


def test_a_band_within_domains_keeps_its_share_of_each_and_pools_the_small() -> None:
    """Every large domain gives its rate to within one document; small ones and nulls form one group."""
    rule = {
        "kind": "band",
        "column": "perplexity",
        "criterion": "low",
        "rate": 0.25,
        "within": "domain",
        "min_group": 100,
    }
    kept, _ = decided(CORPUS, rule)
    present = ~np.isnan(column("perplexity"))
    domain = np.array(["" if d is None else d for d in CORPUS["domain"].to_pylist()])
    names, counts = np.unique(domain[present & (domain != "")], return_counts=True)
    large = set(names[counts >= 100])
    assert 0 < len(large) < len(names)
    pooled = np.array([d not in large for d in domain])
    for group in [domain == name for name in large] + [pooled]:
        assert abs(int(kept[group].sum()) - 0.25 * int((group & present).sum())) <= 0.5


@pytest.mark.parametrize("shards", [1, 7])
@pytest.mark.parametrize(("criterion", "by"), [("low", "documents"), ("medium", "documents"), ("high", "tokens")])
def test_groups_too_small_for_a_band_are_ranked_together(criterion: str, by: str, shards: int) -> None:
    """Against ranking each group by hand, of 1 to 30 documents: fewer than 1 / 0.15 go into one, with the nulls."""
    names = [f"d{size}" for size in range(1, 31) for _ in range(size)] + [None] * 3
    rng = np.random.default_rng(2)
    order, n = rng.permutation(len(names)), len(names)
    table = pa.table(
        {
            "doc_id": [f"id{i}" for i in range(n)],
            "domain": [names[i] for i in order],
            "perplexity": rng.permutation(n).astype(float),
            "tokens": rng.integers(1, 50, n),
        }
    )
    rule = {"kind": "band", "column": "perplexity", "criterion": criterion, "rate": 0.15, "within": "domain", "by": by}
    parts = [table.slice(at, -(-n // shards)) for at in range(0, n, -(-n // shards))]
    made = pa.Table.from_batches(select(parts, settle(rule)))
    domains, score, mass = table["domain"].to_pylist(), np.asarray(table["perplexity"]), np.asarray(table["tokens"])
    mass = mass if by == "tokens" else np.ones(n)
    groups = [name if name and int(name[1:]) >= 7 else "pool" for name in domains]
    low = {"low": 0.0, "medium": 0.425, "high": 0.85}[criterion]
    expected = np.zeros(n, bool)
    for group in set(groups):
        rows = [i for i in np.argsort(score) if groups[i] == group]
        middle = (np.cumsum(mass[rows]) - mass[rows] / 2) / mass[rows].sum()
        inside = (middle >= low - 1e-12) & ((middle < low + 0.15 - 1e-12) | (criterion == "high"))
        expected[np.array(rows)[inside]] = True
    assert np.array_equal(np.asarray(made["kept"]), expected)
    (outcome,) = outcomes(table, rule)
    assert (outcome["pooled"], outcome["min_group"]) == (groups.count("pool"), 7)
    (alone,) = outcomes(table, rule | {"min_group": 1})
    assert (alone["pooled"], alone["min_group"], alone["groups"]) == (3, 1, 31)  # documents of no domain are together
    ((union,),) = [one["rules"] for one in outcomes(table, {"kind": "any", "rules": [rule, TALL]})]
    assert (union["place"], union["pooled"]) == ("rules.0", groups.count("pool"))


TALL = {"kind": "threshold", "column": "tokens", "min": 49}


def outcomes(table: pa.Table, *rules: dict[str, Any]) -> list[dict[str, Any]]:
    """What the manifest has of every rule."""
    selection = Selection(settle(*rules))
    plan = resolve([table], selection)
    return [rule.outcome(state, table.schema) for rule, state in zip(selection.rules, plan.states, strict=True)]


def test_tokens_of_training_are_kept_once_an_epoch() -> None:
    """The best train_tokens / epochs tokens, as a budget of so many keeps; what is missing is said, as epochs are."""
    rule = {"kind": "top", "column": "perplexity", "direction": "lowest"}
    for more, tokens in (({"train_tokens": 400_001}, 100_001), ({"train_tokens": 100_000, "epochs": 2.5}, 40_000)):
        kept, _ = decided(CORPUS, rule | more)
        assert np.array_equal(kept, decided(CORPUS, rule | {"budget_tokens": tokens})[0])
        (outcome,) = outcomes(CORPUS, rule | more)
        assert (outcome["budget"], outcome["short"]) == (tokens, 0)
    total = int(column("tokens")[~np.isnan(column("perplexity"))].sum())
    (short,) = outcomes(CORPUS, rule | {"train_tokens": 8 * total})
    assert (short["epochs"], short["short"]) == (pytest.approx(8.0), total)
    assert short["effective_tokens"] == pytest.approx(total * (1 + 15.387756 * (1 - np.exp(-7 / 15.387756))), abs=1)
    for wrong, message in (
        ({"epochs": 2.0, "rate": 0.5}, "epochs must stand beside train_tokens"),
        ({"train_tokens": 5, "within": "domain"}, "within a column, give rate"),
        ({"train_tokens": 5, "rate": 0.5}, "top needs one of"),
    ):
        with pytest.raises(ValidationError, match=message):
            settle(rule | wrong)


def test_a_column_of_limits_that_is_no_column_of_names_is_named_by_its_setting() -> None:
    rule = {"kind": "threshold", "column": "word_count", "min": 1, "by": "probability", "table": {"a": {"min": 2}}}
    with pytest.raises(UserError, match=r"^select\.rules\.0\.by: must be of strings, booleans or integers"):
        decided(CORPUS, rule)


def test_length_bins_keep_the_same_share_of_every_length() -> None:
    """A score that is the length itself selects every length alike once lengths are ranked apart."""
    table = CORPUS.append_column("score", CORPUS["tokens"].cast(pa.float64()))
    rule = {"kind": "band", "column": "score", "criterion": "low", "rate": 0.5, "length_bins": [300, 600]}
    kept, _ = decided(table, rule)
    bins = np.digitize(column("tokens"), [300, 600])
    for number in range(3):
        assert abs(int(kept[bins == number].sum()) - 0.5 * int((bins == number).sum())) <= 0.5


@pytest.mark.parametrize("direction", ["highest", "lowest"])
@pytest.mark.parametrize("budget", [1, 1000, 123_456, 10**9])
def test_top_takes_the_best_until_the_budget_is_crossed(direction: str, budget: int) -> None:
    """The document that crosses the budget is the last one kept; too large a budget keeps all."""
    rule = {"kind": "top", "column": "perplexity", "direction": direction, "budget_tokens": budget}
    kept, reasons = decided(CORPUS, rule)
    score, tokens = column("perplexity"), column("tokens")
    order = [i for i in np.argsort(score if direction == "lowest" else -score, kind="stable") if not np.isnan(score[i])]
    taken, expected = 0, set()
    for i in order:
        if taken >= budget:
            break
        taken += tokens[i]
        expected.add(i)
    assert set(np.flatnonzero(kept)) == expected
    default = "below_top_perplexity" if direction == "highest" else "above_bottom_perplexity"
    assert set(reasons) - {None, "perplexity_missing"} <= {default}


def test_top_documents_within_a_domain_cap_what_each_gives() -> None:
    """budget_documents holds for every group by itself, exactly, on a column full of ties."""
    rule = {"kind": "top", "column": "word_count", "budget_documents": 7, "within": "domain"}
    kept, _ = decided(CORPUS, rule)
    domain = np.array(["" if d is None else d for d in CORPUS["domain"].to_pylist()])
    assert {int(kept[domain == d].sum()) for d in set(domain)} == {7}


def test_infinite_scores_have_their_place_at_the_ends() -> None:
    """-inf is the lowest value, inf the highest."""
    table = pa.table({"doc_id": list("abcde"), "x": [np.inf, 1.0, -np.inf, 2.0, 0.0]})
    kept, _ = decided(table, {"kind": "top", "column": "x", "budget_documents": 2})
    assert kept.tolist() == [True, False, False, True, False]
    kept, _ = decided(table, {"kind": "band", "column": "x", "criterion": "low", "rate": 0.4})
    assert kept.tolist() == [False, False, True, False, True]


def test_a_sample_has_its_rate_and_grows_with_it() -> None:
    """Binomial counts over many documents; a higher rate keeps what a lower one keeps."""
    kept = {rate: decided(CORPUS, {"kind": "sample", "rate": rate})[0] for rate in (0.0, 0.2, 0.5, 1.0)}
    assert [int(kept[0.0].sum()), int(kept[1.0].sum())] == [0, N]
    assert abs(int(kept[0.2].sum()) - 0.2 * N) < 5 * np.sqrt(0.16 * N)
    assert (kept[0.5] | ~kept[0.2]).all()


def test_two_samples_and_two_seeds_are_independent() -> None:
    """Half of a half is a quarter; another seed is another half."""
    half = {"kind": "sample", "rate": 0.5}
    quarter, _ = decided(CORPUS, half, half)
    assert abs(int(quarter.sum()) - N / 4) < 5 * np.sqrt(N * 3 / 16)
    one, other = (decided(CORPUS, half, seed=seed)[0] for seed in (1, 2))
    assert abs(int((one & other).sum()) - N / 4) < 5 * np.sqrt(N * 3 / 16)


def test_a_sample_by_a_column_keeps_likely_documents_more_often() -> None:
    """In each quarter of the probabilities, the share kept is their mean."""
    kept, _ = decided(CORPUS, {"kind": "sample", "column": "probability"})
    probability = column("probability")
    for low in (0.0, 0.25, 0.5, 0.75):
        part = (probability >= low) & (probability < low + 0.25)
        assert abs(kept[part].mean() - probability[part].mean()) < 5 * 0.5 / np.sqrt(part.sum())


@pytest.mark.parametrize("kind", ["gaussian", "stepwise"])
def test_a_density_rule_keeps_exactly_its_rate(kind: str) -> None:
    """The factor is solved for the count: 40 % of the scored documents, rounded up."""
    kept, _ = decided(CORPUS, {"kind": kind, "column": "perplexity", "rate": 0.4})
    assert int(kept.sum()) == -(-4 * int((~np.isnan(column("perplexity"))).sum()) // 10)


def test_bertins_own_constants_give_the_probabilities_of_its_script() -> None:
    """Quarters are kept with .280, 1, .584 and .0163 (bertin-project/mc4-sampling)."""
    first, second, third = 536394.99320948, 662247.50212365, 919250.87225178
    values = np.repeat([first - 1, second - 1, third - 1, third + 1], 5000)
    table = pa.table({"doc_id": [str(i) for i in range(20_000)], "p": values})
    rule = {"kind": "stepwise", "column": "p", "factor": 1.5e5, "quartiles": [first, second, third]}
    kept, _ = decided(table, rule)
    shares = kept.reshape(4, 5000).mean(axis=1)
    assert shares == pytest.approx([0.280, 1.0, 0.584, 0.0163], abs=0.035)
    rule = {"kind": "gaussian", "column": "p", "factor": 0.78, "quartiles": [first, second, third]}
    kept, _ = decided(table, rule)
    expected = 0.78 * np.exp(-(((values - second) / second) ** 2) / 4.5)
    assert kept.reshape(4, 5000).mean(axis=1) == pytest.approx(expected.reshape(4, 5000).mean(axis=1), abs=0.035)


@given(st.lists(st.floats(0, 1e4), min_size=1))
def test_the_portable_exponential_is_numpys(values: list[float]) -> None:
    """Within 4 ulp of exp, down to the subnormals."""
    array = np.array(values)
    np.testing.assert_allclose(exp_negative(array), np.exp(-array), rtol=1e-15, atol=1e-322)


def test_row_rules_answer_without_a_plan() -> None:
    """`keep_rows` gives disjoint masks over all rows, for the living ones."""
    rule = settle({"kind": "threshold", "column": "perplexity", "min": 10, "max": 30}).rules[0]
    alive = np.arange(N) % 2 == 0
    found = dict(keep_rows(rule, CORPUS, alive))
    assert set(found) == {"perplexity_missing", "perplexity_below_min", "perplexity_above_max"} & set(found)
    assert (np.sum(list(found.values()), axis=0) <= alive).all()


def test_draws_of_row_rules_are_their_own() -> None:
    """A preselected half is halved again by a sample of the same seed, and by another name's."""
    rule = settle({"kind": "sample", "rate": 0.5}).rules[0]
    alive = np.ones(N, bool)
    (_, first), (_, second) = (keep_rows(rule, CORPUS, alive, 0, name)[0] for name in ("one", "two"))
    kept, _ = decided(CORPUS, {"kind": "sample", "rate": 0.5})
    for both in (~first & ~second, ~first & kept):
        assert abs(int(both.sum()) - N / 4) < 5 * np.sqrt(N * 3 / 16)


def test_dictionary_columns_are_read_as_their_strings() -> None:
    """Parquet readers may hand languages and domains over as dictionaries."""
    index = CORPUS.schema.get_field_index("language")
    table = CORPUS.set_column(index, "language", CORPUS["language"].dictionary_encode())
    rules = ({"kind": "threshold", "column": "language", "in": ["en"]}, {"kind": "band", "within": "language", **BAND})
    np.testing.assert_array_equal(decided(table, *rules)[0], decided(CORPUS, *rules)[0])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"kind": "threshold", "column": "a"}, "needs at least one of min"),
        ({"kind": "threshold", "column": "a", "min": 2, "max": 1}, "min must not be above max"),
        ({"kind": "top", "column": "a"}, "needs one of budget_tokens"),
        ({"kind": "top", "column": "a", "rate": 0.1, "budget_tokens": 5}, "needs one of budget_tokens"),
        ({"kind": "sample"}, "either rate or column"),
        ({"kind": "gaussian", "column": "a"}, "either rate or factor"),
        ({"kind": "band", "column": "a", "criterion": "low", "rate": 0.5, "length_bins": [5, 3]}, "ascend"),
        ({"kind": "stepwise", "column": "a", "rate": 0.5, "quartiles": [3.0, 2.0, 1.0]}, "ascend"),
        ({"kind": "banned"}, "threshold"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any], message: str) -> None:
    """Before any work, and the message says what must hold."""
    with pytest.raises(ValidationError, match=message):
        settle(rule)


def test_a_rule_by_tokens_needs_the_column_of_tokens() -> None:
    """`tokens` has no default, since a corpus may be scored by several models."""
    rule = {"kind": "top", "column": "a", "budget_tokens": 5}
    with pytest.raises(ValidationError, match=r"tokens must name a column, since rules\.0 counts tokens"):
        SelectSettings.model_validate({"rules": [rule]})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"kind": "threshold", "column": "word_cuont", "min": 1},
            r"rules\.1\.column: .* 'word_cuont'; did you mean 'word_count'",
        ),
        (
            {"kind": "threshold", "column": "language", "min": 1},
            r"rules\.1\.column: must be a column of numbers.*'language' of string",
        ),
        (
            {"kind": "threshold", "column": "word_count", "in": ["many"]},
            r"rules\.1\.in: must list values of word_count's type int64",
        ),
        (
            {"kind": "threshold", "column": "word_count", "in": [10**30]},
            r"rules\.1\.in: must list values of word_count's type int64",
        ),
        ({"kind": "sample", "column": "word_count"}, r"rules\.1\.column: must hold probabilities"),
        (
            {"kind": "stepwise", "column": "negative", "rate": 0.5},
            r"rules\.1\.column: must have positive and finite quartiles",
        ),
    ],
)
def test_a_mistake_that_only_the_columns_show_names_the_rule(rule: dict[str, Any], message: str) -> None:
    """The error begins with the rule's place in the configuration."""
    table = CORPUS.append_column("negative", pa.array(-column("tokens")))
    with pytest.raises(UserError, match=f"^select.{message}"):
        decided(table, {"kind": "sample", "rate": 1.0}, rule)


@pytest.mark.parametrize("empty", [{"in": []}, {"not_in": []}, {"min": 1, "when": {"language": []}}])
def test_an_empty_list_is_refused(empty: dict[str, Any]) -> None:
    """It would keep nothing, drop nothing, or make a rule of no documents."""
    rule = {"kind": "threshold", "column": "word_count", **empty}
    with pytest.raises(ValidationError, match="at least 1 item"):
        SelectSettings.model_validate({"rules": [rule]})


def test_settings_tell_the_columns_they_read() -> None:
    """So that a job reads these alone."""
    rule = {"kind": "band", "column": "perplexity", "criterion": "low", "rate": 0.5, "within": "domain"}
    other = {"kind": "sample", "rate": 0.5, "when": {"language": ["en"]}}
    weights = {"factors": [{"kind": "column", "column": "cluster_size", "inverse": True}]}
    names = settle(rule, other, weights=weights).columns()
    assert names == {"doc_id", "perplexity", "domain", "language", "cluster_size", "tokens"}
