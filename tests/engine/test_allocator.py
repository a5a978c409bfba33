"""What a process does to its allocator, seen from outside: glibc tells how many arenas there are."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

if not hasattr(ctypes.CDLL(None), "mallopt"):
    pytest.skip("the C library is not glibc", allow_module_level=True)

CROWD = """
import ctypes, os, tempfile, threading
import siftlm.stages
from siftlm.engine.allocator import limit_arenas
if {begins}: limit_arenas()
many = 10 + 2 * os.cpu_count()
together = threading.Barrier(many)
def hold():
    kept = ctypes.CDLL(None).malloc(100)
    together.wait()
crowd = [threading.Thread(target=hold) for _ in range(many)]
for thread in crowd: thread.start()
for thread in crowd: thread.join()
with tempfile.NamedTemporaryFile() as file:
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(file.read().count(b"<heap nr="))
"""


def arenas(*, begins: bool, asked: str | None = None) -> int:
    """How many arenas a crowd of threads makes, in a process that has begun to work or has only imported."""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    if asked:
        environment["MALLOC_ARENA_MAX"] = asked
    code = CROWD.replace("{begins}", str(begins))
    told = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    return int(told.stdout)


@pytest.mark.parametrize(("asked", "most"), [(None, len(os.sched_getaffinity(0))), ("5", 5)])
def test_many_threads_share_an_arena_a_core_or_as_many_as_the_environment_says(asked: str | None, most: int) -> None:
    assert arenas(begins=True, asked=asked) == most


def test_importing_the_stages_changes_nothing_in_the_process() -> None:
    """Only a process that works for a run, the driver or a worker, sets its allocator."""
    assert arenas(begins=False) > len(os.sched_getaffinity(0))
