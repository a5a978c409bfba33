"""Reads what `siftlm prove` found of a run's selection, for conditions of `siftlm diff`."""

from __future__ import annotations

import orjson

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.inspect.run import SelectedRun
from siftlm.report.proof import FOLDER, PROOF, selection_digest
from siftlm.stages.columns import DECISIONS


def proof_quantities(run: SelectedRun) -> dict[str, float]:
    """Returns `proof.effect`, `proof.low` and `proof.high` of a run's selection against draws that are like it.

    They are bits per byte by which the selection teaches better. Empty where nobody has proved this selection, but
    another one of the folder perhaps.

    Raises:
        UserError: the folder's proof.json is damaged.
    """
    path = f"{run.place}/{FOLDER}/{PROOF}"
    if not filesystem.exists(path):
        return {}
    own = selection_digest(task.inputs[DECISIONS] for task in run.tasks())
    try:
        proof = orjson.loads(filesystem.read_bytes(path))
        names = {arm["name"] for arm in proof["arms"] if arm["identity"] == own}
        nulls = {arm["name"] for arm in proof["arms"] if arm["kind"] == "matched"}
        effects = [c["overall"] for c in proof["comparisons"] if c["arm"] in names and c["null"] in nulls]
        return {f"proof.{name}": float(effects[0][name]) for name in ("effect", "low", "high") if effects}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: must be the result of siftlm prove, got {error!r}; run siftlm prove again") from None
