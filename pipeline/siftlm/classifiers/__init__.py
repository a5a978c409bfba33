"""Trains fastText classifiers, and labels the pages that they learn from."""
