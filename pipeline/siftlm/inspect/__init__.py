"""Reads finished runs, to explain decisions, write reports, compare runs and show clusters."""
