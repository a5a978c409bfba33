"""What personal data costs, beside FineWeb's way: `re` over every document.

python -m tests.bench.pii FILE.jsonl.gz
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from tests.edits import yardstick

from siftlm.edits import edited_columns, replaced
from siftlm.edits.pii import PiiSettings


def seconds(work: Callable[[], Any], times: int = 5) -> float:
    """The least time of a few."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return min(took)


def main(path: str) -> None:
    with gzip.open(path) as lines:
        texts = [json.loads(line)["text"] for line in lines]
    column, size = pa.array(texts, pa.large_string()), sum(len(text.encode()) for text in texts)
    pii = PiiSettings()

    def ours() -> None:
        replaced(column, edited_columns(pii, column)[pii.spans])

    def theirs() -> None:
        for text in texts:
            yardstick.IP.sub("22.214.171.124", yardstick.EMAIL.sub("email@example.com", text))

    here, there = seconds(ours), seconds(theirs)
    print(f"siftlm {size / here / 1e6:.0f} MB/s, re a document {size / there / 1e6:.1f} MB/s: {there / here:.1f} times")


if __name__ == "__main__":
    main(sys.argv[1])
