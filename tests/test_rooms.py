"""Tests stand in the rooms of what they test."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOMS = TESTS.parent / "pipeline" / "siftlm"
OWN = {"kernels", "runs", "bench", "fuzz"}  # the other package, whole runs, measurements, hostile input


def test_every_folder_of_tests_is_a_room_of_the_code() -> None:
    """By the same path below siftlm; a room that has moved takes its tests with it."""
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("*.py")} - {Path()}
    assert not [str(path) for path in folders if path.parts[0] not in OWN and not (ROOMS / path).is_dir()]


def test_every_room_has_tests() -> None:
    """Of the command line, whole runs are."""
    rooms = {path.parent.name for path in ROOMS.glob("*/__init__.py")} - {"cli"}
    assert not [room for room in rooms if not any((TESTS / room).glob("**/test_*.py"))]
