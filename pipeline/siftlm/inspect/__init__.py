"""Reads finished runs: explanations, reports, differences, clusters."""
