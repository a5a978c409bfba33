"""Reads and checks the configuration of a run, and names the key of every mistake in it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from siftlm.derived.settings import ColumnSettings
from siftlm.edits import AnyEdit
from siftlm.engine.runner import RunnerSettings
from siftlm.errors import UserError
from siftlm.paths import WrittenPath, given, readable
from siftlm.readers.encodings import marked, undecodable
from siftlm.readers.settings import InputSettings, column_name
from siftlm.scorers import AnnotateSettings, AnyScore, NamedSettings, ScorerSettings, ScoreSettings, open_scorer
from siftlm.scorers.ngram_lm import NgramModelSettings
from siftlm.scorers.score import TRAINED
from siftlm.selectors import PRESETS, RowRule, SelectSettings
from siftlm.settings import FOLDER, End, Settings
from siftlm.stages.commonness.work import GOOD_ENDS as COMMONNESS_ENDS
from siftlm.stages.dedup.settings import DedupSettings
from siftlm.stages.eligible import Split
from siftlm.stages.join.settings import JoinSettings
from siftlm.stages.prior.settings import PriorSettings
from siftlm.stages.reference import ReferenceJobSettings
from siftlm.stages.write import OutputSettings
from siftlm.validation import explain, followed

Model = TypeVar("Model", bound=BaseModel)
_NAMES = ("name", "source", "column")
"""Keys of an element that `--set` knows it by."""
ELSEWHERE = frozenset(
    {"family", "benchmark", "matrix", "correlate", "project", "classifier", "dsir", "distil", "prove"}
)
"""Tables of a run's file that other commands read: each command leaves those of the others to them."""


class RunConfig(Settings):
    """Configures one complete run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Name of the run.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of every keyed hash: sampling, splits and the shuffle.")
    input: list[InputSettings] = Field(min_length=1, description="Where documents come from, one table a source.")
    edit: list[AnyEdit] = Field(
        default_factory=list, description="What is replaced in every text before anything else is made of it, in order."
    )
    annotate: AnnotateSettings = Field(default_factory=AnnotateSettings)
    prior: list[PriorSettings] = Field(
        default_factory=list, description="How frequent each document's tokens are in the whole corpus."
    )
    join: list[JoinSettings] = Field(default_factory=list, description="Tables whose columns documents get.")
    dedup: DedupSettings | None = Field(None, description="Exact and near-duplicate removal; left out, none is done.")
    reference: ReferenceJobSettings | None = Field(
        None, description=f'A reference model to train first; a score table uses it as model = "{TRAINED}".'
    )
    preselect: list[RowRule] = Field(
        default_factory=list, description="Cheap rules on signals that decide which documents are scored at all."
    )
    score: list[AnyScore] = Field(default_factory=list, description="Language models, each scoring what survives.")
    columns: list[ColumnSettings] = Field(
        default_factory=list, description="Columns that formulas compute from the others, in this order."
    )
    select: SelectSettings = Field(
        default_factory=SelectSettings, description="Rules, read top to bottom, and weights."
    )
    output: OutputSettings
    store: WrittenPath | None = Field(
        None, description="Folder of stage outputs, shared by runs; default <output.folder>/store."
    )
    metrics_file: WrittenPath | None = Field(
        None, description="A text file with the progress in Prometheus's format, rewritten while the run works."
    )
    duplicate_ids: Literal["make_unique", "refuse"] = Field(
        "make_unique",
        description="Documents that came with one id: all but one get `#` and a hash of their text behind it, and "
        "copies of a text a number; or the run stops once it has read them.",
    )
    runner: RunnerSettings = Field(default_factory=RunnerSettings)

    @field_validator("input")
    @classmethod
    def _sources_differ(cls, inputs: list[InputSettings]) -> list[InputSettings]:
        sources = [settings.source for settings in inputs]
        if len(set(sources)) < len(sources):
            raise ValueError(f"sources must differ, got {sources}")
        return inputs

    @field_validator("input")
    @classmethod
    def _columns_agree(cls, inputs: list[InputSettings]) -> list[InputSettings]:
        kinds: dict[str, str] = {}
        for settings in inputs:
            for path, kind in settings.columns.items():
                if kinds.setdefault(column_name(path), kind) != kind:
                    raise ValueError(
                        f"columns of one name must have one type, got {path!r} as {kinds[column_name(path)]} and {kind}"
                    )
        return inputs

    @field_validator("edit")
    @classmethod
    def _edits_differ(cls, edits: list[AnyEdit]) -> list[AnyEdit]:
        kinds = [settings.kind for settings in edits]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"kinds must differ, got {kinds}")
        return edits

    @model_validator(mode="after")
    def _fits_together(self) -> RunConfig:
        scorers = (*self.score, *self.annotate.scorers())
        names = [settings.name for settings in scorers if isinstance(settings, NamedSettings)]
        names += [settings.name for settings in self.prior]
        if len(set(names)) < len(names):
            raise ValueError(f"names of models, classifiers, benchmarks and priors must differ, got {names}")
        for settings in self.score:
            if problem := self._untrained(settings):
                raise ValueError(f"score.{settings.name}: {problem}")
        return self

    def _untrained(self, settings: ScoreSettings) -> str | None:
        """What keeps the run from training the model that a score awaits."""
        if not settings.awaited:
            return None
        if self.reference is None:
            return f'a model that is "{TRAINED}" needs a [reference] table'
        if isinstance(settings, NgramModelSettings):
            if self.reference.ngram is None:
                return f'path = "{TRAINED}" needs a [reference.ngram] table'
            for key in ("normalise", "unit", "pieces"):
                if (own := getattr(settings, key)) != (theirs := getattr(self.reference.ngram, key)):
                    return f"{key} must be that of [reference.ngram], {theirs!r}, got {own!r}"
        elif self.reference.copies > 1 and settings.masks:
            return "token_masks must be left out with reference.copies, whose mean has no mask"
        return None

    @property
    def store_folder(self) -> str:
        return self.store or f"{self.output.folder}/store"

    @property
    def own_places(self) -> list[str]:
        """Returns the paths that a run writes to, and so never reads as its input."""
        return [self.output.folder, self.store_folder, *([self.metrics_file] if self.metrics_file else [])]

    def scorers(self) -> tuple[ScorerSettings, ...]:
        """Returns the settings of all annotators, what deduplication needs included."""
        return (*self.annotate.scorers(), *(self.dedup.scorers() if self.dedup else ()))

    def signals(self) -> tuple[ScorerSettings, ...]:
        """Returns the settings of all that the annotate step computes: of all annotators but models."""
        return tuple(settings for settings in self.scorers() if settings not in self.annotate.by_model())

    def formulas(self) -> list[tuple[str, ColumnSettings]]:
        """Returns (place in the configuration, column) for the preset's columns, then for those of `columns`.

        Raises:
            UserError: the preset needs a score that the run does not have, or one of several.
        """
        preset, classifiers = self.select.preset, [settings.name for settings in self.annotate.classifiers]
        given = ((f"columns.{number}", column) for number, column in enumerate(self.columns))
        if preset is None:
            return list(given)
        scores = [settings.name for settings in self.score]
        made = preset.columns(scores, classifiers, languages=self.annotate.language is not None)
        return [*((PRESETS, column) for column in made), *given]

    def selection(self) -> SelectSettings:
        """Returns the rules and weights, completed with the run's seed and the good ends of columns."""
        seeded = self.select.model_copy(update={"seed": self.select.seed or self.seed})
        return seeded.following(self.good_ends())

    def benchmark_facts(self) -> dict[str, dict[str, int]]:
        """Counts for every benchmark its items, those found only whole, and those not found in longer texts."""
        looking = [(overlap.name, s) for s in self.annotate.scorers() if (overlap := s.overlap())]
        return {name: open_scorer(settings).facts() for name, settings in looking}

    def good_ends(self) -> dict[str, End]:
        """Returns for each column whether its highest or its lowest values are good, where that is known."""
        makers = (open_scorer(settings) for settings in (*self.scorers(), *self.score))
        known: dict[str, End] = {name: end for maker in makers for name, end in maker.good_ends().items()}
        return known | (COMMONNESS_ENDS if self.dedup and self.dedup.commonness else {})

    def perplexities(self) -> dict[str, str]:
        """Returns the columns that are perplexities, in the order of the scores, each with its score's name."""
        return {column: settings.name for settings in self.score for column in settings.perplexities()}

    def charts(self) -> list[str]:
        """Returns the columns whose distribution the report always draws: the first of every method, then the rest.

        Those of scores come first.
        """
        every = [settings.charts() for settings in (*self.score, *self.annotate.scorers())]
        every += [[f"{settings.name}_mean"] for settings in self.prior]
        return [*(of[0] for of in every if of), *(column for of in every for column in of[1:])]

    def split(self) -> Split:
        """Returns which documents are dropped before any rule, and which of these train a model."""
        holdout = self.reference.held_out if self.reference else 0.0
        return Split(holdout, self.seed, self.dedup is not None and self.dedup.drops)


def load(path: str, overrides: list[str] | None = None) -> RunConfig:
    """Returns the configuration in a TOML file, with `key=value` overrides applied; raises UserError."""
    return parse(read_toml(path), overrides or [], path)


def read_toml(path: str) -> dict[str, Any]:
    """Returns the content of a TOML file as nested tables; raises UserError.

    The file is in UTF-8, or in what its byte order mark says.
    """
    place = given("command line: CONF", path, readable)
    try:
        content = Path(place).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: must be a configuration file, got nothing there") from None
    except OSError as error:
        raise UserError(f"{path}: must be a file that can be read, got {error}") from None
    try:
        encoding, mark = marked(content) or ("utf-8", 0)
        return tomllib.loads(content[mark:].decode(encoding).removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        _, detail = undecodable(content, error.start, "the file")
        raise UserError(f"{path}: must be text in UTF-8; {detail}") from None
    except (ValueError, RecursionError) as error:
        message = str(error)
        raise UserError(f"{path}: must be TOML; {message[:1].lower()}{message[1:]}") from None


def parse(tree: dict[str, Any], overrides: list[str], place: str = "configuration") -> RunConfig:
    """Returns the run configuration in nested tables, with `key=value` overrides applied; raises UserError.

    The error has one line for each mistake.
    """
    return validated(RunConfig, tree, overrides, place)


def validated(kind: type[Model], tree: dict[str, Any], overrides: Sequence[str] | None, place: str) -> Model:
    """Returns checked settings from nested tables, with `key=value` overrides applied; raises UserError.

    The error has one line for each mistake. Of a run, tables that only other commands read are left out.
    """
    for override in overrides or ():
        apply_override(tree, override, kind)
    if issubclass(kind, RunConfig):
        tree = {name: table for name, table in tree.items() if name in kind.model_fields or name not in ELSEWHERE}
    try:
        return kind.model_validate(tree, context={FOLDER: os.path.dirname(os.path.expanduser(place))})
    except ValidationError as error:
        raise UserError(*explain(error, kind, place)) from None


def apply_override(tree: dict[str, Any], override: str, model: type[BaseModel]) -> None:
    """Applies an override such as `select.rules.0.min=5` to nested tables of configuration.

    The type of the key decides what the value is.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"--set: must be key=value, got {override!r}")
    *parents, last = path.strip().split(".")
    node: Any = tree
    location: list[int | str] = []
    for depth, name in enumerate(parents):
        location.append(_index(node, name, ".".join(parents[: depth + 1])) if isinstance(node, list) else name)
        node = _child(node, location[-1], ".".join(parents[: depth + 1]))
    key = _index(node, last, path) if isinstance(node, list) else last
    misfits: list[int] = []
    for reading in _readings(text):
        node[key] = reading
        misfits.append(_misfit(tree, [*location, key], model))
        if not misfits[-1]:
            return
    node[key] = _readings(text)[misfits.index(min(misfits))]


def _child(node: Any, key: Any, path: str) -> Any:
    child = node[key] if isinstance(node, list) else node.setdefault(key, {})
    if not isinstance(child, dict | list):
        raise UserError(f"--set {path}: must be a table, got {child!r}")
    return child


def _index(node: list[Any], name: str, path: str) -> int:
    """The index of an element, given by number or by its `name`, `source` or `column`."""
    if name.isdecimal() and int(name) < len(node):
        return int(name)
    for index, element in enumerate(node):
        if isinstance(element, dict) and name in (element.get(key) for key in _NAMES):
            return index
    places = ", ".join(_place(element, index) for index, element in enumerate(node)) or "none"
    raise UserError(f"--set {path}: must name an element that is there, got {name!r}; there are {places}")


def _place(element: Any, index: int) -> str:
    """What `--set` calls an element: its name, or its number where it has none."""
    names = element if isinstance(element, dict) else {}
    return str(next((names[key] for key in _NAMES if key in names), index))


def _readings(text: str) -> list[Any]:
    """What a value may mean, the likeliest first: as TOML, as the text it is, as a whole number or as Python writes it.

    Each of them may be a list of one, too.
    """
    value = _toml(text)
    if isinstance(value, list | dict):
        return [value, text]
    given = [value, text] if value is not None and not isinstance(value, str) else [text if value is None else value]
    if isinstance(value, float) and value.is_integer():
        given.append(int(value))
    if value is None and text in ("True", "False"):
        given.append(text == "True")
    return [*given, *([one] for one in given)]


def _toml(text: str) -> Any:
    """The value that a text is in TOML; None where it is none."""
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # of thousands of digits, or of brackets
        return None
    return read["value"] if len(read) == 1 else None  # more with line ends in the text


def _misfit(tree: dict[str, Any], location: list[int | str], model: type[BaseModel]) -> int:
    """How wrong a place of the tree is, whatever is wrong elsewhere: 0 right, 1 a wrong value, 2 of a wrong type."""
    try:
        model.model_validate(tree)
    except ValidationError as error:
        wrong = [
            2 if str(problem["type"]).endswith("_type") else 1
            for problem in error.errors()
            if followed(problem["loc"], model)[0][: len(location)] == location
        ]
        return max(wrong, default=0)
    return 0
