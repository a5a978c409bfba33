"""Mapped files have their room on the disk before anything is written to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from siftlm_kernels.mapped import mapped


def test_the_room_of_a_mapped_file_is_reserved(tmp_path: Path) -> None:
    """A file of holes would kill whoever writes to it when the disk is full."""
    made = mapped(str(tmp_path / "table"), (1 << 18, 2))
    assert made.shape == (1 << 18, 2)
    assert not made.any()
    assert 512 * (tmp_path / "table").stat().st_blocks >= made.nbytes
    made[7] = 3, 4
    made.flush()
    assert np.fromfile(tmp_path / "table", np.uint32)[14:16].tolist() == [3, 4]
