"""`python tests/fuzz --inputs 1000000 --seed 1`: fuzzes every target in proportion, and keeps what it finds.

A target runs in a process of its own, which says where it is in shared memory before it begins an input. So a crash
and a hang are findings like any other, and the run goes on behind them.
"""

from __future__ import annotations

import argparse
import json
import mmap
import multiprocessing
import random
import resource
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from targets import TARGETS

HANG_SECONDS = 10.0
MEMORY_BYTES = 12 << 30  # of addresses: what asks for more is a finding
FORM = struct.Struct("<qdqd")  # input, when it began, the slowest input so far, its seconds


def content_of(target: str, seed: int, number: int) -> bytes:
    """The input of that number: the same on every machine."""
    facts = TARGETS[target]
    return facts.change(random.Random(f"{seed}:{target}:{number}"), facts.seeds())


def work(target: str, seed: int, first: int, end: int, place: Any, findings: Path) -> None:
    """Checks inputs [first, end); what an input raises is written down once for each line of code it comes from."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    facts, known, slowest = TARGETS[target], set(), FORM.unpack(place[:])[2:]
    seeds = facts.seeds()
    for content in seeds if first == 0 else ():
        facts.check(content)  # also compiles what there is to compile, before time counts
    for number in range(first, end):
        content = facts.change(random.Random(f"{seed}:{target}:{number}"), seeds)
        began = time.monotonic()
        place[:] = FORM.pack(number, began, *slowest)
        try:
            facts.check(content)
        except Exception as error:  # noqa: BLE001
            line = f"{type(error).__name__} {traceback.extract_tb(error.__traceback__)[-1][:2]}"
            if line not in known:
                known.add(line)
                keep(findings, target, seed, number, content, traceback.format_exc())
        seconds = time.monotonic() - began
        if seconds > slowest[1]:
            slowest = (number, seconds)
    place[:] = FORM.pack(end, 0.0, *slowest)


def keep(findings: Path, target: str, seed: int, number: int, content: bytes, why: str) -> None:
    """Writes an input and what happened."""
    folder = findings / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{seed}-{number}").write_bytes(content)
    (folder / f"{seed}-{number}.txt").write_text(why)


def fuzz(target: str, seed: int, inputs: int, findings: Path) -> dict[str, Any]:
    """Runs one target to its end, over crashes and hangs; what it came to."""
    place, first, began = mmap.mmap(-1, FORM.size), 0, time.monotonic()
    while first < inputs:
        place[: FORM.size] = FORM.pack(first, 0.0, *FORM.unpack(place[:])[2:])
        context = multiprocessing.get_context("fork")
        process = context.Process(target=work, args=(target, seed, first, inputs, place, findings))
        process.start()
        hung = False
        while process.is_alive() and not hung:
            process.join(0.25)
            started = FORM.unpack(place[:])[1]
            hung = bool(started) and time.monotonic() - started > HANG_SECONDS
        if hung:
            process.kill()
            process.join()
        number, _, slowest, seconds = FORM.unpack(place[:])
        if number >= inputs:
            break
        why = f"hung for {HANG_SECONDS} s" if hung else f"ended with {process.exitcode}"
        keep(findings, target, seed, number, content_of(target, seed, number), why)
        first = number + 1
    _, _, slowest, seconds = FORM.unpack(place[:])
    found = sum(1 for _ in (findings / target).glob(f"{seed}-*.txt"))
    took = round(time.monotonic() - began, 1)
    return {"target": target, "inputs": inputs, "findings": found, "seconds": took,
            "slowest": slowest, "slowest_seconds": round(seconds, 3)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in total, shared out among the targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="these targets only")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder of what is found")
    given = parser.parse_args()
    names = given.target or list(TARGETS)
    shares, findings = sum(TARGETS[name].share for name in names), 0
    for name in names:
        result = fuzz(name, given.seed, -(-given.inputs * TARGETS[name].share // shares), given.findings)
        findings += result["findings"]
        print(json.dumps(result), flush=True)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
