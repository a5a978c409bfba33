"""Imports Beam without what it warns of."""

from __future__ import annotations

import logging
from typing import Any


def import_beam() -> tuple[Any, Any]:
    """Returns Beam and its options class, without what it warns of while it is imported (optional packages)."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    finally:
        logging.disable(previous)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    return apache_beam, PipelineOptions
