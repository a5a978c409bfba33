"""The package imports no compiler, and its compiled code is ready in any worker: shared, cold, or read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import siftlm_kernels
from siftlm_kernels import minhash_reference as reference

PACKAGE = Path(siftlm_kernels.__file__).parent
CODE = """
import numpy as np
from siftlm_kernels.minhash import band_hashes
print(int(band_hashes(np.full((1, 1), 7, np.uint32), 1, 1)[0, 0]))
"""
EXPECTED = f"{reference.mix(reference.step(reference.step(reference.GOLDEN, 0), 7))}\n"


def start(code: str, **environment: str) -> subprocess.Popen[str]:
    """A fresh interpreter."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(worker: subprocess.Popen[str]) -> str:
    """What it printed; its errors fail the test."""
    out, errors = worker.communicate(timeout=300)
    assert worker.returncode == 0, errors
    return out


def test_importing_the_package_imports_no_compiler() -> None:
    """Settings and the command line can name kernels without paying for numba."""
    code = (
        "import sys, siftlm_kernels, siftlm_kernels.minhash, siftlm_kernels.components;"
        "siftlm_kernels.components.bucket_edges; siftlm_kernels.minhash.minhash_bands;"
        "print([name for name in ('numba', 'scipy', 'torch', 'apache_beam', 'siftlm') if name in sys.modules])"
    )
    assert output(start(code)) == "[]\n"


def test_workers_that_start_at_once_on_a_cold_cache_agree(tmp_path: Path) -> None:
    """Both may compile; neither reads half a file of the other."""
    workers = [start(CODE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    assert [output(worker) for worker in workers] == [EXPECTED, EXPECTED]
    compiled = list(tmp_path.rglob("*.nbc"))
    assert compiled
    times = {path: path.stat().st_mtime_ns for path in compiled}
    assert output(start(CODE, NUMBA_CACHE_DIR=str(tmp_path))) == EXPECTED
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == times
