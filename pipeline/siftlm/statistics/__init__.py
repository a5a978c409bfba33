"""Computes exact statistics that can be merged, with the same result in whatever order shards come."""
