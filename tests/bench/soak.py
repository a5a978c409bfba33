"""Runs in a loop in one process: does memory grow, do files stay open?

    python tests/bench/soak.py [--minutes 60] [--processes 0]

The quickstart's corpus with a truncated shard beside it, its model trained once; every run goes into a fresh folder:
readers, language, text signals, near-duplicates, cut lines, commonness, scores, report. After every run one line: CPU
seconds, resident memory and open files of the process, and whether the output has the digests of the first run's.
The last lines compare the first quarter of the runs with the last. Linux only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from statistics import median
from typing import Any

from siftlm import job
from siftlm.config import parse
from siftlm.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "conf" / "quickstart.toml"


def prepared(folder: Path, processes: int) -> dict[str, Any]:
    """The tree of a run over the quickstart's corpus, by a model that is trained here."""
    model = folder / "model"
    command = [sys.executable, "-m", "siftlm.cli", "train-reference", str(QUICKSTART), str(model)]
    subprocess.run([*command, "--set", f"output.folder={folder}/trained"], cwd=ROOT, check=True)
    damaged = folder / "damaged"
    damaged.mkdir()
    whole = min((ROOT / "conf" / "quickstart" / "c4").glob("*.gz"))
    (damaged / "cut.jsonl.gz").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    tree = tomllib.loads(QUICKSTART.read_text(encoding="utf-8"))
    del tree["reference"]
    for source in tree["input"]:
        source["paths"] = [str(ROOT / path) for path in source["paths"]]
    tree["input"].append({"source": "damaged", "paths": [str(damaged)], "id_field": "id"})
    tree["dedup"] |= {"passages": {"min_bytes": 40}, "commonness": {"bits": 20}}
    tree["score"][0] |= {"model": str(model), "max_tokens": 256}
    tree["output"]["folder"] = str(folder / "run")
    if processes:
        tree["runner"] = {"processes": processes}
    return tree


def resident_mib() -> int:
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--processes", type=int, default=0, help="local worker processes instead of threads")
    chosen = options.parse_args()
    seen: list[tuple[int, int]] = []
    data: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        tree = prepared(Path(name), chosen.processes)
        end = time.monotonic() + 60 * chosen.minutes
        while time.monotonic() < end:
            shutil.rmtree(tree["output"]["folder"], ignore_errors=True)
            result = job.run(parse(tree, []), Progress(quiet=True))
            seen.append((resident_mib(), len(os.listdir("/proc/self/fd"))))
            mib, files = seen[-1]
            same = (data := data or result.manifest["data"]) == result.manifest["data"]
            took = time.process_time()
            print(
                f"run {len(seen)}: {took:.0f} CPU s, {mib} MiB, {files} files, {'same' if same else 'OTHER'} bytes",
                flush=True,
            )
    quarter = max(len(seen) // 4, 1)
    for when, part in (("first", seen[:quarter]), ("last", seen[-quarter:])):
        sizes = [mib for mib, _ in part]
        files = max(count for _, count in part)
        print(
            f"{when} quarter: median {median(sizes):.0f} MiB ({min(sizes)} to {max(sizes)}), {files} files open at most"
        )


if __name__ == "__main__":
    main()
