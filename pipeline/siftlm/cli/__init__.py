"""Holds the command line: `siftlm run conf/quickstart.toml` calls it."""
