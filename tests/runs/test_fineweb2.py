"""A run with the thresholds of FineWeb-2's languages, from files in its layout."""

from __future__ import annotations

from typing import Any

import pytest
from tests.runs.conftest import Bench, stages_of

pytest.importorskip("apache_beam")


def test_thresholds_by_language_come_from_files(bench: Bench, without_pictures: None) -> None:
    """The run says what of them limits no column, and decides again when a file changes."""
    rows = [
        {"id": f"{language}{n}", "text": "wort " * n, "lang": language} for language in ("de", "fr") for n in (1, 9)
    ]
    bench.shard("0.jsonl", rows)
    configs = bench.root / "configs"
    configs.mkdir()
    (configs / "deu_Latn.yml").write_text("max_avg_word_length: 15\ntop_n_grams:\n- - 2\n  - 0.2\nstopwords:\n- der\n")
    (source,) = bench.tree()["input"]
    rule = {"kind": "fineweb2", "path": str(configs), "by": "lang", "languages": {"de": "deu_Latn"}}
    settings: dict[str, Any] = {
        "input": [{**source, "columns": {"lang": "string"}}],
        "annotate": {"language": None},
        "select": {"rules": [rule]},
    }
    manifest = bench.run(**settings).manifest
    assert {row["doc_id"] for row in bench.rows()} == {"de1", "fr1", "fr9"}
    assert manifest["warnings"] == [f"select.rules.0: the files of {configs} have what limits no column: stopwords"]
    assert manifest["config"]["select"]["rules"][0]["columns"]["mean_word_length"]["table"]["de"]["max"] == 15
    before = bench.markers()
    assert bench.run(**settings).unchanged
    (configs / "deu_Latn.yml").write_text("max_avg_word_length: 3\n")
    bench.run(**settings)
    assert {row["doc_id"] for row in bench.rows()} == {"fr1", "fr9"}
    assert stages_of(bench.markers().keys() - before.keys()) == {"decisions", "parts"}
