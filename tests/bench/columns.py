"""A join of a table to documents by doc_id, and formulas over documents: CPU seconds and peak memory, beside polars.

    python tests/bench/columns.py [--rows 10000000]

siftlm keeps the table in a store by the hashes of its keys and looks shards of 100,000 ids up; polars joins two
Parquet files in memory. The formulas are a difference, a rank, a z score and twenty buckets. Every measurement is a
process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SHARD = 100_000
TOGETHER = 16  # statistics of shards that are merged at a time


def write(folder: Path, rows: int) -> None:
    """A table of half as many keys again as there are documents, in ten files, and the ids of the documents."""
    random = np.random.default_rng(0)
    (folder / "table").mkdir()
    for part, keys in enumerate(np.array_split(random.permutation(rows + rows // 2)[:rows], 10)):
        table = {"doc_id": [f"document-{key:012d}" for key in keys.tolist()], "edu": random.random(len(keys))}
        pq.write_table(pa.table(table), folder / f"table/{part}.parquet")
    ids = [f"document-{key:012d}" for key in range(rows)]
    numbers = {"a": random.normal(size=rows), "b": random.normal(size=rows)}
    pq.write_table(pa.table({"doc_id": ids, **numbers}), folder / "documents.parquet", row_group_size=SHARD)


def join_siftlm(folder: Path) -> int:
    """The join as the step does it, a shard at a time; how many documents have a row."""
    from siftlm.stages.join.settings import JoinSettings
    from siftlm.stages.join.source import Source
    from siftlm.stages.join.step import _bits
    from siftlm.stages.join.table import Table
    from siftlm.store import Store

    source = Source(JoinSettings(path=str(folder / "table"), columns=["edu"]), "join.0")
    table = Table(Store(str(folder / "store")), "bench", _bits(source.files()))
    table.write(source)
    matched, schema = 0, table.columns()
    for batch in pq.ParquetFile(folder / "documents.parquet").iter_batches(SHARD, columns=["doc_id"]):
        _, there = table.look_up(batch["doc_id"], schema)
        matched += int(there.sum())
    return matched


def join_polars(folder: Path) -> int:
    import polars

    table = polars.read_parquet(folder / "table/*.parquet")
    documents = polars.read_parquet(folder / "documents.parquet", columns=["doc_id"])
    return int(documents.join(table, on="doc_id", how="left")["edu"].is_not_null().sum())


def formulas_siftlm(folder: Path) -> float:
    """The formulas as the step computes them: passes over shards, then the columns of each; a checksum."""
    from siftlm.derived.formula import Program
    from siftlm.derived.settings import ColumnSettings
    from siftlm.stages.derived import ENTRIES
    from siftlm.statistics.passes import merged

    formulas = {"excess": "a - b", "r": "rank(excess)", "z": "zscore(a) - zscore(b)", "bucket": "quantile(a, 20)"}
    columns = [ColumnSettings(name=name, expr=expr) for name, expr in formulas.items()]
    program, states = Program(columns, {"a": pa.float64(), "b": pa.float64()}), {}

    def shards() -> list[pa.Table]:
        file = pq.ParquetFile(folder / "documents.parquet")
        return (pa.Table.from_batches([batch]) for batch in file.iter_batches(SHARD, columns=["a", "b"]))  # type: ignore[return-value]

    for level in range(1, program.levels + 1):
        open_ = {name: (call, call.statistic.begin(ENTRIES)) for name, call in program.asked(level)}
        while not all(state.done for _, state in open_.values()):
            seen: dict[str, list[object]] = {name: [] for name, (_, state) in open_.items() if not state.done}
            for table in shards():
                alive = np.ones(table.num_rows, np.bool_)
                for name in seen:
                    call, state = open_[name]
                    measured = program.measured(call, table, states, alive)
                    partial = call.statistic.observe(measured, state)  # type: ignore[arg-type]
                    seen[name].append(partial)
                    if len(seen[name]) == TOGETHER:
                        seen[name] = [merged(seen[name])]  # type: ignore[type-var]
            open_ |= {
                name: (open_[name][0], open_[name][0].statistic.settle(open_[name][1], merged(parts)))  # type: ignore[arg-type]
                for name, parts in seen.items()
            }
        states |= {name: state for name, (_, state) in open_.items()}
    return sum(float(np.asarray(program.compute(table, states)["r"]).sum()) for table in shards())


def formulas_polars(folder: Path) -> float:
    import polars as pl

    table = pl.read_parquet(folder / "documents.parquet", columns=["a", "b"]).with_columns(
        excess=pl.col("a") - pl.col("b")
    )
    borders = [table["a"].quantile(k / 20, "nearest") for k in range(1, 20)]
    made = table.with_columns(
        r=(pl.col("excess").rank("average") - 0.5) / pl.len(),
        z=(pl.col("a") - pl.col("a").mean()) / pl.col("a").std()
        - (pl.col("b") - pl.col("b").mean()) / pl.col("b").std(),
        bucket=pl.col("a").cut([float(border) for border in borders if border is not None]),
    )
    return float(made["r"].sum())


WORK = {work.__name__: work for work in (join_siftlm, join_polars, formulas_siftlm, formulas_polars)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(Path(arguments.write), arguments.rows)
        return
    if arguments.child:
        name, folder = arguments.child
        started = time.monotonic()
        answer = WORK[name](Path(folder))
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(
            f"{name:16} {answer:16.3f} {time.monotonic() - started:8.1f} s {used.ru_utime + used.ru_stime:8.1f} CPU s "
            f"{used.ru_maxrss / 1024:8.0f} MiB"
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        own = [sys.executable, __file__, "--rows", str(arguments.rows)]
        subprocess.run([*own, "--write", folder], check=True)
        for name in WORK:
            subprocess.run([*own, "--child", name, folder], check=True)


if __name__ == "__main__":
    main()
