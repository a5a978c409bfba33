"""Scorers: opened from their settings, a record batch of documents in, columns of the same rows out."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from siftlm.scorers.contamination import ContaminationScorer, ContaminationSettings
from siftlm.scorers.dsir import DsirScorer, DsirSettings
from siftlm.scorers.fasttext import ClassifierScorer, ClassifierSettings
from siftlm.scorers.files import pinned
from siftlm.scorers.language import LanguageScorer, LanguageSettings
from siftlm.scorers.lm import LMScorer, LMSettings
from siftlm.scorers.minhash import ShingleScorer, ShingleSettings, SignatureScorer, SignatureSettings
from siftlm.scorers.protocol import Scorer
from siftlm.scorers.signals import SignalsScorer, SignalsSettings
from siftlm.settings import Settings

__all__ = [
    "SCORERS",
    "ClassifierSettings",
    "ContaminationScorer",
    "ContaminationSettings",
    "DsirSettings",
    "LMScorer",
    "LMSettings",
    "LanguageSettings",
    "Scorer",
    "ShingleSettings",
    "SignalsSettings",
    "SignatureSettings",
    "open_lm",
    "open_scorer",
    "pinned",
]

SCORERS: dict[type[Settings], Any] = {
    LanguageSettings: LanguageScorer,
    SignalsSettings: SignalsScorer,
    ClassifierSettings: ClassifierScorer,
    DsirSettings: DsirScorer,
    ContaminationSettings: ContaminationScorer,
    ShingleSettings: ShingleScorer,
    SignatureSettings: SignatureScorer,
    LMSettings: LMScorer,
}
"""Every scorer by the class of its settings. A new one is a file and a line here."""


def open_scorer(settings: Settings) -> Scorer:
    """The scorer of these settings, one a process, however many threads ask."""
    return _open(type(settings), settings.model_dump_json())


def open_lm(settings: LMSettings) -> LMScorer:
    """`open_scorer` for a language model."""
    scorer = open_scorer(settings)
    assert isinstance(scorer, LMScorer), f"not a language model: {scorer}"
    return scorer


@lru_cache(maxsize=32)
def _open(kind: type[Settings], settings: str) -> Scorer:
    scorer: Scorer = SCORERS[kind](kind.model_validate_json(settings))
    return scorer
