"""Gives unique ids to documents that share an id in the input."""
