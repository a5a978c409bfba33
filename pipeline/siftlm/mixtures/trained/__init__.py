"""Finds shares of domains by training small models on their texts."""
