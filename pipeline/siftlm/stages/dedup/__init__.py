"""Finds exact and near-duplicates over the whole corpus."""
