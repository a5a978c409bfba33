"""Exact, mergeable statistics: the same bits whatever the order and the partition of the shards."""
