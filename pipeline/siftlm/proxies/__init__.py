"""Trains small models, and measures their errors on text units and small tasks."""
