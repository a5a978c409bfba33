"""Computes columns from columns by formulas of the configuration (`[[columns]]`)."""
