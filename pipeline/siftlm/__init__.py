"""Selects pretraining data for language models by perplexity.

import siftlm

run = siftlm.run(siftlm.load("conf/quickstart.toml"))
run.arrow(["doc_id", "kept", "reason"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siftlm.api import (
        compute_curve,
        crossing,
        datamodel,
        gradient_weight_alignment,
        information_capacities,
        load,
        loss_to_loss,
        minhash,
        mix,
        near_duplicates,
        open_run,
        run,
        score_batch,
        score_texts,
        select_table,
        token_mask,
        training_data_from_weights,
    )
    from siftlm.engine.transforms import ScoreDocuments

__all__ = [
    "ScoreDocuments",
    "compute_curve",
    "crossing",
    "datamodel",
    "gradient_weight_alignment",
    "information_capacities",
    "load",
    "loss_to_loss",
    "minhash",
    "mix",
    "near_duplicates",
    "open_run",
    "run",
    "score_batch",
    "score_texts",
    "select_table",
    "token_mask",
    "training_data_from_weights",
]

_MODULES = {"ScoreDocuments": "siftlm.engine.transforms"}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `import siftlm` loads neither Beam nor torch."""
    if name not in __all__:
        raise AttributeError(f"module 'siftlm' has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "siftlm.api")), name)
