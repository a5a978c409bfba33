"""Scorers: opened from their settings, a record batch of documents in, columns of the same rows out."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from siftlm.scorers.dsir import DsirSettings
from siftlm.scorers.files import pinned
from siftlm.scorers.lm import LMSettings
from siftlm.scorers.minhash import ShingleSettings, SignatureSettings
from siftlm.scorers.protocol import NamedSettings, Scorer, ScorerSettings
from siftlm.scorers.score import ScoreScorer, ScoreSettings
from siftlm.scorers.settings import AnnotateSettings, AnyAnnotator, AnyScore
from siftlm.scorers.signals import SignalsSettings

__all__ = [
    "AnnotateSettings",
    "AnyAnnotator",
    "AnyScore",
    "DsirSettings",
    "LMSettings",
    "NamedSettings",
    "ScoreScorer",
    "ScoreSettings",
    "ScorerSettings",
    "ShingleSettings",
    "SignalsSettings",
    "SignatureSettings",
    "open_score",
    "open_scorer",
    "pinned",
]


def open_scorer(settings: ScorerSettings) -> Scorer:
    """Opens the scorer of these settings, one a process, however many threads ask."""
    scorer: Scorer = _opened(type(settings), settings.model_dump_json())
    return scorer


def open_score(settings: ScoreSettings) -> ScoreScorer:
    """Opens the scorer of a language model like `open_scorer`."""
    scorer: ScoreScorer = _opened(type(settings), settings.model_dump_json())
    return scorer


@lru_cache(maxsize=32)
def _opened(kind: type[ScorerSettings], settings: str) -> Any:
    return kind.model_validate_json(settings).scorer()
