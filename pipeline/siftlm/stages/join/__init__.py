"""Joins columns of tables to documents, by their ids or by where they come from."""
