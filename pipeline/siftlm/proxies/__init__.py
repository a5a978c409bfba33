"""Trains small models and measures what they are good at."""
