"""Writes the reference pages of the guides from the code: every key, column and method.

`python -m siftlm.reference_pages pipeline/docs/reference` writes them again.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from siftlm.components import Method
from siftlm.config import RunConfig, parse
from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.loop import LoopConfig
from siftlm.methods import KINDS, every_method
from siftlm.mixtures.settings import MixConfig
from siftlm.proving.settings import ProofConfig
from siftlm.scorers import SignalsSettings, open_scorer
from siftlm.scorers.signals import SignalsScorer
from siftlm.scorers.token_numbers import NUMBERS
from siftlm.selectors import DECISION_SCHEMA
from siftlm.stages.columns import HIDDEN
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.select import STAGE as DECISIONS
from siftlm.steps import Step, losses, steps

GENERATED = (
    "<!-- Written by python -m siftlm.reference_pages from the code that it describes: change that, not this page. -->"
)
Schema = Mapping[str, Any]
LARGE = 1 << 60  # a bound beyond this is the computer's, and of no use to a reader
EVERYTHING: dict[str, Any] = {
    "name": "everything",
    "input": [{"source": "web", "paths": ["web/*.jsonl"]}],
    "edit": [{"kind": "repair"}, {"kind": "pii", "phones": "count"}],
    "annotate": {
        "classifiers": [
            {"name": "classifier", "path": "model.bin", "label": "good"},
            {"name": "topic", "path": "topics.bin", "label": "*"},
        ],
        "models": [
            {"name": "rater", "model": "rater"},
            {"name": "kind", "model": "kinds", "label": "*"},
        ],
        "dsir": [{"name": "dsir", "path": "dsir.npz"}],
        "contamination": [{"name": "benchmark", "path": "benchmark.jsonl"}],
    },
    "dedup": {"paragraphs": {}, "commonness": {}, "signatures": "datasketch"},
    "prior": [{"tokenizer": "tokenizer.json"}],
    "reference": {},
    "preselect": [{"kind": "threshold", "column": "word_count", "min": 20}],
    "score": [
        {
            "name": "model",
            "model": "trained",
            "per_document": ["nll_mean", "nll_std", "nll_p90", "worst_window", "entropy_mean", "el2n_mean"],
        }
    ],
    "select": {"rules": [{"kind": "threshold", "column": "model_perplexity", "max": 1000}]},
    "output": {"folder": "runs/everything"},
}
"""A run with every step, whose scorers are called by what they are."""
SAID = ("columns", "reasons", "needs", "cost", "unchecked")
"""What the methods page says of a method beside its name, its words and its source, where any of its kind has it."""
MEANINGS = {
    "doc_id": "the record's own id, or a digest of its url and text",
    "text": "the text, edited and without what was cut",
    "url": "where it comes from",
    "domain": "the registered domain of the url, or the configured field",
    "source": "the `source` of the input that it came from",
    "metadata": "a JSON object with the configured fields",
    "byte_count": "UTF-8 bytes of the text",
    "minhash": "a signature that `datasketch.LeanMinHash.deserialize` reads",
    "cluster_id": "the id of the document that represents its cluster of duplicates",
    "cluster_size": "documents of the cluster",
    "duplicate": "null for the representative, else `exact` or `near`",
    "repairs": "stretches of lines that were repaired",
    "repair_spans": "[start, end) of each in bytes of the text as it was read, and what stands there now",
    "pii_emails": "e-mail addresses",
    "pii_ips": "public IP addresses",
    "pii_phones": "phone numbers; only where `phones` is not `leave`",
    "pii_spans": "[start, end) of each replaced one in bytes of the text as repaired, and what stands there now",
    "cut_spans": "[start, end) of what was cut, in bytes of the text as edited",
    "cut_count": "lines or paragraphs that were cut",
    "cut_bytes": "their bytes",
    "cut_share": "their share of the text as edited",
    "commonness": "how well the n-grams of the other documents predict this one; null without words",
    "prior_mean": "mean logarithm of its tokens' shares of the corpus, in nats; null without tokens",
    "prior_log_std": "standard deviation of these logarithms, 0 for a single token",
    "prior_std": "standard deviation of the shares themselves",
    "nll_sum": "nats of the predicted tokens",
    "token_count": "tokens of the whole text, which budgets and weights count",
    "scored_token_count": "predicted tokens; fewer only where `max_tokens` cuts",
    "nll_head": "nats of the first 32 predicted tokens",
    "truncated": "whether `max_tokens` cut the text",
    "error": "why the document has no score; null where it has one",
    "perplexity": "exp(nll_sum / scored_token_count); comparable under one tokenizer",
    "bits_per_byte": "nll_sum / (ln 2 * byte_count); comparable across tokenizers",
    "kept": "whether the document is written",
    "reason": "why it was dropped; null for kept ones",
    "weight": "expected copies; null for documents that a rule dropped",
    "copies": "how often it is written",
    "dropped_by": "the step that dropped it, `select.rules.2` for instance",
    "bucket": "head, middle or tail of its language by cut-offs; `all` without a perplexity or cut-offs",
    "language": "the most probable language",
    "language_score": "its probability",
    "classifier": "the probability of the classifier's label",
    "topic": 'the probability of the best label of a classifier with `label = "*"`',
    "topic_label": "that label; null for a text without a word",
    "rater": "what a model with one output gives, a quality rater's number; null for a text without content",
    "kind": 'the highest probability of a model with `label = "*"`',
    "kind_label": "the label that has it",
    "rater_truncated": "whether the model read only the beginning; null where it has not looked at the document",
    "kind_truncated": "the same of this model",
    "dsir": "log weight of the document's n-grams, target over raw",
    "dsir_per_ngram": "the same, divided by the number of n-grams",
    "dsir_sampled": "log weight plus Gumbel noise: `top` by it draws in proportion to the weights",
    "benchmark_overlap": "share of the document's n-grams that the benchmark has",
    "benchmark_item": "number of the benchmark's item that has most of them, from 0",
    "model_byte_count": "UTF-8 bytes of the text that was scored",
}
"""What columns say that no scorer of ours describes, by name, without the name of the model before it."""


def pages() -> dict[str, str]:
    """Returns the text of every reference page, by the name of its file."""
    texts = {"configuration.md": configuration_page(), "columns.md": columns_page(), "methods.md": methods_page()}
    return {name: f"{GENERATED}\n\n{text.rstrip()}\n" for name, text in texts.items()}


def _places(properties: Schema, names: Iterable[str], definitions: Schema) -> dict[str, list[str]]:
    """The tables below some keys, by class, in the order in which a reader meets them: the places of each."""
    places: dict[str, list[str]] = {}

    def visit(properties: Schema, keys: Iterable[str], above: str) -> None:
        for key in keys:
            for name, listed in _references(properties[key]):
                known = name in places
                places.setdefault(name, []).append(f"[[{above}{key}]]" if listed else f"[{above}{key}]")
                if not known:
                    inner = definitions[name].get("properties", {})
                    visit(inner, inner, f"{above}{key}.")

    visit(properties, names, "")
    return places


def _references(schema: Schema, listed: bool = False) -> Iterator[tuple[str, bool]]:
    """(class, whether a list of it) of every table that a key takes."""
    if "$ref" in schema:
        yield schema["$ref"].rsplit("/", 1)[-1], listed
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _references(part, listed)
    if "items" in schema:
        yield from _references(schema["items"], True)


def configuration_page() -> str:
    """Returns the page that lists every configuration key of a run, and of the commands beside it."""
    run = RunConfig.model_json_schema()
    keys = list(run["properties"])
    return "\n\n".join(
        [
            "# Configuration reference",
            "Every key of a run, with its type, its default and what it means. An unknown key is an error that names "
            "the nearest known one; `siftlm schema` prints the same as JSON schema, for editors.",
            "## Keys of the run",
            _keys(run, keys),
            *_sections(_places(run["properties"], keys, run["$defs"]), run["$defs"]),
            "## Tables of the correlation commands",
            "Beside those of a run; the guide to perplexity correlations says which command reads which.",
            *_beside(run, LoopConfig.model_json_schema()),
            "## Tables of a proof",
            "Beside those of a run, for `siftlm prove`; the guide to proofs says what they mean.",
            *_beside(run, ProofConfig.model_json_schema()),
            "## Tables of a mixture",
            "For `siftlm mix`, which reads nothing else; the guide to mixtures says what they mean.",
            *_beside({"properties": {}, "$defs": {}}, MixConfig.model_json_schema()),
        ]
    )


def _beside(run: Schema, schema: Schema) -> Iterator[str]:
    """The keys that a configuration has beside those of a run, and the tables in them."""
    more = [name for name in schema["properties"] if name not in run["properties"]]
    added = _places(schema["properties"], more, schema["$defs"])
    yield _keys(schema, more)
    yield from _sections({n: places for n, places in added.items() if n not in run["$defs"]}, schema["$defs"])


def _sections(tables: Mapping[str, Sequence[str]], definitions: Schema) -> Iterator[str]:
    shared = Counter(places[-1] for places in tables.values())
    for name, places in tables.items():
        properties = definitions[name].get("properties", {})
        tag = next((key for key in ("kind", "method") if "const" in properties.get(key, {})), None)
        kind = f', `{tag} = "{properties[tag]["const"]}"`' if tag and shared[places[-1]] > 1 else ""
        yield "### " + ", ".join(f"`{place}`" for place in dict.fromkeys(places)) + kind
        yield prose(definitions[name].get("description", ""))
        yield _keys(definitions[name], [key for key in properties if key not in ("kind", tag)])


def _keys(schema: Schema, names: Sequence[str]) -> str:
    required = schema.get("required", ())
    keys = {name: schema["properties"][name] for name in names}
    rows = [(f"`{n}`", type_words(k), _default(k, n in required), k.get("description", "")) for n, k in keys.items()]
    return grid(("key", "type", "default", "meaning"), rows)


def type_words(schema: Schema) -> str:
    """Returns a description in words of the values that a key takes, with their bounds."""
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if options := [part for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())) if part.get("type") != "null"]:
        return " or ".join(dict.fromkeys(map(type_words, options)))
    if "$ref" in schema:
        return "table"
    if schema["type"] == "array":
        words = type_words(schema["items"] if "items" in schema else schema["prefixItems"][0])
        return "list of tables" if words == "table" else f"list of {words}"
    named = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return named.get(schema["type"], "table") + _bounds(schema)


def _bounds(schema: Schema) -> str:
    words = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
    bounds = {text: schema[key] for key, text in words.items() if abs(schema.get(key, LARGE)) < LARGE}
    return "".join(f", {text.format(bound)}" for text, bound in bounds.items())


def _default(schema: Schema, required: bool) -> str:
    if required:
        return "must be set"
    return "" if schema.get("default") is None else f"`{json.dumps(schema['default'])}`"


def columns_page() -> str:
    """Returns the page that lists the steps of a run, their columns, and why they drop documents."""
    made = steps(parse(EVERYTHING, []))
    return "\n\n".join(
        [
            "# Columns reference",
            "The steps of a run in their order, with the columns that each adds. Rules, weights and `dedup.keep` may "
            "name every column of the steps before them; `data/` and `rejects/` hold all of them. Names that begin "
            "with `classifier`, `topic`, `rater`, `kind`, `dsir`, `benchmark` or `model` here begin with the `name` of "
            "your own table. Numbers of tokens are those of `per_document`.",
            *_steps(made),
            "## Where documents are dropped",
            "In this order; `dropped_by` in `rejects/` names the place, `reason` the reason.",
            grid(("place", "passes what"), [(f"`{loss.place}`", loss.text) for loss in losses(made)]),
        ]
    )


def _steps(made: Sequence[Step]) -> Iterator[str]:
    """A section a step, with the columns that no step before it has."""
    fixed = {DOCUMENTS: DOCUMENT_SCHEMA, DECISIONS: DECISION_SCHEMA}
    numbers = {name: number.meaning for name, number in NUMBERS.items()}
    known, listed = _signal_meanings() | numbers | MEANINGS, set(HIDDEN)
    for step in made:
        columns = [column for column in fixed.get(step.name, step.columns()) if column.name not in listed]
        listed.update(column.name for column in columns)
        yield f"## `{step.name}`"
        yield prose(inspect.getdoc(type(step)) or "")
        if columns:
            yield grid(("column", "type", "meaning"), [_column(column, known) for column in columns])


def _column(column: pa.Field, known: Mapping[str, str]) -> tuple[str, str, str]:
    meaning = known.get(column.name) or known.get(column.name.removeprefix("model_"), "")
    return f"`{column.name}`", re.sub("<.*", "", str(column.type)), meaning


def _signal_meanings() -> dict[str, str]:
    scorer = open_scorer(SignalsSettings())
    assert isinstance(scorer, SignalsScorer), f"not the text signals: {scorer}"
    return {signal.name: f"{signal.definition} ({signal.source})" for signal in scorer.signals()}


def methods_page() -> str:
    """Returns the page that lists all methods by kind, each with its description."""
    parts = [
        "# Methods",
        "What siftlm can do to a document, in the order in which a document meets it. Columns and reasons are those of "
        "an example, whose names begin otherwise in a run of yours. The configuration reference has their keys. The "
        "cost is what is done with every document: it is read; cut into tokens; read by a small model (linear, "
        "n-grams) or a large one (a transformer). `siftlm plan` measures how many documents a second that is. What is "
        "unchecked was recalled or chosen, for its source could not be read. `siftlm methods NAME` prints "
        "a configuration. [Measurements](../measurements.md#methods-side-by-side) has eleven of them side by side.",
    ]
    every = every_method()
    for name, kind in KINDS.items():
        of_kind = [method for method in every if method.kind == name]
        said = [column for column in SAID if any(getattr(method, column) for method in of_kind)]
        rows = [_method(method, said) for method in of_kind]
        parts += [f"## {kind.title}", kind.place, grid(("name", "what it does", *said, "source"), rows)]
    return "\n\n".join(parts)


def _method(method: Method, said: Sequence[str]) -> tuple[str, ...]:
    return f"`{method.name}`", method.words, *(_cell(getattr(method, name)) for name in said), method.paper


def _cell(value: str | tuple[str, ...]) -> str:
    """A sentence as it is, or names as code."""
    return value if isinstance(value, str) else ", ".join(f"`{name}`" for name in value)


def grid(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a table in Markdown from its head and its rows."""
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(prose(str(cell)).replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def prose(text: str) -> str:
    """Returns a docstring or description as Markdown, with `<` and `*` escaped outside of code."""
    signs = {"<": "&lt;", "*": "\\*"}
    return re.sub(r"`[^`]*`|[<*]", lambda match: signs.get(match[0], match[0]), text)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
