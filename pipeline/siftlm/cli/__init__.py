"""Defines the command line, for instance `siftlm run conf/quickstart.toml`."""

from siftlm.cli.commands import app, main

__all__ = ["app", "main"]
