"""Kernels over arrays: arrays in, arrays out; neither Beam nor `siftlm`.

The names below are loaded when they are first used, so that importing this package imports no compiler. Kernels
whose function bears the name of its module (`minhash`, `text_signals`, `linear_nll` ...) are imported from there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siftlm_kernels.components import UnionFind, bucket_edges, connected_components, merge_components
    from siftlm_kernels.minhash import band_hashes, minhash_bands, shingle_hashes, spaced_words, true_jaccard

__all__ = [
    "UnionFind",
    "band_hashes",
    "bucket_edges",
    "connected_components",
    "merge_components",
    "minhash_bands",
    "shingle_hashes",
    "spaced_words",
    "true_jaccard",
]

_MODULES = dict.fromkeys(("UnionFind", "bucket_edges", "connected_components", "merge_components"), "components")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'minhash')}"), name)
