"""Imported by the server that worker processes are forked from: Beam, quietly, and every stage."""

from importlib import import_module

from siftlm.engine.runner import import_beam

STAGES = ("graphs", "dedup_graph", "ingest", "annotate", "score", "select", "write", "summary")

import_beam()
for name in ("processes", *STAGES):
    import_module(f"siftlm.stages.{name}")
