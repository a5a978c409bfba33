"""Text signals: MB/s of one core, beside datatrove's Gopher, C4 and FineWeb filters on the same documents.

    python tests/bench/text_signals.py [--megabytes 20]

Every row is CPU time of one thread in the same run, so that ratios hold on a busy machine; datatrove's filters read
the first documents only. Its rows are left out where the `bench` extra is not installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

from corpus import mixed_corpus, ragged

from siftlm_kernels.text_signals import text_signals


def megabytes_per_second(work: Callable[[], object], size_bytes: int, repeats: int) -> float:
    """The best of `repeats` runs, by CPU time."""
    seconds = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        seconds.append(time.thread_time() - start)
    return size_bytes / 1e6 / min(seconds)


def rows(texts: list[str], slow_texts: list[str]) -> Iterator[tuple[str, float]]:
    values, offsets = ragged(texts)
    slow_values, slow_offsets = ragged(slow_texts)
    text_signals(values[:0], offsets[:1])
    yield "siftlm", megabytes_per_second(lambda: text_signals(values, offsets), len(values), 5)
    yield (
        "siftlm, plain Python",
        megabytes_per_second(lambda: text_signals(slow_values, slow_offsets, impl="reference"), len(slow_values), 1),
    )
    for name, run in datatrove_filters(slow_texts):
        yield name, megabytes_per_second(run, len(slow_values), 1)


def datatrove_filters(texts: list[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each filter with thresholds that let everything pass, so that all of it is computed."""
    try:
        from datatrove.data import Document
        from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    except ImportError:
        return
    off = 1e9
    repetition = GopherRepetitionFilter(
        off, off, off, off, tuple((n, off) for n in (2, 3, 4)), tuple((n, off) for n in range(5, 11))
    )
    quality = GopherQualityFilter(0, None, 0, None, off, off, off, -1.0, -1)
    fineweb = FineWebQualityFilter(line_punct_thr=-1, short_line_thr=off, char_duplicates_ratio=off, new_line_ratio=off)
    documents = [Document(text=text, id="") for text in texts if text.strip()]
    for name, filters in (
        ("datatrove Gopher repetition", [repetition]),
        ("datatrove Gopher repetition + quality + FineWeb", [repetition, quality, fineweb]),
    ):
        yield name, lambda filters=filters: [f.filter(d) for d in documents for f in filters]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=float, default=20.0)
    arguments.add_argument("--slow-megabytes", type=float, default=1.0)
    chosen = arguments.parse_args()
    texts = mixed_corpus()
    texts = texts[:: max(1, round(sum(map(len, texts)) / 1e6 / chosen.megabytes))]
    slow = texts[:: max(1, round(chosen.megabytes / chosen.slow_megabytes))]
    own = 0.0
    for name, rate in rows(texts, slow):
        own = own or rate
        print(f"{name:50} {rate:8.2f} MB/s per core   siftlm is {own / rate:6.1f} x")


if __name__ == "__main__":
    main()
