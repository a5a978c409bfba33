"""Reads benchmark items, of which models are asked for the bits of the right answer after its context."""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm.errors import UserError
from siftlm.proving.held_out import Measuring
from siftlm.proving.settings import ItemSettings
from siftlm.scorers.items import items_of
from siftlm.statistics.hashing import finalise, keyed


def read_items(settings: ItemSettings, seed: int) -> Measuring:
    """Returns the items of a file as measures of one domain, at most `settings.items` by a keyed draw.

    The texts are each context, and the context with a space and each of its choices, the right one first.

    Raises:
        UserError: the file cannot be read, or an item has no context, choices or answer.
    """
    place = f"prove.items.{settings.name}"
    try:
        every = list(items_of(settings.path, [settings.context_field, settings.choices_field, settings.answer_field]))
    except (OSError, ValueError) as error:
        raise UserError(f"{place}.path: must be a file of items, got {settings.path!r}: {error}") from None
    order = np.argsort(keyed(finalise(np.arange(len(every), dtype=np.uint64)), seed, f"items {settings.name}"))
    rows = np.sort(order[: settings.items]).tolist()
    texts, whole, given, choices, sizes = list[str](), list[int](), list[int](), list[list[int]](), list[int]()
    for row in rows:
        context, answers = _item(place, settings, row, every[row])
        given.append(len(texts))
        whole.append(len(texts) + 1)
        choices.append([len(texts) + 1 + n for n in range(len(answers))])
        sizes.append(len(f" {answers[0]}".encode()))
        texts += [context, *(f"{context} {answer}" for answer in answers)]
    width = max((len(of) for of in choices), default=1)
    table = np.array([[*of, *[-1] * (width - len(of))] for of in choices], np.int64).reshape(len(rows), width)
    return Measuring(
        (settings.name,),
        np.zeros(len(rows), np.int64),
        list(map(str, rows)),
        texts,
        np.array(sizes, np.int64),
        np.array(whole, np.int64),
        np.array(given, np.int64),
        table,
    )


def _item(place: str, settings: ItemSettings, row: int, item: Any) -> tuple[str, list[str]]:
    """The context of an item and its answers, the right one first."""
    fields = (settings.context_field, settings.choices_field, settings.answer_field)
    context, choices, answer = (item.get(name) if isinstance(item, dict) else None for name in fields)
    texts = choices if isinstance(choices, list) and all(isinstance(text, str) and text for text in choices) else []
    if not isinstance(context, str) or not context or not isinstance(answer, int) or not 0 <= answer < len(texts):
        raise UserError(
            f"{place}: must have a text {fields[0]!r}, a list of texts {fields[1]!r} and the number {fields[2]!r} of "
            f"the right one in every item, got another in item {row} of {settings.path}"
        )
    return context, [texts[answer], *(text for n, text in enumerate(texts) if n != answer)]
