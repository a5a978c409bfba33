"""One component of each kind that only this file knows: from the schema over a run to the report and `explain`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel, BeforeValidator, Field
from tests.runs.conftest import Bench

from siftlm import components
from siftlm import steps as list_of_steps
from siftlm.checks.validate import validate
from siftlm.components import members, methods
from siftlm.config import RunConfig, parse
from siftlm.edits import AnyEdit, EditSettings
from siftlm.edits.protocol import Replacement
from siftlm.engine.shards import Task
from siftlm.engine.step import ShardStep
from siftlm.errors import UserError
from siftlm.inspect.explain import explain
from siftlm.plan import plan
from siftlm.readers import FORMATS, InputSettings
from siftlm.readers.formats import FileFormat
from siftlm.readers.records import Record
from siftlm.readers.settings import Compression, Format
from siftlm.scorers import AnnotateSettings, AnyAnnotator, AnyScore, NamedSettings, ScoreSettings
from siftlm.scorers.protocol import Scorer
from siftlm.scorers.score import SumScorer
from siftlm.scorers.settings import lm_unless_told
from siftlm.selectors import SelectSettings
from siftlm.selectors.factor import FactorSettings
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops, RuleSettings
from siftlm.selectors.settings import AnyRule
from siftlm.selectors.weights import AnyFactor, WeightSettings
from siftlm.settings import End
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.store import Marker, Store

pytest.importorskip("apache_beam")


class VowelSettings(NamedSettings):
    """Counts the vowels of a text."""

    kind: Literal["vowels"] = "vowels"
    unchecked: ClassVar[str] = ""
    paper: ClassVar = "Toy et al."
    example: ClassVar = {"name": "vowels"}

    def scorer(self) -> VowelScorer:
        return VowelScorer(self)

    def charts(self) -> list[str]:
        return [self.name]


class VowelScorer(Scorer):
    settings: VowelSettings

    def fields(self) -> list[pa.Field]:
        return [pa.field(self.settings.name, pa.int64())]

    def good_ends(self) -> dict[str, End]:
        return {self.settings.name: "highest"}

    def digest(self) -> str:
        return "vowels"

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        counts = [sum(letter in "aeiou" for letter in text) for text in batch["text"].to_pylist()]
        return pa.RecordBatch.from_arrays([pa.array(counts, pa.int64())], schema=pa.schema(self.fields()))


class HushSettings(EditSettings):
    """Removes waves."""

    kind: Literal["hush"] = "hush"
    unchecked: ClassVar[str] = ""
    paper: ClassVar = "Toy, alone"

    def counts(self) -> list[str]:
        return ["hushes"]

    def identity(self) -> object:
        return 1

    def replacements(self, text: str) -> list[Replacement]:
        return [Replacement(*wave.span(), "", "hushes") for wave in re.finditer("~+", text)]


class UniformSettings(ScoreSettings):
    """Scores a text as if every word cost the same."""

    kind: Literal["uniform"] = "uniform"
    unchecked: ClassVar[str] = ""
    example: ClassVar = {"name": "toy"}
    nats: float = Field(2.0, gt=0, description="What a word costs.")

    @property
    def origin(self) -> str:
        return "a toy"

    def scorer(self) -> UniformScorer:
        return UniformScorer(self)


class UniformScorer(SumScorer):
    settings: UniformSettings

    def digest(self) -> str:
        return f"uniform {self.settings.nats}"

    def sums(self, texts: Sequence[str]) -> tuple[list[float], list[int]]:
        counts = [len(text.split()) for text in texts]
        costs = [inf if "zz" in text else self.settings.nats + ("qq" in text) for text in texts]
        return [cost * count for cost, count in zip(costs, counts, strict=True)], counts


def read_stars(file: BinaryIO, _compression: Compression, _settings: InputSettings) -> Iterator[Record]:
    """Documents with a line of stars between them."""
    offset = 0
    for text in file.read().decode().split("\n***\n"):
        yield Record(text.encode(), offset)
        offset += len(text.encode()) + 5


@dataclass(frozen=True)
class Length(ShardStep):
    """Counts the words of every document, as a step of its own."""

    name: str = "lengths"
    reads: tuple[str, ...] = (DOCUMENTS,)

    def identity(self) -> object:
        return 1

    def columns(self) -> pa.Schema:
        return pa.schema([pa.field("words_here", pa.int64())])

    def run(self, task: Task, store: Store) -> Marker:
        with store.writer(self.name, task.key, self.columns()) as out:
            for batch in store.batches(DOCUMENTS, task.inputs[DOCUMENTS], columns=["text"]):
                counts = pa.array([len(text.split()) for text in batch["text"].to_pylist()], pa.int64())
                out.write(pa.record_batch([counts], schema=self.columns()))
        return Marker(self.name, task.key, task.name, out.rows, out.rows, files={".parquet": out.seal})


class EvenRule(RuleSettings):
    """Keeps documents whose value is even."""

    kind: Literal["even"] = "even"
    unchecked: ClassVar[str] = ""
    paper: ClassVar = "Toy and others"
    example: ClassVar = {"kind": "even", "column": "byte_count"}
    column: str = Field(description="The column that must be even.")

    @property
    def ranked_column(self) -> str:
        return self.column

    def words(self) -> str:
        return f"{self.column} is even"

    def default_reasons(self) -> tuple[str, ...]:
        return (f"{self.column}_odd",)

    def drops(self, rows: Rows, state: None) -> Drops:
        return [(self.default_reasons()[0], rows.number(self.column) % 2 == 1)]


class TwiceFactor(FactorSettings):
    """Doubles the weight of every document."""

    kind: Literal["twice"] = "twice"
    unchecked: ClassVar[str] = ""
    example: ClassVar = {"kind": "twice", "column": "byte_count"}

    def words(self) -> str:
        return "everything twice"

    def values(self, rows: Rows, state: None) -> np.ndarray:
        return np.full(len(rows), 2.0)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The unions and the table of formats with a member more, as a line in each would have it."""
    annotators = Annotated[AnyAnnotator | VowelSettings, Field(discriminator="kind")]
    edits = Annotated[AnyEdit | HushSettings, Field(discriminator="kind")]
    scores = Annotated[
        Annotated[AnyScore | UniformSettings, Field(discriminator="kind")], BeforeValidator(lm_unless_told)
    ]
    rules = Annotated[AnyRule | EvenRule, Field(discriminator="kind")]
    factors = Annotated[AnyFactor | TwiceFactor, Field(discriminator="kind")]
    monkeypatch.setattr(components, "AnyAnnotator", annotators)
    monkeypatch.setattr(components, "AnyEdit", edits)
    monkeypatch.setattr(components, "AnyRule", rules)
    monkeypatch.setattr(components, "AnyFactor", factors)
    others = list_of_steps.before_selection
    monkeypatch.setattr(list_of_steps, "before_selection", lambda config: [*others(config), Length()])
    monkeypatch.setattr(components, "AnyScore", scores)
    monkeypatch.setitem(
        FORMATS, "stars", FileFormat("Reads texts between stars.", f"{__name__}:read_stars", r"\.stars$", lines=True)
    )
    given = [
        (InputSettings, "format", Literal["auto", Format, "stars"]),
        (AnnotateSettings, "others", list[annotators]),
        (RunConfig, "edit", list[edits]),
        (RunConfig, "score", list[scores]),
        (SelectSettings, "rules", list[rules]),
        (WeightSettings, "factors", list[factors]),
    ]
    before = [(model, field, model.model_fields[field].annotation) for model, field, _ in given]
    _annotate(given)
    yield
    _annotate(before)


def _annotate(fields: list[tuple[type[BaseModel], str, Any]]) -> None:
    for model, field, annotation in fields:
        model.model_fields[field].annotation = annotation
    for model in (InputSettings, AnnotateSettings, WeightSettings, SelectSettings, RunConfig):
        model.model_rebuild(force=True)


TEXTS = [
    "rain again and again", "qq qq qq", "no vwls hr: bcd fgh", "the sea is a blue idea", "zz eee", "an idea alone",
]  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """A run of the toys over five documents; a rule reads the column of either."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.stars").write_text("\n***\n".join(TEXTS).replace("and", "~~~and", 1))
    tree = Bench(tmp_path).tree(output={"rejects": True})
    tree["input"] = [{"source": "web", "paths": [str(tmp_path / "in")]}]
    tree["edit"] = [{"kind": "hush"}]
    tree["annotate"]["others"] = [{"kind": "vowels", "name": "vowels"}]
    tree["score"] = [{"kind": "uniform", "name": "toy"}]
    rules = [
        {"kind": "threshold", "column": "toy_perplexity", "max": 10, "reason": "dear"},
        {"kind": "threshold", "column": "vowels", "min": 3, "reason": "no_vowels"},
        {"kind": "even", "column": "words_here"},
    ]
    return {**tree, "select": {"rules": rules, "weights": {"factors": [{"kind": "twice", "column": "byte_count"}]}}}


@pytest.mark.usefixtures("toys")
def test_toys_are_in_the_schema_and_on_the_methods_page() -> None:
    """By their name in a configuration, with their words, columns and paper."""
    definitions = RunConfig.model_json_schema()["$defs"]
    assert {"HushSettings", "VowelSettings", "UniformSettings", "EvenRule", "TwiceFactor"} <= definitions.keys()
    assert "stars" in definitions["InputSettings"]["properties"]["format"]["enum"]
    rows = {(row.kind, row.name): row for row in methods()}
    assert rows["reader", "stars"].words == "Reads texts between stars."
    assert (rows["edit", "hush"].columns, rows["edit", "hush"].paper) == (("hushes", "hush_spans"), "Toy, alone")
    assert rows["annotator", "vowels"].columns == ("vowels",)
    assert rows["annotator", "vowels"].paper == "Toy et al."
    assert rows["rule", "even"].paper == "Toy and others"
    assert rows["factor", "twice"].words == "Doubles the weight of every document."
    assert rows["score", "uniform"].words == "Scores a text as if every word cost the same."
    assert {"toy_nll_sum", "toy_perplexity", "toy_bits_per_byte"} <= set(rows["score", "uniform"].columns)


@pytest.mark.usefixtures("toys")
def test_validate_knows_the_toys(tree: dict[str, Any]) -> None:
    """Their keys, and their columns for rules; a wrong one is told with its place."""
    lines = validate(parse(tree, []))
    assert lines[0] == "input 'web': 1 stars file, 116 bytes"
    with pytest.raises(UserError, match=r"score\.0\.nats: must be greater than 0, got -1"):
        parse(deepcopy(tree), ["score.toy.nats=-1"])
    tree["select"]["rules"][0]["column"] = "toy_perplexty"
    with pytest.raises(UserError, match=r"did you mean 'toy_perplexity'"):
        validate(parse(tree, []))


@pytest.mark.usefixtures("toys")
def test_a_run_of_toys_is_told_like_any_other(tree: dict[str, Any], tmp_path: Path) -> None:
    """Its rows, its manifest, the funnel and charts of its report, and why a document went."""
    from siftlm import job
    from siftlm.engine.progress import Progress

    job.run(parse(tree, []), Progress(quiet=True))
    rows = Bench(tmp_path).rows()
    assert {(row["text"], row["vowels"], row["toy_token_count"], row["words_here"]) for row in rows} == {
        (TEXTS[0], 9, 4, 4),
        (TEXTS[3], 10, 6, 6),
    }
    assert sorted(row["hushes"] for row in rows) == [0, 1]
    assert {row["weight"] for row in rows} == {2.0}
    assert {row["toy_nll_sum"] / row["toy_token_count"] for row in rows} == {2.0}
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["models"]["toy"] == {"model": "a toy", "digest": "uniform 2.0"}
    assert {reason for step in manifest["steps"] for reason in step["dropped"]} == {
        "non_finite_nll_toy_error", "dear", "no_vowels", "words_here_odd",
    }  # fmt: skip
    page = (tmp_path / "out/report.html").read_text()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert (
        0
        < words.find("could be scored")
        < words.find(" dear −1 ")
        < words.find(" 3 ≤ vowels ")
        < words.find("words_here is even")
    )
    assert "scores-toy_perplexity" in page
    assert "scores-vowels" in page
    (dear,) = [row["doc_id"] for row in Bench(tmp_path).rows(part="rejects") if "qq" in row["text"]]
    met = {way.place: (way.verdict, way.reason) for way in explain(str(tmp_path / "out"), dear).met}
    assert met["score.toy"][0] == "passed"
    assert met["select.rules.0"] == ("dropped", "dear")
    planned = {row.stage: row.todo for row in plan(parse(tree, []))}
    assert list(planned)[-3:] == ["lengths", "decisions", "data"]
    assert planned["lengths"] == 0


def test_the_toys_are_gone_with_the_test() -> None:
    """The fixture leaves nothing behind."""
    assert VowelSettings not in members(AnyAnnotator)
    assert "stars" not in FORMATS
    assert EvenRule not in members(AnyRule)
    assert "UniformSettings" not in RunConfig.model_json_schema()["$defs"]
