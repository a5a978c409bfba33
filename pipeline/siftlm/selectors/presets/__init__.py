"""Holds the rules of published recipes, a TOML file each."""
