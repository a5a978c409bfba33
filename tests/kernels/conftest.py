"""What tests of Triton kernels share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def interpret() -> Callable[[str], None]:
    """Runs a test file again with TRITON_INTERPRET=1, which must be set before triton is imported; it must pass."""

    def run(file: str) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(Path(file))]
        environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout[-3000:]
        assert " passed" in finished.stdout

    return run
