"""Turns estimates into weights of units."""
