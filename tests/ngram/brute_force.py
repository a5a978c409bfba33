"""Modified Kneser-Ney by its definition, in dictionaries of tuples: the truth that the trainer is held against.

Chen and Goodman 1998 with interpolation; Heafield et al. 2013; what lmplz does with counts at the edges.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
Gram = tuple[str, ...]


@dataclass
class Truth:
    """log10 p and backoff weights of every n-gram, and the discounts of each order."""

    logs: dict[Gram, float]
    backoffs: dict[Gram, float]
    discounts: dict[int, tuple[float, ...]]


def adjusted_counts(lines: list[list[str]], order: int) -> tuple[list[dict[Gram, int]], list[Counter[Gram]]]:
    """(adjusted counts, raw counts) of each order from 1 on."""
    raw: list[Counter[Gram]] = [Counter() for _ in range(order + 1)]
    for line in lines:
        tokens = [BEGIN, *line, END]
        for n in range(1, order + 1):
            raw[n].update(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    del raw[1][(BEGIN,)]
    counts: list[dict[Gram, int]] = [{} for _ in range(order + 1)]
    counts[order] = dict(raw[order])
    for n in range(order - 1, 0, -1):
        left = Counter(gram[1:] for gram in raw[n + 1])
        counts[n] = {gram: raw[n][gram] if gram[0] == BEGIN else left[gram] for gram in raw[n]}
    return counts, raw


def discounts_of(tally: Counter[int]) -> tuple[float, ...] | None:
    if not all(tally[k] for k in (1, 2, 3)):
        return None
    y = tally[1] / (tally[1] + 2 * tally[2])
    found = tuple(k - (k + 1) * y * tally[k + 1] / tally[k] for k in (1, 2, 3))
    return found if all(0 <= d <= k for k, d in enumerate(found, 1)) else None


def kneser_ney(text: list[str], order: int) -> Truth:
    """The model of the lines of a text, with discounts of 0.5, 1 and 1.5 where none can be estimated."""
    lines = [line.split() for line in text]
    counts, raw = adjusted_counts(lines, order)
    ids = {UNKNOWN: 0, BEGIN: 1, END: 2}
    for line in lines:
        for word in line:
            ids.setdefault(word, len(ids))
    discounts = {}
    for n in range(1, order + 1):
        tally = Counter(counts[n].values())
        if n < order:  # lmplz's last n-gram in suffix order
            last = max(counts[n], key=lambda gram: [ids[word] for word in reversed(gram)])
            tally[counts[n][last]] -= 1
            tally[raw[n][last]] += 1
        discounts[n] = discounts_of(tally) or (0.5, 1.0, 1.5)
    probabilities, backoffs = {}, {}
    words = [word for word in ids if word != BEGIN]
    for n in range(1, order + 1):
        sums: Counter[Gram] = Counter()
        held: dict[Gram, float] = {}
        for gram, count in counts[n].items():
            sums[gram[:-1]] += count
            held[gram[:-1]] = held.get(gram[:-1], 0.0) + discounts[n][min(count, 3) - 1]
        for gram, count in counts[n].items():
            own = (count - discounts[n][min(count, 3) - 1]) / sums[gram[:-1]]
            lower = probabilities[gram[1:]] if n > 1 else 1 / len(words)
            probabilities[gram] = own + held[gram[:-1]] / sums[gram[:-1]] * lower
        if n == 1:
            probabilities[(UNKNOWN,)] = held[()] / sums[()] / len(words)
        for context in sums:
            backoffs[context] = held[context] / sums[context]
    logs = {gram: math.log10(p) for gram, p in probabilities.items()} | {(BEGIN,): 0.0}
    weights = {gram: math.log10(backoffs.get(gram, 1.0)) for gram in logs if len(gram) < order}
    return Truth(logs, weights, discounts)


def random_text(seed: int, lines: int, words: int, most: int = 12) -> list[str]:
    """Lines of words with a long tail; some are empty."""
    draw = np.random.default_rng(seed)
    return [" ".join(f"w{min(int(z), words)}" for z in draw.zipf(1.4, draw.integers(0, most))) for _ in range(lines)]


def read_arpa(content: str) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """(log10 p, backoff weights) of a file in ARPA format."""
    logs, backoffs, order = {}, {}, 0
    for line in content.split("\n"):
        if line.startswith("\\") and line.endswith("-grams:"):
            order = int(line[1:].split("-")[0])
        elif order and line and not line.startswith("\\"):
            value, words, *rest = line.split("\t")
            logs[tuple(words.split(" "))] = float(value)
            if rest:
                backoffs[tuple(words.split(" "))] = float(rest[0])
    return logs, backoffs
