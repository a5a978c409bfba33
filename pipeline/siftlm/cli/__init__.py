"""Holds the command line: `siftlm run conf/quickstart.toml` calls it."""

from siftlm.cli.commands import app, main

__all__ = ["app", "main"]
