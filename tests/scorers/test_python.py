"""Functions of a user's own: their columns, their mistakes, and the documents on which they raise."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runs.conftest import Bench

from siftlm.checks.validate import check_config
from siftlm.config import load, parse
from siftlm.errors import UserError
from siftlm.scorers.python import PythonSettings

COUNTS = """
def count(batch):
    return {"words": [len(text.split()) for text in batch["text"].to_pylist()]}
"""
FRAGILE = """
def divide(batch):
    return {"share": [60 / int(text) for text in batch["text"].to_pylist()], "kind": ["text"] * len(batch)}
"""


def settings(folder: Path, source: str = COUNTS, **changes: Any) -> PythonSettings:
    (folder / "my_scores.py").write_text(source)
    tree = {"name": "mine", "function": "my_scores:count", "columns": {"words": "int"}, "trust_python": True}
    return PythonSettings.model_validate({**tree, "folder": str(folder), **changes})


def documents(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"doc_id": [f"d{n}" for n in range(len(texts))], "text": pa.array(texts, pa.large_string())})


def scored(folder: Path, body: str, kind: str = "float", texts: int = 3) -> list[dict[str, Any]]:
    """The rows of a function with this body and one column `x`."""
    source = "import datetime\nimport numpy as np\nimport pyarrow as pa\ndef count(batch):\n    " + body
    scorer = settings(folder, source, columns={"x": kind}).scorer()
    rows: list[dict[str, Any]] = scorer.score(documents(["text"] * texts)).to_pylist()
    return rows


def test_columns_have_the_names_and_types_that_were_declared(tmp_path: Path) -> None:
    scorer = settings(tmp_path).scorer()
    found = scorer.score(documents(["a b", "", "a b c"]))
    assert found.schema == pa.schema(scorer.fields())
    assert found.to_pydict() == {"mine_words": [2, 0, 3], "mine_error": [None] * 3}


@pytest.mark.parametrize(
    ("body", "kind", "values"),
    [
        ("return {'x': [1.5, float('nan'), float('inf')]}", "float", [1.5, None, None]),
        ("return {'x': np.array([1.0, np.nan, 3.0])}", "int", [1, None, 3]),
        ("return {'x': pa.chunked_array([[1], [2, None]])}", "float", [1.0, 2.0, None]),
        ("return pa.table({'x': [True, None, False], 'more': [1, 2, 3]})", "bool", [True, None, False]),
        ("return pa.record_batch({'x': pa.array(['a', 'b', None]).dictionary_encode()})", "string", ["a", "b", None]),
        ("return {'x': [None] * 3}", "string", [None] * 3),
        ("return batch.append_column('x', batch['doc_id'])", "string", ["d0", "d1", "d2"]),
    ],
)
def test_what_a_function_may_return(tmp_path: Path, body: str, kind: str, values: list[Any]) -> None:
    """Arrays of any kind; what is not finite is null."""
    rows = scored(tmp_path, body, kind)
    assert [row["mine_x"] for row in rows] == values
    assert {row["mine_error"] for row in rows} == {None}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {'y': [1, 2, 3]}", r"must return the column 'x', got columns \['y'\]"),
        ("return {'x': [1.0]}", r"must return a value a document in 'x', got 1 for 3"),
        ("return [1, 2, 3]", r"must return a record batch, a table or a dict of arrays, got list"),
    ],
)
def test_what_no_document_is_to_blame_for_stops_the_run(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"annotate\.python\.mine\.function: {message}"):
        scored(tmp_path, body)


@pytest.mark.parametrize("value", ["'high'", "[1]", "1.5"])
def test_a_value_of_another_type_is_an_error_of_its_document(tmp_path: Path, value: str) -> None:
    body = f"return {{'x': [{value} if i == 'd1' else 7 for i in batch['doc_id'].to_pylist()]}}"
    rows = scored(tmp_path, body, "int")
    assert [row["mine_x"] for row in rows] == [7, None, 7]
    assert [row["mine_error"] is None for row in rows] == [True, False, True]
    assert rows[1]["mine_error"].startswith("MisfitError: 'x' must be int64; ")


def test_a_column_of_another_type_is_refused_before_a_run(tmp_path: Path) -> None:
    """An error of the one document that `check` makes up is not: real ones may have what it lacks."""
    typed = settings(tmp_path, "def count(batch): return {'words': ['many'] * len(batch)}")
    with pytest.raises(UserError, match=r"values of the types in `columns`, got MisfitError: 'words' must be"):
        typed.scorer().check()
    settings(tmp_path, "def count(batch): return {'words': [int(batch['text'][0].as_py())]}").scorer().check()


def test_a_function_that_takes_no_batch_is_refused_before_a_run(tmp_path: Path) -> None:
    """Not so one whose body fails on the example, which may be the example's fault."""
    with pytest.raises(UserError, match=r"must take a record batch, got TypeError"):
        settings(tmp_path, "def count(): return {}").scorer().check()
    settings(tmp_path, "def count(batch): raise ValueError(batch)").scorer().check()


@given(st.lists(st.integers(0, 3), max_size=40))
def test_only_the_documents_that_raise_lose_their_values(tmp_path_factory: Any, numbers: list[int]) -> None:
    """Whatever their number and places: truth is one call a document."""
    folder = tmp_path_factory.mktemp("mine")
    columns = {"share": "float", "kind": "string"}
    scorer = settings(folder, FRAGILE, function="my_scores:divide", columns=columns).scorer()
    rows = scorer.score(documents([str(number) for number in numbers])).to_pylist()
    error = "ZeroDivisionError: division by zero (my_scores.py, line 3)"
    assert rows == [
        {"mine_share": 60 / n if n else None, "mine_kind": "text" if n else None, "mine_error": None if n else error}
        for n in numbers
    ]


def test_an_error_is_told_alike_in_every_process(tmp_path: Path) -> None:
    (row,) = scored(tmp_path, "raise KeyError(object())", texts=1)
    assert row["mine_error"] == "KeyError: <object object at 0x> (my_scores.py, line 5)"


def test_a_function_that_exits_is_an_error_of_its_document(tmp_path: Path) -> None:
    """It would end the run with its own code, 0 for instance, and nothing published."""
    rows = scored(tmp_path, "'d1' in batch['doc_id'].to_pylist() and exit(0); return {'x': [1.0] * len(batch)}")
    assert [row["mine_x"] for row in rows] == [1.0, None, 1.0]
    assert rows[1]["mine_error"] == "SystemExit: 0 (my_scores.py, line 5)"


def test_threads_look_for_a_module_at_a_time(tmp_path: Path) -> None:
    """Python deletes what it knows of folders that are gone, and a second thread would miss it."""
    scorer = settings(tmp_path).scorer()

    def look(_: int) -> int:
        sys.path_importer_cache.update((f"/no/such/{n}", None) for n in range(50))
        return len(scorer.reads())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(look, range(400))) == {1}
    finally:
        sys.setswitchinterval(before)


def test_the_key_has_the_source_and_the_version(tmp_path: Path) -> None:
    """Of the module and of the packages that it is in; where it lies does not count."""
    digests = {settings(tmp_path).scorer().digest()}
    digests.add(settings(tmp_path, COUNTS + "\n").scorer().digest())
    digests.add(settings(tmp_path, version="2").scorer().digest())
    digests.add(settings(tmp_path, columns={"words": "float"}).scorer().digest())
    assert len(digests) == 4
    (tmp_path / "elsewhere").mkdir()
    assert settings(tmp_path / "elsewhere").scorer().digest() in digests
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "scores.py").write_text(COUNTS)
    for version in ("1", "2"):
        (package / "__init__.py").write_text(f"__version__ = '{version}'")
        digests.add(settings(tmp_path, function="my_package.scores:count").scorer().digest())
    assert len(digests) == 6
    assert "my_package" not in sys.modules


def test_a_changed_module_is_executed_anew_in_the_same_process(tmp_path: Path) -> None:
    """Though it has the size and the second of the one before."""
    for factor in (2, 3):
        scorer = settings(tmp_path, COUNTS.replace("len(", f"{factor} * len(")).scorer()
        scorer.load(scorer.digest())
        assert scorer.score(documents(["a b"]))["mine_words"].to_pylist() == [2 * factor]


@pytest.mark.parametrize(
    ("function", "source", "message"),
    [
        ("my_scores:other", COUNTS, "must name a function, got 'my_scores:other', and .*my_scores.py has none"),
        ("my_scores:count", "raise SystemExit(0)", r"imported, got SystemExit: 0 \(my_scores.py, line 1\)"),
        ("my_scores:count", "raise OSError('no disk')", r"imported, got OSError: no disk \(my_scores.py, line 1\)"),
        ("my_scores:count", "def count(", "can be imported, got SyntaxError"),
        ("no_such_module:count", COUNTS, "must name a module in Python's source that can be found, got 'no_such_"),
        ("math:floor", COUNTS, "must name a module in Python's source that can be found, got 'math'"),
    ],
)  # fmt: skip
def test_a_function_that_cannot_be_had_is_refused(tmp_path: Path, function: str, source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(tmp_path, source, function=function).scorer().check()


def test_a_module_must_not_take_the_name_of_another(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(COUNTS)
    with pytest.raises(UserError, match="'json' is the name of another module"):
        settings(tmp_path, function="json:count").scorer().check()
    assert sys.modules["json"].loads("1") == 1


CONFIG = """
name = "mine"
[[input]]
source = "web"
paths = ["{folder}/in"]
id_field = "id"
[annotate]
language = false
signals = false
[[annotate.python]]
name = "mine"
function = "my_scores:divide"
columns = {{ share = "float", kind = "string" }}
{trust}
[[columns]]
name = "double"
expr = "2 * mine_share"
[[select.rules]]
kind = "threshold"
column = "double"
min = 40
missing = "keep"
[output]
folder = "{folder}/out"
"""


def written(folder: Path, source: str, trust: str = "trust_python = true") -> str:
    (folder / "my_scores.py").write_text(source)
    (folder / "run.toml").write_text(CONFIG.format(folder=folder, trust=trust))
    return str(folder / "run.toml")


def test_a_function_that_is_not_trusted_is_not_imported(tmp_path: Path) -> None:
    """Neither by validate nor by a run."""
    source = f"open({str(tmp_path / 'imported')!r}, 'w')\n{FRAGILE}"
    for trust in ("", "trust_python = false"):
        with pytest.raises(UserError, match=r"annotate\.python\.0\.trust_python: must be true before a function"):
            load(written(tmp_path, source, trust))
    Bench(tmp_path).shard("a.jsonl", [{"id": "a", "text": "2"}])
    path = written(tmp_path, source, "")
    for words in (["validate"], ["run", "--quiet"]):
        code = "import sys; from siftlm.cli.commands import main; sys.argv[0] = 'siftlm'; main()"
        done = subprocess.run([sys.executable, "-c", code, *words, path], capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "trust_python" in done.stderr
    assert not (tmp_path / "imported").exists()
    check_config(load(written(tmp_path, source)))
    assert (tmp_path / "imported").exists()


@pytest.mark.parametrize("runner", [{}, {"processes": 2}])
def test_a_run_has_the_columns_and_the_errors(tmp_path: Path, runner: dict[str, Any]) -> None:
    """The module beside the configuration, in every worker; a rule over a formula over a column reads it."""
    from siftlm import job
    from siftlm.engine.progress import Progress

    pytest.importorskip("apache_beam")
    bench = Bench(tmp_path)
    bench.shard("a.jsonl", [{"id": f"a{n}", "text": str(n)} for n in range(4)])
    bench.shard("b.jsonl", [{"id": "b", "text": "none"}])
    config = load(written(tmp_path, FRAGILE), [f"runner.{key}={value}" for key, value in runner.items()])
    manifest = job.run(config, Progress(quiet=True)).manifest
    rows = {row["doc_id"]: (row["mine_share"], row["double"], row["mine_kind"]) for row in bench.rows()}
    quotients = {f"a{n}": (60 / n, 120 / n, "text") for n in (1, 2, 3)}
    assert rows == {"a0": (None,) * 3, **quotients, "b": (None,) * 3}
    assert manifest["counts"]["signals"]["errors"] == {"mine_error": 2}
    assert manifest["warnings"] == [
        "annotate: 2 of 5 documents have an error in 'mine_error', and null in the columns beside it; errors.parquet "
        "has them"
    ]
    told = [(row["stage"], row["doc_id"], row["position"], row["reason"]) for row in bench.errors()]
    assert told == [("signals", "a0", 0, "mine_error"), ("signals", "b", 0, "mine_error")]
    assert bench.errors()[0]["detail"] == "ZeroDivisionError: division by zero (my_scores.py, line 3)"
    assert "mine_error" in (tmp_path / "out/report.html").read_text()


def test_another_source_computes_the_columns_anew(tmp_path: Path) -> None:
    from siftlm.plan import plan

    bench = Bench(tmp_path)
    bench.shard("a.jsonl", [{"id": "a", "text": "2"}])
    tree = {"annotate": {"language": False, "signals": False, "python": [settings(tmp_path).model_dump(by_alias=True)]}}
    bench.run(**tree)
    assert bench.rows()[0]["mine_words"] == 1
    assert {row.stage: row.todo for row in plan(parse(bench.tree(**tree), []))}["signals"] == 0
    settings(tmp_path, COUNTS.replace("len(", "7 * len("))
    assert {row.stage: row.todo for row in plan(parse(bench.tree(**tree), []))}["signals"] == 1
    bench.run(**tree)
    assert bench.rows()[0]["mine_words"] == 7


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    tree = {"annotate": {"python": [settings(tmp_path).model_dump(by_alias=True)] * 2}}
    with pytest.raises(UserError, match="must differ"):
        parse(Bench(tmp_path).tree(**tree), [])


def test_an_infinite_float_is_null_in_every_container(tmp_path: Path) -> None:
    rows = scored(tmp_path, "return {'x': np.array([np.inf, -np.inf, 1])}")
    assert [row["mine_x"] for row in rows] == [None, None, 1.0]
    assert not any(math.isinf(row["mine_x"] or 0) for row in rows)
