"""Conditions of `siftlm diff` read the proof of what the new run has selected, and of nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.proving.test_prove import SILENT, plan_of, tree_of

from siftlm.config import parse
from siftlm.errors import UserError
from siftlm.inspect.diff import compare
from siftlm.inspect.proof import proof_quantities
from siftlm.inspect.run import FinishedRun
from siftlm.job import run
from siftlm.proving.prove import prove
from siftlm.report.difference import holds
from siftlm.report.proof import FOLDER, PROOF


def published(tree: dict[str, Any], rule: dict[str, Any]) -> str:
    """The folder of a run with this rule, published."""
    plain = {key: value for key, value in json.loads(json.dumps(tree)).items() if key != "prove"}
    run(parse({**plain, "select": {"rules": [rule]}}, []), SILENT)
    return str(tree["output"]["folder"])


def test_a_refresh_is_judged_by_the_proof_of_its_own_selection(tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    rule = {"kind": "threshold", "column": "good", "min": 1}
    tree["prove"]["arms"] = []
    tree["select"] = {"rules": [rule]}
    folder = published(tree, rule)
    with pytest.raises(UserError, match=r"got 'proof.effect'; .* once siftlm prove has compared"):
        holds("proof.effect < 0", compare(folder, folder).quantities())
    assert prove(plan_of(tree, "prove.replicates=2"), SILENT) is not None
    quantities = compare(folder, folder).quantities()
    assert quantities["proof.low"] < quantities["proof.effect"] < quantities["proof.high"]
    assert quantities["proof.effect"] > 0
    assert not holds("proof.effect < 0", quantities)
    assert holds("proof.effect < 100 and kept_documents >= 1", quantities)
    published(tree, {**rule, "min": None, "max": 0})
    assert proof_quantities(FinishedRun.open(folder)) == {}


def test_a_damaged_proof_is_named(tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    folder = published(tree, {"kind": "threshold", "column": "good", "min": 1})
    (Path(folder) / FOLDER).mkdir()
    (Path(folder) / FOLDER / PROOF).write_text("{")
    with pytest.raises(UserError, match=r"proof\.json: must be the result of siftlm prove"):
        proof_quantities(FinishedRun.open(folder))
