"""How tests run: property tests are not timed, since they share the machine, and commands heed signals."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

MOST_PROCESSES = 4  # each holds torch, Beam and its own copy of the fixtures of a session

for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:  # as in jobs behind `&` and `nohup`, whose children ignore it too
        signal.signal(number, lambda *_: None)


def pytest_xdist_auto_num_workers() -> int:
    """Gives every core a process, up to a few: the answer to `-n auto`."""
    return min(MOST_PROCESSES, len(os.sched_getaffinity(0)))
