"""Trains fastText classifiers and makes the labels of their pages."""
