"""Computes columns from other columns by formulas of the configuration (`[[columns]]`)."""
