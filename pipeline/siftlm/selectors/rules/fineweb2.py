"""Defines the rule `fineweb2`, which reads the thresholds of FineWeb-2's languages from their files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field, model_validator

from siftlm import filesystem
from siftlm.paths import ReadPath, readable
from siftlm.selectors.component import Mention
from siftlm.selectors.rules.thresholds import ColumnLimits
from siftlm.settings import FileSettings

Limit = tuple[str, str, float]  # column, min or max, value
_ENDINGS = (".yml", ".yaml")
_COLUMNS = {
    "dup_line_frac": ("duplicate_line_fraction", "max"),
    "language_score": ("language_score", "min"),
    "line_punct_thr": ("terminal_line_fraction", "min"),
    "max_avg_word_length": ("mean_word_length", "max"),
    "max_non_alpha_words_ratio": ("alpha_word_fraction", "min"),  # of words with a letter, whatever it is called
    "min_avg_word_length": ("mean_word_length", "min"),
    "new_line_ratio": ("newline_word_ratio", "max"),
}
"""What a number in a file limits."""
_GRAMS = {"dup_n_grams": "duplicate_{}_gram_char_fraction", "top_n_grams": "top_{}_gram_char_fraction"}
"""The columns that pairs of n and a limit are of."""
_OFF = frozenset({"dup_line_frac", "max_avg_word_length", "max_non_alpha_words_ratio", "min_avg_word_length"})
"""Numbers that are 0 where datatrove's filter is off."""


class Fineweb2(ColumnLimits, FileSettings):
    """Applies the thresholds of FineWeb-2 to documents of each language, read from its files `<language>_<script>.yml`.

    They are those of `configs/` in github.com/huggingface/fineweb-2. Documents of other languages are kept,
    unless they have no value. What limits no column in a file (`stopwords`) is named in `unread`, and told.
    """

    paper: ClassVar[str] = "Penedo et al. 2025, arXiv 2506.20920"
    unchecked: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "fineweb2",
        "by": "language",
        "columns": {"perplexity": {"by": "language", "table": {"en": {"max": 20}, "fr": {"min": 5, "max": 80}}}},
        "unread": ["stopwords"],
    }

    kind: Literal["fineweb2"] = "fineweb2"
    path: ReadPath | None = Field(None, description="The folder of the files; `columns` and `unread` are read from it.")
    by: str = Field("language", min_length=1, description="The column of languages.")
    languages: dict[str, str] = Field(
        default_factory=dict,
        description="Value of `by` -> name of a file without its ending, such as `de` -> `deu_Latn`; default every "
        "file, by its name, as GlotLID has them.",
    )
    unread: list[str] = Field(default_factory=list, description="Keys of the files that limit no column.")

    @model_validator(mode="before")
    @classmethod
    def _read(cls, tree: Any) -> Any:
        """Fills in the limits of the files: what is selected depends on them, and not on where they came from."""
        if not isinstance(tree, dict) or not isinstance(tree.get("path"), str) or tree.get("columns"):
            return tree
        files = _files(readable(tree["path"]), tree.get("languages") or {})
        columns: dict[str, Any] = {}
        unread: set[str] = set()
        for language, path in files.items():
            limits, others = _content(path)
            unread.update(others)
            for column, bound, value in limits:
                given = columns.setdefault(column, {"by": tree.get("by", "language"), "table": {}})
                given["table"].setdefault(language, {})[bound] = value
        return {**tree, "columns": columns, "unread": sorted(unread)}

    def described_languages(self) -> list[str]:
        """Returns the languages that have limits, in the order of their files."""
        return list(dict.fromkeys(value for bounds in self.columns_.values() for value in bounds.table))

    def mentions(self) -> list[Mention]:
        inner = [mention for mention in super().mentions() if not mention.place.endswith(".table")]
        return [*inner, Mention("languages", self.by, tuple(self.described_languages()))]

    def warnings(self) -> list[str]:
        if not self.unread:
            return []
        return [f"the files of {self.path or 'languages'} have what limits no column: {', '.join(self.unread)}"]


def _files(folder: str, languages: object) -> dict[str, str]:
    """The file of every language, those of the folder where none is named."""
    try:
        names = filesystem.list_names(folder)
    except OSError as error:
        raise ValueError(f"path must name a folder of files, got {folder}: {error.strerror or error}") from None
    stems = {name.rpartition(".")[0]: f"{folder}/{name}" for name in names if name.endswith(_ENDINGS)}
    if not stems:
        raise ValueError(f"path must name a folder with files <language>_<script>.yml, got none in {folder}")
    if not isinstance(languages, dict) or not languages:
        return stems
    if missing := [str(name) for name in languages.values() if name not in stems]:
        raise ValueError(f"languages must name files of {folder}, got {missing[0]!r}")
    return {str(language): stems[name] for language, name in languages.items()}


def _content(path: str) -> tuple[list[Limit], list[str]]:
    """The limits in a file, and the keys that are none; a ValueError where it is no such file."""
    try:
        return _parsed(path, filesystem.fingerprint(path))
    except (OSError, yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise ValueError(f"path must name files of thresholds, got {path}: {_in_a_line(error)}") from None


@lru_cache(maxsize=1 << 12)
def _parsed(path: str, _fingerprint: str) -> tuple[list[Limit], list[str]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = yaml.load(filesystem.read_bytes(path).decode(), loader)  # in C where that is there
    if not isinstance(tree, dict):
        raise ValueError("it holds no table")
    limits = [limit for key, value in tree.items() for limit in _limits(str(key), value)]
    if not limits:
        raise ValueError("it holds no threshold")
    return limits, [str(key) for key in tree if key not in _COLUMNS and key not in _GRAMS]


def _limits(key: str, value: Any) -> Iterator[Limit]:
    """The limits that a key of a file gives: none where it is unknown, or turns a filter off."""
    if key in _COLUMNS and not (key in _OFF and value == 0):
        yield (*_COLUMNS[key], _number(key, value))
    for n, limit in value if key in _GRAMS else ():
        yield _GRAMS[key].format(int(n)), "max", _number(key, limit)


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} must be a number, got {value!r}")
    return float(value)


def _in_a_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())
