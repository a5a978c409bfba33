"""Starts all work that Beam runs: steps, runners, shards, graphs, progress and the audit."""
