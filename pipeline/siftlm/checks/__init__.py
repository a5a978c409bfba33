"""Finds what is wrong with a configuration, its inputs and its outcome."""
