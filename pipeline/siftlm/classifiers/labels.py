"""Decides which pages a classifier learns as included and which as excluded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siftlm.correlate.pages import keyed_uniform
from siftlm.correlate.settings import TrainingSettings
from siftlm.errors import UserError
from siftlm.statistics.ranks import average_ranks

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Labels:
    """Holds the training examples of a classifier: the page of each, and whether it is included.

    Example e is `page[e]`, which can come several times, and `included[e]`.
    `gold[p]` is the plain label of page p for the held-out report, `used[p]` whether p has a label at all.
    """

    page: npt.NDArray[np.int64]
    included: Booleans
    gold: Booleans
    used: Booleans


def hard_labels(weights: Floats) -> Labels:
    """Returns labels that include a page where its unit has a projected weight > 0 (arXiv 2409.05816)."""
    gold = np.asarray(weights > 0)
    return Labels(np.arange(len(gold)), gold, gold, np.ones(len(gold), bool))


def include_probability(estimates: Floats) -> Floats:
    """Returns each unit's probability of being included, which rises with its estimate's rank.

    It is rank / (units - 1): 1 for the best, the same for equal estimates.
    From the published code of perplexity-correlations, option sample_labels.
    """
    if len(estimates) < 2:
        raise UserError(f"classifier.labels: rank labels must have at least 2 units, got {len(estimates)}")
    return np.asarray((average_ranks(estimates) - 1) / (len(estimates) - 1))


def rank_labels(doc_ids: Sequence[str], probability: Floats, weights: Floats, settings: TrainingSettings) -> Labels:
    """Returns labels that list each page `relabellings` times, included with its unit's probability by a keyed hash.

    Teaches the ranking rather than one threshold. `gold` is where the projected weight is > 0.
    """
    draws = [keyed_uniform(doc_ids, settings.seed, f"label {draw}") for draw in range(settings.relabellings)]
    page = np.tile(np.arange(len(doc_ids)), settings.relabellings)
    included = np.concatenate([drawn < probability for drawn in draws])
    return Labels(page, included, np.asarray(weights > 0), np.ones(len(doc_ids), bool))


def extreme_labels(doc_ids: Sequence[str], scores: Floats, settings: TrainingSettings) -> Labels:
    """Returns PreSelect's labels: the best pages by score are included, as many of the worst excluded.

    Pages in between have no label.

    So many a side as have the top score, as in the paper, whose few models make most scores tie at 1; but where many
    models leave the top to a few pages, `extreme_share` of all pages. Equal scores at a border go by doc_id.

    Raises:
        UserError: a side would have fewer than `fewest_a_side` pages, or the sides would meet.
    """
    pages, top = len(scores), int((scores == scores.max(initial=-np.inf)).sum())
    side = max(top, int(settings.extreme_share * pages))
    upward = np.lexsort((np.asarray(doc_ids, dtype=str), scores))
    downward = np.lexsort((np.asarray(doc_ids, dtype=str), -scores))
    apart = 0 < side <= pages - side and scores[downward[side - 1]] > scores[upward[side - 1]]
    if side < settings.fewest_a_side or not apart:
        raise UserError(
            f"classifier.labels: extremes must have {settings.fewest_a_side} pages or more a side, and all of the one "
            f"side must score above all of the other, got {side} of {pages} pages a side ({top} with the top score); "
            "use more pages, another classifier.extreme_share, or rank labels"
        )
    gold, used = np.zeros(pages, bool), np.zeros(pages, bool)
    gold[downward[:side]] = True
    used[upward[:side]] = True
    used |= gold
    page = np.flatnonzero(used)
    return Labels(page, gold[page], gold, used)


def given_labels(included: Booleans) -> Labels:
    """Returns the labels of two corpora, whose good pages are included and whose web pages are excluded."""
    return Labels(np.arange(len(included)), included, included, np.ones(len(included), bool))
