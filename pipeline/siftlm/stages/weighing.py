"""Counts what weights make of a selection, and reports it: repetition, drawn copies, the shares of a mixture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.step import Row, Told
from siftlm.selectors import SelectSettings
from siftlm.selectors.factors.mixture import MixtureFactor
from siftlm.selectors.rows import Rows
from siftlm.selectors.shares import ShareResult, share_facts, share_results
from siftlm.selectors.weights import WEIGHTS, factor_place
from siftlm.statistics.exact import UNIT_EXPONENT, as_float, exact_sum
from siftlm.statistics.ordered import Float64Array, Int64Array
from siftlm.statistics.repetition import DECAY_REPEATS, effective_copies

Facts = Mapping[str, Any]
REPETITION = "Repeated text, and what it is worth in new text"
VALUES_NAMED = 6  # of a mixture in a line of the terminal
SHORT_OF = 0.99  # of its share a value may have less for a document that does not fit
VALUES_LISTED = 200  # in the report; the manifest has all


@dataclass(frozen=True)
class Repetition:
    """Holds exact sums over documents: of their text once, as often as it counts, and what that is worth."""

    unique: int = 0
    total: int = 0
    effective: int = 0

    @classmethod
    def of(cls, sizes: Int64Array, repeats: Float64Array) -> Repetition:
        """Returns the sums for documents of some sizes that count `repeats` times: arrays [documents]."""
        if not (repeats > 1).any():  # all of it is new
            return cls(*[exact_sum(repeats * sizes)] * 3)
        counts = (np.minimum(repeats, 1.0), repeats, effective_copies(repeats))
        return cls(*(exact_sum(times * sizes) for times in counts))

    @classmethod
    def once(cls, size: int) -> Repetition:
        """Returns the sums for documents that count once, with `size` tokens or bytes together."""
        return cls(*[size << UNIT_EXPONENT] * 3)

    @classmethod
    def merged(cls, facts: Iterable[Sequence[str]]) -> Repetition:
        """Returns the sums over all shards, from the facts of each in any order."""
        every = [[int(part, 16) for part in of_shard] for of_shard in facts]
        return cls(*map(sum, zip(*every, strict=True))) if every else cls()

    def facts(self) -> list[str]:
        """Returns the sums as JSON, for a marker."""
        return [hex(part) for part in (self.unique, self.total, self.effective)]


def weight_facts(
    settings: SelectSettings, table: pa.Table, decisions: pa.RecordBatch, repeats: Float64Array
) -> dict[str, Any]:
    """Returns for the marker of a shard what the weights made of its documents."""
    weights = settings.weights
    assert weights is not None, "a selection without weights has none to count"
    weight = np.asarray(decisions["weight"].fill_null(0.0))
    facts: dict[str, Any] = {}
    if weights.materialise:
        odds = weight - np.floor(weight)
        facts["drawn"] = [hex(exact_sum(part)) for part in (weight, odds * (1 - odds))]
    if weights.mixture:
        rows = Rows.of(table, settings.seed, settings.tokens)
        refused = np.asarray(pc.fill_null(pc.equal(decisions["dropped_by"], WEIGHTS), False))
        group = weights.mixture[1].group(rows)
        facts["shares"] = share_facts(len(weights.mixture[1].shares), group, weight, repeats, rows.tokens(), refused)
    return facts


def told_of_weights(settings: SelectSettings, facts: Sequence[Facts]) -> Told:
    """Returns for manifest and report what the weights of a selection made of it, from the facts of all shards."""
    weights = settings.weights
    told = [_told_of_repetition(settings, facts)]
    if weights and weights.materialise:
        told.append(_told_of_copies(facts, met=weights.budget is not None))
    if weights and weights.mixture:
        told.append(_told_of_shares(*weights.mixture, facts, written=weights.materialise))
    return Told(
        warnings=[warning for part in told for warning in part.warnings],
        statistics={name: value for part in told for name, value in part.statistics.items()},
        remarks=[remark for part in told for remark in part.remarks],
        tables={caption: rows for part in told for caption, rows in part.tables.items()},
    )


def _told_of_repetition(settings: SelectSettings, facts: Sequence[Facts]) -> Told:
    unit = "tokens" if settings.tokens else "bytes"
    repetition = Repetition.merged(of_shard[f"repetition_{unit}"] for of_shard in facts)
    statistics = repetition_statistics(repetition, unit)
    if settings.weights is None:
        return Told(statistics={"repetition": statistics})
    repeats = repetition.effective != repetition.total
    remarks = [_repetition_words(statistics)] if repeats else []
    return Told((), {"repetition": statistics}, {}, remarks, {REPETITION: [_repetition_row(statistics)]})


def _told_of_copies(facts: Sequence[Facts], *, met: bool) -> Told:
    drawn = _drawn(facts, met=met)
    return Told(statistics={"copies": drawn}, remarks=[_drawn_words(drawn)])


def _told_of_shares(position: int, mixture: MixtureFactor, facts: Sequence[Facts], *, written: bool) -> Told:
    results = share_results(mixture.fractions(), [of_shard["shares"] for of_shard in facts])
    others = sum(of_shard["shares"]["others"][0] for of_shard in facts)
    place = f"{factor_place(position)} (mixture)"
    return Told(
        warnings=[f"{place}: {_short_words(short, mixture)}" for short in _short(mixture, results)[:VALUES_NAMED]],
        statistics={"shares": _shares_statistics(mixture, results, others, written=written)},
        remarks=[f"{place}: {_shares_words(mixture, results, others)}"],
        tables={f"Mixture by {mixture.column}: shares of the tokens": _shares_rows(results, others)},
    )


def _short(mixture: MixtureFactor, results: Sequence[ShareResult]) -> list[ShareResult]:
    """The values that could not fill their shares in so many epochs, which without epochs is an error."""
    if mixture.most_epochs is None:
        return []
    return [result for result in results if (result.realised or 0.0) < SHORT_OF * result.asked]


def _short_words(short: ShareResult, mixture: MixtureFactor) -> str:
    realised, asked = (f"{100 * share:.3g} %" for share in (short.realised or 0.0, short.asked))
    return (
        f"{short.value} has {realised} of the tokens and not the {asked} that are asked for, since its "
        f"{short.documents:,} documents give no more in {mixture.most_epochs:g} epochs"
    )


def repetition_statistics(repetition: Repetition, unit: str) -> dict[str, Any]:
    """Returns unique text U, all text D and effective text D' for the manifest, in tokens or bytes."""
    unique, total, effective = map(as_float, (repetition.unique, repetition.total, repetition.effective))
    return {
        "unit": unit,
        "unique": unique,
        "total": total,
        "effective": effective,
        "epochs": total / unique if unique else None,
        "decay_repeats": DECAY_REPEATS,
        "law": "Muennighoff et al. 2023, arXiv 2305.16264",
    }


def _repetition_row(told: Mapping[str, Any]) -> Row:
    sizes = {f"{name} {told['unit']}": round(told[name]) for name in ("unique", "total", "effective")}
    return {"selection": "as written with its weights", **sizes, "epochs": told["epochs"]}


def _repetition_words(told: Mapping[str, Any]) -> str:
    return (
        f"{WEIGHTS}: {told['unique']:,.0f} {told['unit']} count {told['epochs']:.3g} times, {told['total']:,.0f} in "
        f"all; in training they are worth {told['effective']:,.0f} new ones (data-constrained scaling law)"
    )


def _drawn(facts: Sequence[Facts], *, met: bool) -> dict[str, Any]:
    """How many copies were drawn and expected, and the standard error; None where a budget is met."""
    expected, variance = (sum(int(of_shard["drawn"][n], 16) for of_shard in facts) for n in (0, 1))
    return {
        "written": sum(int(of_shard["copies"]) for of_shard in facts),
        "expected": as_float(expected),
        "standard_error": None if met else sqrt(as_float(variance)),
    }


def _drawn_words(told: Mapping[str, Any]) -> str:
    how = (
        "to the budget of tokens"
        if told["standard_error"] is None
        else f"with a standard error of {told['standard_error']:,.1f}"
    )
    return (
        f"{WEIGHTS}: {told['written']:,} copies, {told['expected']:,.1f} expected, drawn for each document by itself "
        + how
    )


def _shares_statistics(
    mixture: MixtureFactor, results: Sequence[ShareResult], others: int, *, written: bool
) -> dict[str, Any]:
    return {
        "column": mixture.column,
        "written": written,
        "origin": dict(mixture.origin),
        "values": [result._asdict() for result in results],
        "other_documents": others,
    }


def _shares_words(mixture: MixtureFactor, results: Sequence[ShareResult], others: int) -> str:
    named = [
        f"{result.value} {100 * (result.realised or 0.0):.4g} % of the tokens ({100 * result.asked:.4g} % asked)"
        + (f" in {result.epochs:.3g} epochs" if result.epochs is not None else "")
        for result in results[:VALUES_NAMED]
    ]
    more = [f"and {len(results) - VALUES_NAMED:,} more values"] if len(results) > VALUES_NAMED else []
    dropped = [f"{others:,} documents of no {mixture.column} with a share are dropped"] if others else []
    return "; ".join([", ".join([*named, *more]), *dropped])


def _shares_rows(results: Sequence[ShareResult], others: int) -> list[Row]:
    listed = sorted(results, key=lambda result: (-result.asked, result.value))[:VALUES_LISTED]
    rows: list[Row] = [
        {
            "value": result.value,
            "documents": result.documents,
            "tokens": result.tokens,
            "share asked": result.asked,
            "share realised": result.realised,
            "tokens by weight or copies": round(result.realised_tokens),
            "epochs": result.epochs,
        }
        for result in listed
    ]
    rest = {"tokens": None, "share asked": None, "share realised": None, "tokens by weight or copies": None}
    last: Row = {"value": "others, dropped", "documents": others, **rest, "epochs": None}
    return [*rows, last] if others else rows
