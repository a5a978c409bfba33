"""Cuts lines or paragraphs that several documents have."""
