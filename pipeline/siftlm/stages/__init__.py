"""Holds the steps of a run, one a module or a package; `siftlm.steps` has their order."""
