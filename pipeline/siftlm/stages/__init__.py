"""The stages of a run. Every process that runs one imports this package: the driver, and workers of any runner."""

from siftlm.engine.allocator import limit_arenas

limit_arenas()
