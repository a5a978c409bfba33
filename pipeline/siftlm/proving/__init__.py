"""Compares selections by what small models learn from them: the replicates, their statistics and the verdict."""
