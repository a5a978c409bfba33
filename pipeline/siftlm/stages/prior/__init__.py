"""Measures documents by how frequent their tokens are in the corpus."""
