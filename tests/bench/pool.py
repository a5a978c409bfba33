"""The pool of a proof: what a document takes in memory, and what drawing from millions of them does.

    python tests/bench/pool.py [--documents 20000000] [--shards 20]

Writes a store with ids and sizes of so many documents and the decisions of an arm that keeps half of them, reads both
as `siftlm prove` does, and draws a replicate of 300,000 tokens and its null. Resident memory is what the process has
more than before it began; its peak holds the columns of a shard while it is read.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from siftlm.engine.shards import Task
from siftlm.proving.draws import draw, matched
from siftlm.proving.libraries import Holdout, Library
from siftlm.selectors import DECISION_SCHEMA
from siftlm.stages.columns import DECISIONS
from siftlm.stages.eligible import Split
from siftlm.store import Store

TOKENS = 300_000
SIGNALS = pa.schema([("doc_id", pa.string()), ("byte_count", pa.int64())])


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Bytes of this process in memory at most, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def shards(store: Store, documents: int, number: int) -> Iterator[Task]:
    """The shards of a corpus: ids like those of WARC records, sizes like those of web pages, half of them kept."""
    generator = np.random.default_rng(0)
    for shard in range(number):
        count = documents // number
        key = f"{shard:032x}"
        ids = [f"<urn:uuid:{a:016x}-{b:016x}>" for a, b in generator.integers(0, 2**63, (count, 2)).tolist()]
        sizes = np.exp(generator.normal(7.5, 1.1, count)).astype(np.int64) + 1
        kept = generator.random(count) < 0.5
        given = {"kept": kept, "copies": kept.astype(np.int64), "weight": kept.astype(np.float64)}
        decisions = [
            pa.array(given[field.name], field.type) if field.name in given else pa.nulls(count, field.type)
            for field in DECISION_SCHEMA
        ]
        for stage, table in (
            ("signals", pa.table([ids, sizes], schema=SIGNALS)),
            (DECISIONS, pa.table(decisions, schema=DECISION_SCHEMA)),
        ):
            with store.writer(stage, key, table.schema) as file:
                for batch in table.to_batches(max_chunksize=1 << 16):
                    file.write(batch)
            store.commit(Task(shard, key, key).marker(stage, count, file.seal))
        yield Task(shard, key, key, {"signals": key, DECISIONS: key}, {"source": "web" if shard % 2 else "wiki"})


def written(store: Store, documents: int, number: int) -> list[Task]:
    """All shards, written."""
    return list(shards(store, documents, number))


def main() -> None:
    """Prints bytes a document, and seconds of reading and drawing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000_000)
    parser.add_argument("--shards", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        with ProcessPoolExecutor(1) as writer:  # whose memory does not count
            tasks = writer.submit(written, store, given.documents, given.shards).result()
        nothing = Holdout(frozenset(), 0.5, 0)
        pool = Library("random", store, tasks, nothing, Split())
        arm = Library("half", store, tasks, nothing)
        for name, library in (("pool", pool), ("arm", arm)):
            before, started = resident(), time.monotonic()
            made = library.training.documents(["web", "wiki"], {"web": 4.0, "wiki": 4.0})
            pa.default_memory_pool().release_unused()
            held, seconds = resident() - before, time.monotonic() - started
            arrays = made.hashes.nbytes + made.bytes.nbytes + made.weight.nbytes + made.source.nbytes
            arrays += library.training.rows.nbytes
            print(
                f"{name}: {len(made):,} documents, arrays {arrays / len(made):.1f} bytes each, resident "
                f"{held / len(made):.1f}, read in {seconds:.1f} s; peak of the process {peak() / 1e9:.2f} GB"
            )
        documents = [library.training.documents(["web", "wiki"], {"web": 4.0, "wiki": 4.0}) for library in (pool, arm)]
        before, started = peak(), time.monotonic()
        rows = draw(documents[1], TOKENS, 0.5, 1)
        drawn = time.monotonic()
        null = matched(documents[0], documents[1], rows, TOKENS, 2)
        print(
            f"draw: {len(rows):,} documents in {drawn - started:.1f} s, its null {len(null):,} in "
            f"{time.monotonic() - drawn:.1f} s, peak {(peak() - before) / len(documents[0]):.1f} bytes a document more"
        )


if __name__ == "__main__":
    main()
