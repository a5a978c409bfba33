"""Compares strings of a column with lists: of values, domains, urls, patterns or hashes, inline or in files."""
