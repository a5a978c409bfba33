"""Links between documents in files: merged to components in any order, and removed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from siftlm.engine.spill import Links
from siftlm.store import Store


def test_components_merge_in_a_tree_and_leave_no_file(tmp_path: Path) -> None:
    """Files of edges give the same components whether merged at once or by branches."""
    rng, links = np.random.default_rng(0), Links(Store(str(tmp_path)), "k")
    edges = [(rng.integers(0, 4000, 500), rng.integers(0, 4000, 500)) for _ in range(6)]
    paths = [links.write(f"edges-{n}", part) for n, part in enumerate(edges)]
    once = links.read(links.merge("once", paths))
    tree = links.read(links.merge("all", [links.merge("left", paths[:2]), links.merge("right", paths[2:])]))
    assert all(map(np.array_equal, once, tree))
    links.remove()
    assert not (tmp_path / "links" / "k").exists()
