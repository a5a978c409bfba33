"""Lists every method of siftlm, with a configuration of it that runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import tomli_w

from siftlm.components import MIXTURE, Method, first_line, methods
from siftlm.config import parse
from siftlm.selectors import SelectSettings
from siftlm.stages.columns import DECISIONS
from siftlm.stages.commonness.settings import CommonnessSettings
from siftlm.stages.commonness.work import COMMONNESS_SCHEMA
from siftlm.stages.prior.settings import PriorSettings
from siftlm.steps import columns_before

CORPUS = "corpus"
INPUT: dict[str, Any] = {"source": "web", "paths": ["corpus/*"]}
TOKENS = "word_count"  # what counts tokens where no language model does
COMPUTED: dict[str, dict[str, Any]] = {"cluster_size": {"dedup": {}}, "commonness": {"dedup": {"commonness": {}}}}
"""The tables that compute columns which examples of rules and factors name."""
DEFAULT = ("language", "signals")
"""The annotators that a run has unless it says otherwise; each has a table of its own."""
LISTED = {"hashes": "text_xxh3_128", "values": "source"}
"""The column that the example of a list looks at, where it is not the url."""


class MethodKind(NamedTuple):
    """Says of one kind of method what its title is, where a configuration names it, and how."""

    title: str
    place: str
    tables: Callable[[Method], Mapping[str, Any]]  # of a configuration, with the example


def _listed(method: Method) -> Mapping[str, Any]:
    column = LISTED.get(method.name, "url")
    hashes = {"annotate": {"others": [{"kind": "text_hash", "algorithm": "xxh3_128"}]}} if "xxh3" in column else {}
    rule = {"kind": "threshold", "column": column, "not_in": {**method.example}, "missing": "keep"}
    return {**hashes, "select": {"rules": [rule]}}


def _selecting(select: Mapping[str, Any]) -> Mapping[str, Any]:
    """A selection, with what gives the columns that it reads: steps, or the files themselves."""
    settings = SelectSettings.model_validate({**select, "tokens": TOKENS})
    counts = [*(rule.counts_tokens for rule in settings.rules), settings.weights and settings.weights.counts_tokens]
    known = columns_before(parse({"name": "x", "input": [INPUT], "output": {"folder": "x"}}, []), DECISIONS)
    missing = sorted(settings.columns() - known.keys())
    given = {column: "float" for column in missing if column not in COMPUTED}
    components = [*settings.rules, *(settings.weights.factors if settings.weights else ())]
    named = {value for of in components for said in of.mentions() if said.column == "source" for value in said.values}
    tables: dict[str, Any] = {"input": [{**INPUT, "columns": given}] if given else [INPUT]}
    tables["input"] += [{"source": name, "paths": [f"{name}/*"]} for name in sorted(named - {INPUT["source"]})]
    for column in missing:
        tables |= COMPUTED.get(column, {})
    return {**tables, "select": {**({"tokens": TOKENS} if any(counts) else {}), **select}}


KINDS = {
    "reader": MethodKind("Formats", "The `format` of an `[[input]]`.", lambda of: {"input": [{**INPUT, **of.example}]}),
    "edit": MethodKind(
        "Edits", "The `kind` of an `[[edit]]`: what is replaced in every text.", lambda of: {"edit": [of.example]}
    ),
    "annotator": MethodKind(
        "Annotators",
        "Columns of documents: `[annotate]`. All may stand in `[[annotate.others]]`; some have tables of their own.",
        lambda of: {"annotate": {of.name: of.example} if of.name in DEFAULT else {"others": [of.example]}},
    ),
    "score": MethodKind(
        "Scores",
        "The `kind` of a `[[score]]`: whatever gives the nats and the tokens of a text.",
        lambda of: {"score": [of.example]},
    ),
    CORPUS: MethodKind(
        "Measures of the whole corpus",
        "Columns that depend on all documents, by their tables.",
        lambda of: of.example,
    ),
    "rule": MethodKind(
        "Rules",
        "The `kind` of a rule of `[[select.rules]]`; some are `[[preselect]]` rules too.",
        lambda of: _selecting({"rules": [of.example]}),
    ),
    "list": MethodKind("Lists", "The `kind` of a table in `in` or `not_in` of a threshold.", _listed),
    "factor": MethodKind(
        "Factors",
        "The `kind` of a factor of `select.weights.factors`.",
        lambda of: _selecting({"weights": {"factors": [of.example]}}),
    ),
    MIXTURE: MethodKind(
        "Mixtures",
        "The METHOD of `siftlm mix`: what finds shares of domains, or how much of a corpus to keep. The cost is what "
        "it takes beside reading what it needs.",
        lambda of: {"mix": of.example},
    ),
}
"""Every kind of method, in the order in which a document meets them."""


def every_method() -> list[Method]:
    """Returns a description of every method, those that measure the whole corpus included."""
    every = [*methods(), *_of_corpus()]
    return [method for kind in KINDS for method in every if method.kind == kind]


def configuration(method: Method) -> dict[str, Any]:
    """Returns a whole configuration with the method, as nested tables, of a run or of `siftlm mix`."""
    tables = KINDS[method.kind].tables(method)
    if method.kind == MIXTURE:
        return dict(tables)
    return {"name": method.name.replace(".", "-"), "input": [INPUT], **tables, "output": {"folder": "runs/example"}}


def in_toml(method: Method) -> str:
    """Returns the same as TOML."""
    return tomli_w.dumps(configuration(method))


def _of_corpus() -> Iterator[Method]:
    """The columns of a document that depend on all others."""
    commonness = CommonnessSettings
    yield Method(
        CORPUS,
        "dedup.commonness",
        first_line(commonness),
        tuple(COMMONNESS_SCHEMA.names),
        paper=commonness.paper,
        cost=commonness.cost,
        unchecked=commonness.unchecked,
        example={"dedup": {"commonness": {}}},
    )
    prior = PriorSettings.model_validate(PriorSettings.example)
    yield Method(
        CORPUS,
        "prior",
        first_line(PriorSettings),
        tuple(field.name for field in prior.columns()),
        paper=prior.paper,
        needs=prior.needs,
        cost=prior.cost,
        unchecked=prior.unchecked,
        example={"prior": [prior.example]},
    )
