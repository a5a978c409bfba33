"""Names the places of a run at which documents leave it, for decisions, funnel and report."""

DEDUP, DEDUP_PARAGRAPHS, REFERENCE, PRESELECT = "dedup", "dedup.paragraphs", "reference", "preselect"
FAILED = "score."  # begins the places of what a model could not score: errors, not decisions
