"""Runs the steps of a run with Beam: tasks, runners, graphs, progress and the audit."""
