"""Finds values in the configuration's lists (languages, sources, domains) that no document has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from siftlm.config import RunConfig
from siftlm.engine.drive import Context
from siftlm.engine.gather import gather
from siftlm.engine.shards import Task
from siftlm.errors import UserError, nearest
from siftlm.scorers import open_scorer
from siftlm.selectors.component import Component, Mention
from siftlm.selectors.rule import flattened
from siftlm.selectors.weights import factor_place
from siftlm.stages.columns import read_columns
from siftlm.stages.portions import portions
from siftlm.store import Store

COMMON = 1000  # values of a column that are remembered, the most frequent of every shard: for hints only
SHOWN = 3
NEAR = 0.6  # how alike a value must be to be the one that was meant, by difflib


Mentions = dict[str, tuple[frozenset[str], dict[str, int]]]


def present(wanted: Mapping[str, frozenset[str]], store: Store, tasks: Sequence[Task]) -> Mentions:
    """Returns which listed values the columns of some shards have, and the counts of the most frequent values."""
    return merged(
        {name: _present(portion.table[name], values) for name, values in wanted.items()}
        for portion in portions(tasks, lambda task: read_columns(task, store, set(wanted)))
    )


def _present(column: pa.ChunkedArray, wanted: frozenset[str]) -> tuple[frozenset[str], dict[str, int]]:
    counted = pc.value_counts(pc.cast(column, pa.string()).drop_null()).to_pylist()
    counts = {row["values"]: row["counts"] for row in counted}
    return wanted & counts.keys(), _commonest(counts)


def merged(parts: Iterable[Mentions]) -> Mentions:
    """Returns the values and counts of all shards, merged from those of some shards each."""
    every = list(parts)
    return {name: _together([part[name] for part in every]) for name in every[0]}


def _together(parts: Sequence[tuple[frozenset[str], dict[str, int]]]) -> tuple[frozenset[str], dict[str, int]]:
    counts = sum((Counter(common) for _, common in parts), Counter[str]())
    return frozenset[str]().union(*(present for present, _ in parts)), _commonest(counts)


def _commonest(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:COMMON])


def components(config: RunConfig) -> Iterator[tuple[str, Component]]:
    """Yields every rule and weight factor with its dotted place in the configuration, in order."""
    yield from flattened("preselect", config.preselect)
    yield from config.select.placed()
    factors = config.select.weights.factors if config.select.weights else []
    yield from ((factor_place(number), factor) for number, factor in enumerate(factors))


def mentions(config: RunConfig) -> list[Mention]:
    """Returns every list of values in rules, scopes and weights, in the order of the configuration."""
    return [
        mention._replace(place=f"{place}.{mention.place}")
        for place, component in components(config)
        for mention in component.mentions()
    ]


def look(config: RunConfig, tasks: Sequence[Task], context: Context) -> Mentions:
    """Returns which of the configuration's listed values occur in the documents, and each column's commonest values."""
    wanted: dict[str, frozenset[str]] = {}
    for mention in mentions(config):
        wanted[mention.column] = wanted.get(mention.column, frozenset()) | frozenset(mention.values)
    if not wanted or not tasks:
        return {}
    return gather("mentions", partial(present, wanted, context.store), merged, tasks, context) or {}


def unmet(config: RunConfig, there: Mentions) -> list[str]:
    """Returns one sentence for every list that has values which no document has."""
    listed = [(mention, *there.get(mention.column, (frozenset(mention.values), {}))) for mention in mentions(config)]
    return [
        _said(mention, missing, list(common), "no document has")
        for mention, present, common in listed
        if (missing := [value for value in mention.values if value not in present])
    ]


def unknown(config: RunConfig) -> list[str]:
    """Returns one sentence for every list with values that no document can have, before any document is read.

    This concerns columns whose possible values are known then: sources, and languages of the model.

    Raises:
        UserError: a rule keeps nothing but what no document can have, and the run may not keep nothing.
    """
    listed = mentions(config)
    known = known_values(config) if listed else {}
    said = []
    for mention in listed:
        values = known.get(mention.column)
        missing = [value for value in mention.values if values is not None and value not in values]
        if not missing:
            continue
        if mention.keeps and len(missing) == len(mention.values) and not config.output.allow_empty:
            raise UserError(_said(mention, missing, values or [], "must keep something, but there is no"))
        said.append(_said(mention, missing, values or [], "there is no"))
    return said


def known_values(config: RunConfig) -> dict[str, list[str]]:
    """Returns the possible values of the columns for which they are known before any document is read."""
    known = {"source": [settings.source for settings in config.input]}
    for settings in (*config.scorers(), *config.score):
        known |= open_scorer(settings).values()
    return known


def _said(mention: Mention, missing: Sequence[str], known: Sequence[str], what: str) -> str:
    """`select.rules.0.in: no document has language 'eng'; did you mean 'en'?`"""
    shown = ", ".join(map(repr, missing[:SHOWN])) + (f" and {len(missing) - SHOWN:,} more" * (len(missing) > SHOWN))
    near = [nearest(value, known, NEAR) for value in missing[:SHOWN]]
    meant = list(dict.fromkeys(repr(name) for name in near if name))
    kind = " codes such as" if mention.column == "language" and len(known) > 1 else ""
    there = f"there {'is' if len(known) == 1 else 'are'}{kind} {', '.join(map(repr, known[: SHOWN * 2]))}"
    hint = f"did you mean {', '.join(meant)}?" if meant else there if known else "no document has any"
    return f"{mention.place}: {what} {mention.column} {shown}; {hint}"
