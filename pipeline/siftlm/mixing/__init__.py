"""Turns estimates for text units, such as domains, into sampling weights."""
