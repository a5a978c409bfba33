"""Keys: a reused store gives the bytes of a fresh one, whatever setting has changed in between."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from siftlm.config import RunConfig, parse
from siftlm.patterns import InputFile
from siftlm.scorers.document_model import SAME_VALUES
from siftlm.scorers.lm import SAME_NUMBERS
from siftlm.scorers.token_masks import TokenMask
from siftlm.selectors.settings import PublishedPreset
from siftlm.stages.ingest import shards as shards_of
from siftlm.stages.inputs import Fingerprinted
from siftlm.stages.reference import NgramReferenceSettings, ReferenceJobSettings
from siftlm.steps import steps
from siftlm.store import Marker, Store

pytest.importorskip("apache_beam")
RULES: list[dict[str, Any]] = [
    {"kind": "threshold", "column": "byte_count", "min": 1, "when": {"source": ["web"]}},
    {"kind": "band", "column": "byte_count", "criterion": "medium", "rate": 0.5, "when": {"source": ["web"]}},
    {"kind": "top", "column": "byte_count", "rate": 0.5, "when": {"source": ["web"]}},
    {"kind": "sample", "rate": 0.5, "when": {"source": ["web"]}},
    {"kind": "gaussian", "column": "byte_count", "rate": 0.5, "when": {"source": ["web"]}},
    {"kind": "stepwise", "column": "byte_count", "rate": 0.5, "when": {"source": ["web"]}},
]
FACTORS: list[dict[str, Any]] = [
    {"kind": "column", "column": "byte_count"},
    {"kind": "table", "column": "source", "table": {"web": 1.0}},
    {"kind": "segments", "column": "word_count"},
]
FIRST = {
    "input": "documents",
    "annotate.language": "signals",
    "annotate.signals": "signals",
    "annotate.classifiers": "signals",
    "annotate.dsir": "signals",
    "annotate.contamination": "signals",
    "annotate.python": "signals",
    "annotate.others": "signals",
    "annotate.models": "models/rater",
    "input.columns": "fields",
    "edit": "edit",
    "join": "join/0",
    "columns": "derived",
    "dedup.shingles": "signals",
    "dedup.signatures": "signals",
    "dedup.near": "signals",  # which has bands for it or not
    "dedup.paragraphs": "paragraphs",
    "dedup.commonness": "commonness",
    "dedup": "clusters",
    "prior": "prior/common",
    "reference": "reference",
    "preselect": "eligible",
    "score": "scores/tiny",
    "select": "decisions",
    "seed": "paragraphs",
}
"""The first stage whose key must be another one where a setting below a prefix is; the longest prefix counts."""
SAME = {
    "input.paths": "the content counts, not where it is",
    "input.shard_bytes": "how the work is cut",
    "annotate.classifiers.path": "the content counts",
    "annotate.dsir.path": "the content counts",
    "annotate.contamination.path": "the content counts",
    "annotate.others.path": "the content counts",
    "annotate.python.folder": "the content counts",
    "annotate.python.trust_python": "another value is refused",
    "annotate.language.path": "the content counts",
    "join.path": "the content counts",
    **{f"{rules}.not_in.path": "the content counts" for rules in ("preselect", "select.rules")},
    "dedup.shingles.similarity": "only chooses bands and rows",
    "dedup.shingles.permutations": "only chooses bands and rows",
    "dedup.partitions": "how the work is cut",
    "dedup.against": "the earlier runs' outputs count, not their folders",
    "prior.name": "names the step itself",
    "prior.tokenizer": "the content counts",
    "prior.revision": "the content counts",
    "reference.threads": "how the work is done",
    "select.entry_limit": "exact whatever the memory",
    "name": "is in the metadata of the written files alone",
    "duplicate_ids": "whether the run goes on",
    "store": "a place",
    "metrics_file": "a place",
    "output": "the written files alone, which are compared below",
    "runner": "how the work is done",
    **{f"score.{name}": "decides no number" for name in SAME_NUMBERS},
    **{f"annotate.models.{name}": "decides no value" for name in SAME_VALUES},
}
CONTENTS = {"classifiers": "model.bin", "dsir": "dsir.npz", "contamination": "items.jsonl", "python": "mine.py"}


def everything(root: Any) -> RunConfig:
    """A configuration with a member of every table."""
    (root / "list.txt").write_text("a.com\n")
    table = {"kind": "domains", "path": str(root / "list.txt")}
    rules = [*RULES, {"kind": "threshold", "column": "source", "not_in": table, "when": {"source": ["web"]}}]
    tree: dict[str, Any] = {
        "name": "all",
        "input": [{"source": "web", "paths": [str(root)], "columns": {"quality": "float"}}],
        "edit": [{"kind": "repair"}, {"kind": "pii"}],
        "join": [{"path": str(root / "table.csv"), "columns": ["edu"]}],
        "columns": [{"name": "double", "expr": "edu * 2"}],
        "annotate": {
            "classifiers": [{"name": "good", "path": str(root / "model.bin"), "label": "x"}],
            "dsir": [{"name": "dsir", "path": str(root / "dsir.npz")}],
            "contamination": [{"name": "quiz", "path": str(root / "items.jsonl")}],
            "python": [
                {
                    "name": "mine",
                    "function": "mine:f",
                    "columns": {"x": "int"},
                    "folder": str(root),
                    "trust_python": True,
                }
            ],
            "models": [{"name": "rater", "model": str(root / "lm"), "device": "cpu"}],
            "others": [{"kind": "classifier", "name": "bad", "path": str(root / "model.bin"), "label": "y"}],
        },
        "dedup": {"paragraphs": {}, "commonness": {}},
        "prior": [{"name": "common", "tokenizer": str(root / "lm")}],
        "reference": {},
        "preselect": [rule for rule in rules if rule["kind"] in ("threshold", "sample")],
        "score": [{"name": "tiny", "model": str(root / "lm"), "device": "cpu"}],
        "select": {"rules": rules, "weights": {"factors": FACTORS}},
        "output": {"folder": str(root / "out")},
    }
    (root / "table.csv").write_text("doc_id,url,edu,quiz,x\na,b,1,2,3\n")
    for name in CONTENTS.values():
        (root / name).write_bytes(b"the content")
    (root / "lm").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (root / "lm" / name).write_bytes(b"{}")
    return parse(tree, [])


def keys(config: RunConfig, until: str = "") -> dict[str, Any]:
    """The key of every step before one, where the content of an output is its key."""
    files = {config.input[0].source: [Fingerprinted(InputFile("a.jsonl", 1), "content", "")]}
    shards, found, store = shards_of(config.input, files), {}, Store(config.store_folder)
    for step in steps(config):
        if step.name == until:
            break
        tasks = step.tasks(shards, store)
        found[step.name] = tasks[0].key
        shards = step.outputs(shards, tasks, [Marker(step.name, t.key, "", 0, 0, facts={"shards": {}}) for t in tasks])
    return found


def changed(value: Any, path: str, kind: Any = None) -> Iterator[tuple[str, Any]]:
    """(dotted setting, the tree with another value there) for every setting."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            if name != "kind":
                below = f"{path}.{name}" if path else name
                for where, other in changed(getattr(value, name), below, field.annotation):
                    yield where, value.model_copy(update={name: other})
    elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
        for index, element in enumerate(value):
            for where, other in changed(element, path):
                yield where, [*value[:index], other, *value[index + 1 :]]
    elif isinstance(value, bool):
        yield path, not value
    elif isinstance(value, int):
        yield path, value + 1
    elif isinstance(value, float):
        yield path, value * 0.875 or 0.5
    elif isinstance(value, list):
        known = {
            "score.per_token": "nll",
            "score.per_document": "nll_mean",
            "score.token_masks": TokenMask(name="hard", above=2.5),
        }
        yield path, value[:-1] if len(value) > 1 else [*value, known.get(path, "quiz")]
    elif isinstance(value, dict):
        yield path, {**value, "another": next(iter(value.values()), 2.0)}
    elif value is None and {int, float} & set(typing.get_args(kind)):
        yield path, 17
    elif path == "reference.ngram":
        yield path, NgramReferenceSettings()
    elif path.endswith(".expr"):
        yield path, f"{value} + 1"
    elif path.endswith(".device"):
        yield path, "cuda"
    elif value is None and path == "select.preset":
        yield path, PublishedPreset(name="gopher")
    elif typing.get_origin(kind) is typing.Literal:
        yield path, next(other for other in typing.get_args(kind) if other != value)
    else:
        yield path, f"{value or ''}x"


def test_the_number_of_a_device_is_in_no_key(tmp_path: Any) -> None:
    """Of a score and of a rater: equal devices give equal bytes. CPU and CUDA do not."""
    config = everything(tmp_path)

    def on(device: str) -> dict[str, Any]:
        score = [config.score[0].model_copy(update={"device": device})]
        models = [config.annotate.models[0].model_copy(update={"device": device})]
        annotate = config.annotate.model_copy(update={"models": models})
        return keys(config.model_copy(update={"score": score, "annotate": annotate}))

    assert on("cuda") == on("cuda:0") == on("cuda:7")
    for step in ("scores/tiny", "models/rater"):
        assert len({on(device)[step] for device in ("cuda", "cpu", "auto")}) == 3


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_setting_is_in_the_key_of_the_first_stage_that_it_matters_to(tmp_path: Any) -> None:
    """And in no earlier one. A setting that neither table knows fails here, so that new ones are thought of."""
    config = everything(tmp_path)
    before = keys(config)
    order = list(before)
    seen = set()
    for path, other in changed(config, ""):
        seen.add(path)
        if any(path == name or path.startswith(f"{name}.") for name in SAME):
            continue
        prefix = max((name for name in FIRST if path == name or path.startswith(f"{name}.")), key=len, default=None)
        assert prefix is not None, f"{path} is in neither table"
        after = keys(other)
        first = FIRST[prefix]
        assert after.get(first) != before[first], path  # there may be none of that name
        earlier = order[: order.index(first)]
        assert {stage: after[stage] for stage in earlier} == {stage: before[stage] for stage in earlier}, path
    assert {name for name in SAME if not any(p == name or p.startswith(f"{name}.") for p in seen)} <= {"score.name"}


@pytest.mark.parametrize("name", sorted(CONTENTS.values()))
def test_the_content_of_a_file_is_in_the_key(tmp_path: Any, name: str) -> None:
    """Another model under the same path is another one."""
    config = everything(tmp_path)
    before = keys(config)["signals"]
    (tmp_path / name).write_bytes(b"another content")
    assert keys(config)["signals"] != before


def test_the_action_on_duplicates_is_in_the_keys_of_the_models_that_a_run_trains(tmp_path: Any) -> None:
    """With "annotate" duplicates train too, though the clusters are the same."""
    config = everything(tmp_path)
    assert config.dedup is not None
    other = config.model_copy(update={"dedup": config.dedup.model_copy(update={"action": "annotate"})})
    assert keys(other)["reference"] != keys(config)["reference"]


def test_what_decides_a_fold_and_its_models_is_in_their_keys(tmp_path: Any) -> None:
    """The memory of n-grams and the threads are not; the seed of a copy is its own."""
    config = everything(tmp_path)

    def of(**settings: Any) -> dict[str, Any]:
        reference = ReferenceJobSettings.model_validate({"folds": 2, "copies": 2, "ngram": {}, **settings})
        awaiting = config.score[0].model_copy(update={"model": "trained"})
        return keys(config.model_copy(update={"reference": reference, "score": [awaiting]}), until="scores/tiny")

    before = of()
    neural = {f"references/fold{fold}.copy{copy}" for fold in range(2) for copy in range(2)}
    ngrams = {f"ngram_references/fold{fold}" for fold in range(2)}
    assert neural | ngrams | {"folds"} <= set(before)
    assert len({before[name] for name in neural | ngrams}) == 6
    for same in ({"threads": 3}, {"ngram": {"memory": "1GB", "processes": 2}}):
        assert of(**same) == before
    for name, changes in {
        "ngram_references/fold0": ({"ngram": {"order": 3}}, {"ngram": {"max_bytes": 10}}),
        "references/fold0.copy1": ({"seed": 5}, {"epochs": 1.0}, {"max_bytes": 10}),
        "folds": ({"folds": 3},),
    }.items():
        for change in changes:
            assert of(**change)[name] != before[name], change


VARIANTS: dict[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "text_field": {"input": {"text_field": "other"}},
    "exact": {"dedup": {"exact": False}},
    "near": {"dedup": {"near": False}},
    "keep": {"dedup": {"keep": "position"}},
    "action": {"dedup": {"action": "annotate"}},
    "verify": {"dedup": {"verify": 0.9}},
    "shingles": {"dedup": {"shingles": {"ngram": 2}}},
    "unit": {"dedup": {"paragraphs": {"unit": "paragraph", "min_bytes": 10}}},
    "cut_all": {"dedup": {"paragraphs": {"keep": "none", "min_bytes": 10}}},
    "prior": {"dedup": {"commonness": {"prior": 3.0}}},
    "rules": {"select": {"rules": [RULES[3]]}},
    "shuffle": {"output": {"shuffle": True, "rejects": True}},
    "shard_bytes": {"output": {"shard_bytes": 1 << 16, "rejects": True}},
    "compression": {"output": {"compression_level": 9, "rejects": True}},
    "row_groups": {"output": {"row_group_bytes": 1 << 12, "rejects": True}},
}


def settings_of(bench: Any, change: dict[str, Any]) -> dict[str, Any]:
    base: dict[str, Any] = {
        "dedup": {"paragraphs": {"min_bytes": 10}, "commonness": {"bits": 10}},
        "select": {"rules": [RULES[1]]},
        "output": {"rejects": True},
    }
    (source,) = bench.tree()["input"]
    given = {name: {**base.get(name, {}), **value} for name, value in change.items() if isinstance(value, dict)}
    given["input"] = [{**source, **change.get("input", {})}]
    return {**base, **change, **given}


def test_what_was_published_tells_of_the_inputs_and_settings_of_now(bench: Any, without_pictures: None) -> None:
    """Inputs with other names, a file more that is skipped, a price: the documents stay as they lie there."""
    for name in "ab":
        bench.shard(f"{name}.jsonl", [{"id": name, "text": f"a text of {name}"}, "{"])

    def rename() -> None:
        (bench.root / "in/b.jsonl").rename(bench.root / "in/c.jsonl")

    def move() -> None:
        (bench.root / "in").rename(bench.root / "moved")

    (source,) = bench.tree()["input"]
    moved = {"input": [{**source, "paths": [str(bench.root / "moved")]}]}
    changes: list[tuple[Any, dict[str, Any]]] = [
        (rename, {}),
        (lambda: bench.shard("LICENSE", ["text"]), {}),
        (lambda: None, {"runner": {"hour_price": 2.0}}),
        (move, moved),
    ]
    bench.run("reused")
    written = bench.root / "reused/data/part-00000-of-00001.parquet"
    at_first = written.stat().st_mtime_ns
    for number, (change, settings) in enumerate(changes):
        change()
        fresh = f"fresh{number}"
        told, new = bench.run("reused", **settings).manifest, bench.run(fresh, **settings).manifest
        assert bench.errors("reused") == bench.errors(fresh)
        for name in ("inputs", "skipped", "errors"):
            assert told[name] == new[name], name
        assert told["config"]["runner"] == new["config"]["runner"]
        assert bench.run("reused", **{**settings, "runner": {**settings.get("runner", {}), "threads": 1}}).unchanged
    assert written.stat().st_mtime_ns == at_first


def test_a_reused_store_gives_the_bytes_of_a_fresh_one(
    bench: Any, monkeypatch: pytest.MonkeyPatch, without_pictures: None
) -> None:
    """One store takes every variant in turn; the report, which no byte of data/ depends on, is left out."""
    from siftlm import job

    monkeypatch.setattr(job, "check_config", lambda _: None)
    words = "one two three four five six seven eight nine ten"
    for name in "ab":
        rows = [
            {
                "id": f"{name}{n}",
                "text": f"{words}\n{name if n % 3 else ''} {n % 7}\n\n{n % 5} {words}",
                "other": f"{n}",
            }
            for n in range(40)
        ]
        bench.shard(f"{name}.jsonl", rows)
    bench.run("reused", **settings_of(bench, {}))
    different = 0
    calm = bench.content("reused")
    for name, change in VARIANTS.items():
        settings = settings_of(bench, change)
        bench.run("reused", **settings)
        bench.run(f"fresh-{name}", **settings)
        assert bench.content("reused") == bench.content(f"fresh-{name}"), name
        different += bench.content("reused") != calm
    assert different > len(VARIANTS) // 2
