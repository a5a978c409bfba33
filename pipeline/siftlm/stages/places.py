"""Defines the names of the points of a run that drop documents, for decisions, funnel and report."""

DEDUP, DEDUP_PARAGRAPHS, REFERENCE, PRESELECT = "dedup", "dedup.paragraphs", "reference", "preselect"
FAILED = "score."  # begins the places of what a model could not score: errors, not decisions
