"""Defines the steps of a run, one per module or package; `siftlm.steps` defines their order."""
