"""Cuts lines or paragraphs that occur in several documents."""
