"""Computes numbers of the gradient that each document has under a causal language model."""
