"""Imports Beam without its warnings, and all modules of a worker, for the server that forks workers."""

from importlib import import_module
from pkgutil import walk_packages

from siftlm import engine, stages
from siftlm.engine.allocator import limit_arenas
from siftlm.engine.beam import import_beam

limit_arenas()
import_beam()
for package in (engine, stages):
    for module in walk_packages(package.__path__, f"{package.__name__}."):
        if module.name not in (__name__, "siftlm.engine.worker"):
            import_module(module.name)
