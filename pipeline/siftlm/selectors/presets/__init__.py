"""Holds the rules of published recipes, one TOML file for each."""
