"""datatrove's MinHash deduplication and Gopher filters over a folder of jsonl.gz, for `job.py`.

python tests/bench/job_datatrove.py INPUT WORK

One process does all of it, since CPU seconds are compared, and its workers would not be waited for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig

TASKS = 8
BANDS = MinhashConfig(hash_config=HashConfig(precision=64), n_grams=5, num_buckets=14, hashes_per_bucket=8)


def run(steps: list[Any], work: Path, name: str, tasks: int = TASKS) -> None:
    LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=str(work / "logs" / name)).run()


def main() -> None:
    source, work = sys.argv[1], Path(sys.argv[2]) / "datatrove"
    parts = {name: str(work / name) for name in ("signatures", "buckets", "clusters", "output")}
    signatures = [JsonlReader(source), MinhashDedupSignature(parts["signatures"], BANDS)]
    run(signatures, work, "signatures")
    buckets = [MinhashDedupBuckets(parts["signatures"], parts["buckets"], config=BANDS)]
    run(buckets, work, "buckets", BANDS.num_buckets)
    run([MinhashDedupCluster(parts["buckets"], parts["clusters"], config=BANDS)], work, "clusters", 1)
    filters = [MinhashDedupFilter(parts["clusters"]), GopherRepetitionFilter(), GopherQualityFilter()]
    run([JsonlReader(source), *filters, JsonlWriter(parts["output"])], work, "output")


if __name__ == "__main__":
    main()
