"""Relates losses to one another, and to the size of models, over a matrix of losses."""
