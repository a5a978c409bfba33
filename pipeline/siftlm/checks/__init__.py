"""Checks a run's configuration, its inputs and its outcome for mistakes."""
