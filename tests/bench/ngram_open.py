"""Opening n-gram models that cannot be mapped as they are: CPU seconds and peak memory of a process, first and again.

    siftlm train-ngram TEXT --out model.arpa --order 5
    python tests/bench/ngram_open.py model.arpa

Each opening is a process of its own that scores one text. Its memory is what it alone has (RssAnon, which nobody shares
and the kernel cannot take back) and all that it touches (RssAnon and mapped files), the highest of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CODE = """
import sys, time
import pyarrow as pa
from siftlm.scorers.ngram_lm import NgramModelSettings
texts = pa.record_batch({"text": pa.array(["the cat sat on the mat"], pa.large_string())})
small = NgramModelSettings(name="n", path=sys.argv[2]).scorer()
small.score(texts)  # compiles
started = time.process_time()
found = NgramModelSettings(name="n", path=sys.argv[1]).scorer().score(texts)
print(round(time.process_time() - started, 2), found["nll_sum"][0].as_py())
"""
SMALL = Path(__file__).parents[1] / "kernels" / "kenlm" / "model.arpa"
MIB = 1 << 20


def opened(path: str, cache: str) -> tuple[str, float, float]:
    """(CPU seconds and score, peak of own memory, peak of all memory), in MiB, of a process that opens a model."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, path, str(SMALL)], stdout=subprocess.PIPE, text=True, env=_environment(cache)
    )
    own = whole = 0
    while process.poll() is None:
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        except (OSError, ValueError):
            break
        if "RssAnon" in status:
            anonymous, mapped = (int(status[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
            own, whole = max(own, anonymous), max(whole, anonymous + mapped)
        time.sleep(0.02)
    told = process.stdout.read().strip() if process.stdout else ""
    return told, own / MIB, whole / MIB


def _environment(cache: str) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": cache}


def main(path: str) -> None:
    """Prints a row an opening."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as cache:
        print(f"{path}: {Path(path).stat().st_size / MIB:.0f} MiB")
        _, base, whole = opened(str(SMALL), cache)
        print(f"a model of {SMALL.stat().st_size} bytes: {base:.0f} MiB of its own, {whole:.0f} MiB with mapped files")
        for name in ("first", "again"):
            told, own, whole = opened(path, cache)
            print(f"{name}: {told} (CPU seconds, nats); {own:.0f} MiB of its own, {whole:.0f} MiB with mapped files")


if __name__ == "__main__":
    main(sys.argv[1])
