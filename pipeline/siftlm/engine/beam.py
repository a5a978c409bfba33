"""Imports Apache Beam without its warnings about missing optional packages."""

from __future__ import annotations

import logging
from typing import Any


def import_beam() -> tuple[Any, Any]:
    """Returns the Beam module and its PipelineOptions class, imported without warnings about optional packages."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    finally:
        logging.disable(previous)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    return apache_beam, PipelineOptions
