"""Decisions of a shard: what a model could not score is an error of its own step, whatever rules call theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from siftlm.engine.shards import Task
from siftlm.engine.values import write_value
from siftlm.seals import Seal
from siftlm.selectors import Selection, SelectSettings
from siftlm.selectors.rules.threshold import Threshold
from siftlm.stages.eligible import Eligible, Split
from siftlm.stages.select import Decisions
from siftlm.store import Marker, Store


def test_what_a_model_could_not_score_is_an_error_of_its_own_step(tmp_path: Path) -> None:
    """A document that is out before has no error, and the first model's comes before the second's."""
    store = Store(str(tmp_path))
    errors = ["null_text", None, "null_text", None]
    tables: dict[str, dict[str, Any]] = {
        "signals": {"doc_id": ["a", "b", "c", "d"], "byte_count": [10, 10, 1, 20]},
        "scores/one": {"error": pa.array(errors, pa.string())},
        "scores/two": {"error": pa.array(["non_finite_nll", "non_finite_nll", None, None], pa.string())},
    }
    for stage, columns in tables.items():
        (tmp_path / stage).mkdir(parents=True)
        path = store.path(stage, "k")
        pq.write_table(pa.table(columns), path)
        store.commit(Marker(stage, "k", "shard", 4, 4, files={".parquet": Seal.of(path)}))
    settings, path = SelectSettings(), str(tmp_path / "plan")
    write_value(path, Selection(settings).begin(), store)
    short = Threshold(column="byte_count", min=5)
    inputs = dict.fromkeys(tables, "k")
    eligible = Eligible(Split(), (short,)).run(Task(0, "shard", "k", inputs), store)
    store.commit(eligible)
    assert (eligible.rows_in, eligible.rows_out, eligible.dropped) == (4, 3, {"byte_count_below_min": 1})
    task = Task(0, "shard", "k", {**inputs, eligible.stage: "k"}, {"plan": path})
    marker = Decisions(settings, ()).run(task, store)
    store.commit(marker)
    assert marker.errors == {"non_finite_nll_two_error": 1, "null_text_one_error": 1}
    assert marker.dropped == {"byte_count_below_min": 1}
    assert store.table("decisions", "k", ["dropped_by", "reason"]).to_pylist() == [
        {"dropped_by": "score.one", "reason": "null_text_one_error"},
        {"dropped_by": "score.two", "reason": "non_finite_nll_two_error"},
        {"dropped_by": "preselect.0", "reason": "byte_count_below_min"},
        {"dropped_by": None, "reason": None},
    ]
