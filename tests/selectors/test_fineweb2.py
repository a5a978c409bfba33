"""Thresholds of FineWeb-2's languages: as the pipeline of FineWeb-2 applies them, from files in its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from siftlm.selectors import SelectSettings, select
from siftlm.selectors.rules.fineweb2 import Fineweb2

FILES = {
    "deu_Latn": {
        "dup_line_frac": 0.263, "dup_n_grams": [[5, 0.141], [10, 0.098]], "language_score": 0.821,
        "line_punct_thr": 0.09, "max_avg_word_length": 15, "max_non_alpha_words_ratio": 0.774,
        "min_avg_word_length": 0, "new_line_ratio": 0.152, "stopwords": ["der", "und"], "top_n_grams": [[2, 0.169]],
    },
    "cmn_Hani": {
        "dup_line_frac": 0, "dup_n_grams": [[5, 0.198]], "language_score": 0.692, "line_punct_thr": 0.106,
        "max_avg_word_length": 5, "max_non_alpha_words_ratio": 0.735, "min_avg_word_length": 1,
        "new_line_ratio": 0.178, "stopwords": ["的"], "top_n_grams": [[2, 0.256], [3, 0.201]],
    },
}  # fmt: skip


def written(value: Any, indent: str = "") -> str:
    """YAML as FineWeb-2's files have it: a list of pairs is `- - 5` and `  - 0.1`."""
    lines = []
    for key, each in value.items():
        if isinstance(each, list):
            lines.append(f"{key}:")
            for item in each:
                lines += [f"- - {item[0]}", f"  - {item[1]}"] if isinstance(item, list) else [f'- "{item}"']
        else:
            lines.append(f"{key}: {each}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / f"{name}.yml").write_text(written(content))
    (folder / "README.md").write_text("not read")
    return folder


N = 3000
COLUMNS = (
    "duplicate_line_fraction", "duplicate_5_gram_char_fraction", "duplicate_10_gram_char_fraction", "language_score",
    "terminal_line_fraction", "mean_word_length", "alpha_word_fraction", "newline_word_ratio",
    "top_2_gram_char_fraction", "top_3_gram_char_fraction",
)  # fmt: skip


def corpus(languages: tuple[str | None, ...]) -> pa.Table:
    """Documents most of which pass each limit."""
    random = np.random.default_rng(2)
    good = {"language_score": 0.9, "terminal_line_fraction": 0.2, "mean_word_length": 4.0, "alpha_word_fraction": 0.9}
    columns = {}
    for name in COLUMNS:
        values = np.full(N, good.get(name, 0.05))
        bad = random.random(N) < 0.1
        values[bad] = random.random(bad.sum()) * (20 if name == "mean_word_length" else 1)
        columns[name] = values
    return pa.table(
        {
            "doc_id": [f"d{n}" for n in range(N)],
            "language": [languages[n % len(languages)] for n in range(N)],
            **columns,
        }
    )


def passes(row: dict[str, Any], file: dict[str, Any]) -> bool:
    """The filters of datatrove in fineweb-2-pipeline.py, with what a file sets."""
    if row["language_score"] < file["language_score"]:
        return False
    if file["dup_line_frac"] and row["duplicate_line_fraction"] > file["dup_line_frac"]:
        return False
    if any(row[f"top_{n}_gram_char_fraction"] > limit for n, limit in file["top_n_grams"]):
        return False
    if any(row[f"duplicate_{n}_gram_char_fraction"] > limit for n, limit in file["dup_n_grams"]):
        return False
    if row["terminal_line_fraction"] < file["line_punct_thr"] or row["newline_word_ratio"] > file["new_line_ratio"]:
        return False
    low, high = file["min_avg_word_length"], file["max_avg_word_length"]
    if (low and row["mean_word_length"] < low) or (high and row["mean_word_length"] > high):
        return False
    return bool(row["alpha_word_fraction"] >= file["max_non_alpha_words_ratio"])


@pytest.mark.parametrize(
    ("languages", "there"),
    [
        ({}, ("deu_Latn", "cmn_Hani", "fra_Latn", None)),
        ({"de": "deu_Latn", "zh": "cmn_Hani"}, ("de", "zh", "fr", "deu_Latn")),
    ],
)
def test_documents_are_kept_as_the_filters_of_fineweb_2_keep_them(
    configs: Path, languages: dict[str, str], there: tuple[str | None, ...]
) -> None:
    table = corpus(there)
    rule = {"kind": "fineweb2", "path": str(configs), "languages": languages}
    (made,) = select([table], SelectSettings.model_validate({"rules": [rule]}))
    files = {label: FILES[name] for label, name in (languages or {name: name for name in FILES}).items()}
    expected = [row["language"] not in files or passes(row, files[row["language"]]) for row in table.to_pylist()]
    assert made["kept"].to_pylist() == expected
    assert 0.3 * N < sum(expected) < 0.9 * N
    assert {place.rpartition(".")[0] for place in made["dropped_by"].to_pylist() if place} == {"select.rules.0.columns"}


def test_what_limits_no_column_is_told(configs: Path) -> None:
    settings = Fineweb2(path=str(configs))
    assert settings.unread == ["stopwords"]
    assert settings.warnings() == [f"the files of {configs} have what limits no column: stopwords"]
    (configs / "deu_Latn.yml").write_text("language_score: 0.5\nscript_thr: 0.2\n")
    assert Fineweb2(path=str(configs)).unread == ["script_thr", "stopwords"]


def test_the_content_of_the_files_is_in_the_key_and_their_place_is_not(configs: Path) -> None:
    first = Fineweb2(path=str(configs))
    moved = configs.rename(configs.with_name("moved"))
    assert Fineweb2(path=str(moved)).content() == first.content()
    (moved / "deu_Latn.yml").write_text("language_score: 0.5\n")
    assert Fineweb2(path=str(moved)).content() != first.content()
    again = Fineweb2.model_validate(first.model_dump(mode="json", by_alias=True))
    assert again == first, "the settings of a finished run are read without the files"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"language_score: high\n", "language_score must be a number, got 'high'"),
        (b"language_score: .nan\n", "language_score must be a number, got nan"),
        (b"top_n_grams: 3\n", "not iterable"),
        (b"top_n_grams:\n- 3\n", "unpack"),
        (b"a: [\n", "while parsing a flow node"),
        (b"- 1\n", "it holds no table"),
        (b"", "it holds no table"),
        (b"stopwords:\n- der\n", "it holds no threshold"),
        (b"\xff", "can't decode byte 0xff"),
        (b"language_score: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    ],
)
def test_a_file_that_holds_no_thresholds_is_named(configs: Path, content: bytes, told: str) -> None:
    (configs / "deu_Latn.yml").write_bytes(content)
    with pytest.raises(
        ValidationError, match=f"path must name files of thresholds, got {configs}/deu_Latn.yml: .*{told}"
    ):
        Fineweb2(path=str(configs))


def test_a_folder_without_files_and_a_language_without_one_are_refused(configs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValidationError, match=r"path must name a folder with files <language>_<script>\.yml, got none in"
    ):
        Fineweb2(path=str(tmp_path))
    with pytest.raises(ValidationError, match=f"languages must name files of {configs}, got 'de_Latn'"):
        Fineweb2(path=str(configs), languages={"de": "de_Latn"})
