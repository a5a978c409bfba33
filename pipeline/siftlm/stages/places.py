"""The places of a run at which documents leave it, by the names that decisions, funnel and report give them."""

DEDUP, PASSAGES, REFERENCE, PRESELECT = "dedup", "dedup.passages", "reference", "preselect"
FAILED = "score."  # begins the places of what a model could not score: errors, not decisions
