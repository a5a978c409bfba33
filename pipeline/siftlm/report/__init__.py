"""Makes the pages and figures of a run, its manifest and its dataset card."""
