"""Measures how common the n-grams of each document are in the other documents."""
