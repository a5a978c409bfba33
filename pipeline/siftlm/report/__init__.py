"""Draws pages and figures and writes the manifest and the card."""
