"""Computes sampling weights of text units, such as domains, from estimates of their quality."""
