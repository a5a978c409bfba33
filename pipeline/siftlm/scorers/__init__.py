"""Opens scorers from their settings; a scorer computes columns for a batch of documents."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

from siftlm.scorers.document_model import DocumentModelScorer
from siftlm.scorers.document_model import DocumentModelSettings as DocumentModelSettings
from siftlm.scorers.dsir import DsirSettings as DsirSettings
from siftlm.scorers.files import pinned as pinned
from siftlm.scorers.lm import LMSettings as LMSettings
from siftlm.scorers.minhash import ShingleSettings as ShingleSettings
from siftlm.scorers.minhash import SignatureSettings as SignatureSettings
from siftlm.scorers.protocol import NamedSettings as NamedSettings
from siftlm.scorers.protocol import Scorer
from siftlm.scorers.protocol import ScorerSettings as ScorerSettings
from siftlm.scorers.score import ScoreScorer as ScoreScorer
from siftlm.scorers.score import ScoreSettings as ScoreSettings
from siftlm.scorers.settings import AnnotateSettings as AnnotateSettings
from siftlm.scorers.settings import AnyAnnotator as AnyAnnotator
from siftlm.scorers.settings import AnyScore as AnyScore
from siftlm.scorers.signals import SignalsSettings as SignalsSettings


def open_scorer(settings: ScorerSettings) -> Scorer:
    """Returns the scorer of these settings; all threads of a process share one."""
    scorer: Scorer = _opened(type(settings), settings.model_dump_json(by_alias=True))
    return scorer


def open_score(settings: ScoreSettings) -> ScoreScorer:
    """Returns the language-model scorer of these settings; all threads of a process share one."""
    scorer: ScoreScorer = _opened(type(settings), settings.model_dump_json(by_alias=True))
    return scorer


def open_document_model(settings: DocumentModelSettings) -> DocumentModelScorer[Any]:
    """Returns the scorer of these settings, whose model is loaded once; all threads of a process share one."""
    scorer: DocumentModelScorer[Any] = _opened(type(settings), settings.model_dump_json())
    return scorer


_opening = Lock()  # two threads that ask for one scorer at once must not get two, each with a model


def _opened(kind: type[ScorerSettings], settings: str) -> Any:
    with _opening:
        return _made(kind, settings)


@lru_cache(maxsize=32)
def _made(kind: type[ScorerSettings], settings: str) -> Any:
    return kind.model_validate_json(settings).scorer()
