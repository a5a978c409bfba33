"""Matrices: exact sums, every form of file, and defects that are found, reported and removed by policy."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm.correlate.clean import bare_model, clean_matrix, family_of, inspect_matrix
from siftlm.correlate.matrix import (
    LONG_SCHEMA,
    LossMatrix,
    matrix_of_long,
    read_matrix,
    sum_by_unit,
    write_matrix,
)
from siftlm.correlate.settings import CleanSettings, MatrixSettings
from siftlm.correlate.tables import write_table
from siftlm.errors import UserError


def matrix_of(values: list[list[float]], models: list[str] | None = None) -> LossMatrix:
    """A matrix whose models are m0, m1 ... and units u0, u1 ..."""
    array = np.array(values, float)
    names = models or [f"m{k}" for k in range(len(array))]
    return LossMatrix(names, [f"u{j}" for j in range(array.shape[1])], array)


documents = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(0, 1e9, width=64), st.integers(1, 10**6)), min_size=1, max_size=30
)


@settings(max_examples=80, deadline=None)
@given(documents, st.randoms(use_true_random=False))
def test_bits_per_byte_are_exact_sums_divided_once(rows: list[tuple[str, float, int]], random: object) -> None:
    """Against rational arithmetic, and with the same bits in any order of documents."""
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    results = []
    for order in (rows, shuffled):
        units, nats, sizes = zip(*order, strict=True)
        results.append(sum_by_unit("m", units, np.array(nats), np.array(sizes), np.ones(len(units), np.int64)))
    first, second = results
    np.testing.assert_array_equal(first["bits_per_byte"], second["bits_per_byte"])
    for j, name in enumerate(first["unit"].to_pylist()):
        inside = [(nll, size) for unit, nll, size in rows if unit == name]
        total = float(sum((Fraction(nll) for nll, _ in inside), Fraction(0)))
        assert first["nll_sum"][j].as_py() == total
        size = sum(size for _, size in inside)
        assert first["byte_count"][j].as_py() == size
        assert first["bits_per_byte"][j].as_py() == pytest.approx(total / math.log(2) / size, rel=1e-14)
        assert first["page_count"][j].as_py() == len(inside)


def test_the_unit_is_not_the_mean_of_its_pages() -> None:
    """A long page weighs more than a short one."""
    sums = sum_by_unit("m", ["a", "a"], np.array([1.0, 90.0]) * math.log(2), np.array([1, 30]), np.array([1, 1]))
    assert sums["bits_per_byte"][0].as_py() == pytest.approx(91 / 31)


def test_a_page_without_a_score_leaves_its_unit_without_one() -> None:
    """NaN is not zero nats."""
    sums = sum_by_unit("m", ["a", "b"], np.array([np.nan, 1.0]), np.array([1, 1]), np.array([1, 1]))
    assert np.isnan(sums["bits_per_byte"]).tolist() == [True, False]


def test_a_long_matrix_adds_up_documents_and_keeps_absent_cells() -> None:
    """Models scored one after the other, with rows of one unit in two shards."""
    one = sum_by_unit("m1", ["b", "a", "a"], np.array([1.0, 2, 3]), np.array([1, 1, 2]), np.array([1, 1, 1]))
    two = sum_by_unit("m2", ["a"], np.array([4.0]), np.array([2]), np.array([1]))
    table = pa.concat_tables([two, one, two])
    assert table.schema == LONG_SCHEMA
    matrix = matrix_of_long(table)
    assert (matrix.models, matrix.units) == (["m1", "m2"], ["a", "b"])
    expected = np.array([[5 / 3, 1.0], [2.0, np.nan]]) / math.log(2)
    np.testing.assert_allclose(matrix.values, expected)


def test_a_long_matrix_of_ratios_must_have_one_row_a_cell() -> None:
    """Ratios cannot be added up."""
    table = pa.table({"model": ["m", "m"], "unit": ["u", "u"], "bits_per_byte": [1.0, 2.0]})
    with pytest.raises(UserError, match="one row a model and unit"):
        matrix_of_long(table)


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz", "m.parquet"])
@pytest.mark.parametrize("layout", ["rows_are_units", "rows_are_models"])
def test_a_matrix_reads_back_bit_for_bit(tmp_path: Path, name: str, layout: str) -> None:
    """In both orientations and both formats, with names that need quotes and leading blanks."""
    rng = np.random.default_rng(0)
    names = ["('a', 'x/A')", "plain, model", "z"]
    units = [" lead", "7", 'with "quotes"', "äöü\nnewline"]
    matrix = LossMatrix(names, units, rng.lognormal(size=(3, 4))).sorted()
    matrix.values[1, 2] = np.nan
    write_matrix(matrix, str(tmp_path / name), layout)
    again, findings = read_matrix(MatrixSettings(path=str(tmp_path / name)))
    assert (again.models, again.units) == (matrix.models, matrix.units)
    np.testing.assert_array_equal(again.values, matrix.values)
    assert not findings


def test_a_long_file_is_recognised(tmp_path: Path) -> None:
    """By its columns `model` and `unit`."""
    sums = sum_by_unit("m", ["b", "a"], np.array([1.0, 2]), np.array([1, 1]), np.array([1, 1]))
    write_table(sums, str(tmp_path / "long.csv"))
    write_table(sums, str(tmp_path / "long.parquet"))
    for name in ("long.csv", "long.parquet"):
        matrix, _ = read_matrix(MatrixSettings(path=str(tmp_path / name)))
        np.testing.assert_array_equal(matrix.values, [np.array([2.0, 1.0]) / math.log(2)])


def test_columns_that_are_no_models_are_left_out_by_name_or_with_a_finding(tmp_path: Path) -> None:
    """Text columns are found; numbers that are no values must be named."""
    (tmp_path / "m.csv").write_text("domain,url,rows,m1,m2\na,http://a,3,1.0,N/A\nb,http://b,4,2.0,nan\nc,,5,,3\n")
    matrix, findings = read_matrix(MatrixSettings(path=str(tmp_path / "m.csv"), ignore=["rows"]))
    assert matrix.models == ["m1", "m2"]
    np.testing.assert_array_equal(matrix.values, [[1, 2, np.nan], [np.nan, np.nan, 3]])
    assert [(finding.kind, finding.where) for finding in findings] == [("text_column", "'url'")]


def test_a_table_of_numbers_alone_gets_numbered_rows_and_a_finding(tmp_path: Path) -> None:
    """The first model must not be taken for the names of the rows."""
    (tmp_path / "m.csv").write_text("m1,m2\n1.5,2\n3,4\n")
    matrix, findings = read_matrix(MatrixSettings(path=str(tmp_path / "m.csv")))
    assert (matrix.models, matrix.units) == (["m1", "m2"], ["0", "1"])
    assert [finding.kind for finding in findings] == ["unnamed_rows"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,m1,m2\na,1,2\nb,x,2\n", r"column 'm1' must hold numbers, got 'x' in row 'b'"),
        ("id,m1\na,1\na,2\n", r"every row must have a name of its own, got 'a' more than once"),
        ("id,m1,m1\na,1,1\n", r"every column must have a name of its own, got 'm1' more than once"),
        ("id,m1\na,1,2\n", r"as many cells in every row"),
        ("", r"with a header, got an empty file"),
    ],
)
def test_a_wrong_table_is_an_error_that_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    """Never a guess."""
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_matrix(MatrixSettings(path=str(tmp_path / "m.csv")))


def test_a_file_that_is_not_there_is_an_error() -> None:
    """In either format."""
    for name in ("/nowhere/m.csv", "/nowhere/m.parquet"):
        with pytest.raises(UserError, match="must exist"):
            read_matrix(MatrixSettings(path=name))


def test_a_pandas_index_in_parquet_names_the_rows(tmp_path: Path) -> None:
    """Stored last, as `__index_level_0__`."""
    table = pa.table({"m1": [1.0, 2.0], "m2": [3.0, 4.0], "__index_level_0__": [7, 3]})
    pq.write_table(table, tmp_path / "m.parquet")
    matrix, _ = read_matrix(MatrixSettings(path=str(tmp_path / "m.parquet")))
    assert matrix.units == ["3", "7"]
    np.testing.assert_array_equal(matrix.values, [[2, 1], [4, 3]])


def test_a_clean_matrix_has_no_findings() -> None:
    """And keeps its values, sorted by name."""
    matrix = matrix_of([[2.0, 1], [3.0, 5]], ["b", "a"])
    cleaned, findings = clean_matrix(matrix)
    assert not findings
    assert cleaned.models == ["a", "b"]
    np.testing.assert_array_equal(cleaned.values, [[3, 5], [2, 1]])
    assert not inspect_matrix(matrix)


def test_every_defect_is_found_at_once() -> None:
    """Identical models, one model under two families, a constant model, a NaN, a negative value, a constant unit."""
    rng = np.random.default_rng(1)
    values = rng.uniform(0.5, 2, size=(7, 20))
    values[1] = values[0] * (1 + 1e-9)
    values[4] = 1.25
    values[5, 3] = np.nan
    values[6, 4] = -0.1
    values[:, 7] = 1.25
    names = ["a", "b", "('f', 'x/M')", "('g', 'x/M')", "constant", "nan", "negative"]
    matrix = matrix_of(values.tolist(), names)
    kinds = {
        "duplicate_model",
        "model_under_two_names",
        "constant_model",
        "unit_with_missing",
        "negative_value",
        "constant_unit",
    }
    assert {finding.kind for finding in inspect_matrix(matrix)} == kinds
    cleaned, findings = clean_matrix(matrix)
    assert {finding.kind for finding in findings} == kinds
    assert cleaned.models == ["('f', 'x/M')", "a", "nan", "negative"]
    assert set(matrix.units) - set(cleaned.units) == {"u3", "u4", "u7"}
    assert np.isfinite(cleaned.values).all()


def test_cleaning_does_not_depend_on_the_order_of_the_file() -> None:
    """Which of two duplicates stays is a matter of names."""
    rng = np.random.default_rng(1)
    values = rng.uniform(1, 2, size=(4, 6))
    values[3] = values[0]
    matrix = matrix_of(values.tolist(), ["d", "b", "c", "a"])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        cleaned, [finding] = clean_matrix(matrix.select(order, [5, 0, 3, 1, 4, 2]))
        assert cleaned.models == ["a", "b", "c"]
        assert finding.where == "d"
        np.testing.assert_array_equal(cleaned.values, values[[3, 1, 2]])


@pytest.mark.parametrize(
    ("values", "setting", "message"),
    [
        ([[1, 2, 3], [1, 2, 3], [4, 5, 7]], "duplicate_models", "duplicate_model"),
        ([[1, 2, 3], [1, np.nan, 3], [4, 5, 7]], "missing", "with_missing"),
        ([[1, 2, 3], [1, -2, 3], [4, 5, 7]], "negative", "below 0, lowest -2"),
        ([[1, 1, 1], [1, 2, 3], [4, 5, 7]], "constant", "constant_model"),
    ],
)
def test_a_policy_of_stopping_stops(values: list[list[float]], setting: str, message: str) -> None:
    """With the setting and the defect in the message."""
    settings_stop = CleanSettings.model_validate({setting: "stop"})
    with pytest.raises(UserError, match=rf"matrix\.clean\.{setting}: .*{message}"):
        clean_matrix(matrix_of(values), settings_stop)


def test_one_broken_model_does_not_cost_every_unit() -> None:
    """A model that misses most units goes; one that misses a unit costs that unit."""
    values = [[1.0, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, np.nan], [np.nan] * 5 + [1]]
    cleaned, findings = clean_matrix(matrix_of(values))
    assert cleaned.models == ["m0", "m1"]
    assert cleaned.units == ["u0", "u1", "u2", "u3", "u4"]
    assert [finding.kind for finding in findings] == ["model_with_missing", "unit_with_missing"]
    by_model, _ = clean_matrix(matrix_of(values), CleanSettings(missing="drop_models"))
    assert (by_model.models, len(by_model.units)) == (["m0"], 6)


def test_log_likelihoods_are_recognised_as_such() -> None:
    """A matrix of negative numbers ends in an error that says what they might be."""
    with pytest.raises(UserError, match="log-likelihoods"):
        clean_matrix(matrix_of([[-1.0, -2], [-3.0, -4]]))


def test_names_of_models_and_families() -> None:
    """Published names are pairs, others are what stands before a slash."""
    assert bare_model("('amber', 'LLM360/Amber')") == "LLM360/Amber"
    assert bare_model("(odd") == "(odd"
    assert family_of("('amber', 'LLM360/Amber')") == "amber"
    assert family_of("EleutherAI/pythia-70m") == "EleutherAI"
