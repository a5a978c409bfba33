"""Finds shares of domains, a method a file."""
