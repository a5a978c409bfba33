"""Compiles every kernel into numba's cache, so that no worker has to.

python -m siftlm_kernels
"""

from __future__ import annotations

from importlib import import_module

import numpy as np

from siftlm_kernels import commonness, components, minhash, paragraphs

EAGER = ("fasttext_linear_kernel", "text_signals_kernel")
"""Modules whose kernels have signatures, and are compiled when they are imported."""


def main() -> None:
    """Compiles what is not cached; the cache is where `NUMBA_CACHE_DIR` says, else beside the source."""
    for name in EAGER:
        import_module(f"siftlm_kernels.{name}")
    minhash.warm()
    minhash.minhash(np.frombuffer(b"a b", np.uint8), np.array([0, 3]), impl="datasketch")
    components.warm()
    paragraphs.warm()
    commonness.warm()


if __name__ == "__main__":
    main()
