"""Joins columns of tables to documents by the document's id, URL, host or domain."""
