"""Gives documents that came with one id ids of their own."""
