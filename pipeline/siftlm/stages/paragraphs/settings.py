"""Defines the settings for removing lines and paragraphs that several documents have."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from siftlm.settings import Settings


class ParagraphSettings(Settings):
    """Configures which repeated paragraphs are cut.

    CCNet and Dolma cut every repeated line; FineWeb found this can cost quality.
    """

    unit: Literal["line", "paragraph"] = Field(
        "line", description="What is compared: lines, or runs of lines between blank ones."
    )
    min_documents: int = Field(2, ge=2, description="Cut what this many documents have, or more.")
    min_bytes: int = Field(
        50, ge=1, description="Leave shorter paragraphs alone; the default is about ten English words, FineWeb's bound."
    )
    keep: Literal["first", "none"] = Field("first", description="Whether one document keeps what is cut of the others.")
