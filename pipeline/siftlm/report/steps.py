"""Reads from a manifest which end ranked rules kept, what budgets lack, what was dropped, and stage times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from siftlm.engine.runner import ACCELERATED

Step = Mapping[str, Any]


def remarks(manifest: Mapping[str, Any]) -> list[str]:
    """Returns the lines that steps say of what they did, and those of ranked rules."""
    steps = manifest["steps"]
    return [*manifest.get("remarks", ()), *kept_ends(steps), *pools(steps)]


def kept_ends(steps: Iterable[Step]) -> list[str]:
    """Returns one line for each `top` rule that cut, saying which end of a score it kept.

    For instance `select.rules.1 (top): kept the lowest 30 % of documents by lm_perplexity`.
    """
    cut = [step for step in _ranked(steps) if "end" in step and not (step.get("short") and step["within"] == "global")]
    return [f"{_place(step)}: kept the {step['end']} {_size(step)} by {step['by']}{_training(step)}" for step in cut]


def shortages(steps: Iterable[Step]) -> list[str]:
    """Returns one line for each `top` rule whose budget was larger than what there was.

    For instance `select.rules.2 (top): budget 10,000 tokens, there were 1,000: kept all, 9,000 short`.
    """
    return [
        f"{_place(step)}: budget {_size(step)}{_short(step)}{_training(step)}"
        for step in _ranked(steps)
        if step.get("short")
    ]


def pools(steps: Iterable[Step]) -> list[str]:
    """Returns one line for each ranked rule that ranked small groups together.

    For instance `select.rules.1 (band): 12 of 300 documents are of a domain with fewer than 5, or of none: ranked
    as one group`.
    """
    return [
        f"{_place(step)}: {step['pooled']:,} of {step['documents']:,} documents are {_small(step)}: ranked as one group"
        for step in _ranked(steps)
        if step.get("pooled")
    ]


def _ranked(steps: Iterable[Step]) -> Iterator[Step]:
    """The steps, and the rules within a union of rules."""
    for step in steps:
        yield step
        for inner in step.get("rules", ()):
            yield {**inner, "place": f"{step['place']}.{inner['place']}"}


def _small(step: Step) -> str:
    if step["min_group"] == 1:
        return f"of no {step['within']}"
    return f"of a {step['within']} with fewer than {step['min_group']:,}, or of none"


def _place(step: Step) -> str:
    return f"{step['place']} ({step['kind']})"


def _size(step: Step) -> str:
    within = "" if step["within"] == "global" else f" in each {step['within']}"
    amount = f"{step['budget']:,}" if "budget" in step else f"{100 * step['rate']:.6g} % of"
    return f"{amount} {step['unit']}{within}"


def _training(step: Step) -> str:
    """`, for 2,000 tokens of training: 4 epochs, worth 1,820 new tokens`; empty where no training run is given."""
    if "train_tokens" not in step:
        return ""
    worth = f"{step['epochs']:.3g} epochs, worth {step['effective_tokens']:,} new tokens"
    return f", for {step['train_tokens']:,} tokens of training: {worth}"


def _short(step: Step) -> str:
    if step["within"] == "global":
        return f", there were {step['mass']:,}: kept all, {step['short']:,} short"
    return f", fewer in {step['groups_short']:,} of {step['groups']:,}: kept all of these, {step['short']:,} short"


def unfindable(benchmarks: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Returns one line for each benchmark with items that cannot be found in a longer text, and why."""
    return [
        f"{name}: {counts['too_short'] + counts['without_words']:,} of {counts['items']:,} items cannot be found in a "
        f"longer text: {counts['too_short']:,} of too few words, {counts['without_words']:,} without a word"
        for name, counts in benchmarks.items()
        if counts["too_short"] or counts["without_words"]
    ]


def drops(steps: Iterable[Step]) -> list[tuple[str, int]]:
    """Returns (reason, documents) of all steps, most first; the step is appended to a reason of several steps."""
    dropped = [(reason, step["place"], number) for step in steps for reason, number in step["dropped"].items()]
    reasons = [reason for reason, _, _ in dropped]
    named = [(f"{r} ({place})" if reasons.count(r) > 1 else r, number) for r, place, number in dropped]
    return sorted(named, key=lambda entry: (-entry[1], entry[0]))


class StageTime(NamedTuple):
    """Holds the rows, seconds and cost of a stage, added up over its workers."""

    stage: str
    rows: int
    seconds: float
    rate: float | None  # rows a second; None where too little was measured
    stored_bytes: int | None  # of its outputs on disk; None where the manifest does not say
    cost: float | None  # in the currency of the configuration's prices; None where it names none


def stage_times(manifest: Mapping[str, Any]) -> list[StageTime]:
    """Returns the rows, seconds and cost of every stage of a run."""
    prices, times = manifest["config"]["runner"], []
    for stage, seconds in manifest["seconds"].items():
        rows = manifest["counts"].get(stage, {}).get("rows_in", 0)
        scoring = prices["score_hour_price"] if stage.startswith(ACCELERATED) else None
        price = scoring or prices["hour_price"]
        cost = None if price is None else seconds / 3600 * price
        rate = rows / seconds if seconds >= 0.001 else None
        times.append(StageTime(stage, rows, seconds, rate, stored_bytes(manifest).get(stage), cost))
    return times


def stored_bytes(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Returns the bytes on disk by step: of its outputs in the store, and of the written files.

    Tables, plans and models that steps keep in folders of their own come by the names of these.
    """
    written = {part: sum(file["bytes"] for file in manifest[part]) for part in ("data", "rejects") if manifest[part]}
    return {**manifest["statistics"].get("stored_bytes", {}), **written}
