"""Runs in a loop in one process: does memory grow, do files stay open?

    python tests/bench/soak.py [--minutes 60] [--processes 0]

The quickstart's corpus with a truncated shard beside it, its model trained once; every run goes into a fresh folder:
readers, language, text signals, near-duplicates, cut lines, commonness, scores, report. After every run one line: CPU
seconds, resident memory, how much is allocated (memory that leaks is both, memory in pieces only resident), open files,
and whether the output has the digests of the first run's. The last lines compare the quarters of the runs. Linux with
glibc only.
"""

from __future__ import annotations

import argparse
import ctypes
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
from siftlm.engine.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "conf" / "quickstart.toml"
MALLINFO2 = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]


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
    tree["dedup"] |= {"paragraphs": {"min_bytes": 40}, "commonness": {"bits": 20}}
    tree["score"][0] |= {"model": str(model), "max_tokens": 256}
    tree["output"]["folder"] = str(folder / "run")
    if processes:
        tree["runner"] = {"processes": processes}
    return tree


def resident_mib() -> int:
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


class MallocInfo(ctypes.Structure):
    """glibc's struct mallinfo2, of all arenas."""

    _fields_ = [(name, ctypes.c_size_t) for name in MALLINFO2]


def allocated_mib() -> int:
    """What malloc has given out and not got back, in MiB; it does nothing to it."""
    ask = ctypes.CDLL("libc.so.6").mallinfo2
    ask.restype = MallocInfo
    info = ask()
    return (info.uordblks + info.hblkhd) >> 20


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--processes", type=int, default=0, help="local worker processes instead of threads")
    chosen = options.parse_args()
    seen: list[tuple[int, int, int]] = []
    data: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        tree = prepared(Path(name), chosen.processes)
        end = time.monotonic() + 60 * chosen.minutes
        while time.monotonic() < end:
            shutil.rmtree(tree["output"]["folder"], ignore_errors=True)
            result = job.run(parse(tree, []), Progress(quiet=True))
            resident, allocated, files = resident_mib(), allocated_mib(), len(os.listdir("/proc/self/fd"))
            seen.append((resident, allocated, files))
            same = (data := data or result.manifest["data"]) == result.manifest["data"]
            figures = f"{time.process_time():.0f} CPU s, {resident} MiB resident, {allocated} allocated, {files} files"
            print(f"run {len(seen)}: {figures}, {'same' if same else 'OTHER'} bytes", flush=True)
    for quarter in range(4):
        part = zip(*seen[len(seen) * quarter // 4 : len(seen) * (quarter + 1) // 4], strict=True)
        spread = (f"{median(column):.0f} ({min(column)} to {max(column)})" for column in part)
        print("quarter {}: {} MiB resident, {} allocated, {} files".format(quarter + 1, *spread))


if __name__ == "__main__":
    main()
