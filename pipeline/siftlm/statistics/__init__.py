"""Computes exact, mergeable statistics: the same bits in whatever order shards come."""
