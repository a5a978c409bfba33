"""Defines the arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Config = Annotated[str, typer.Argument(metavar="CONF", help="Configuration of the run, a TOML file.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, for instance seed=3.")
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Folder of a finished run.")]
Characters = Annotated[int, typer.Option(min=0, help="Characters of text to show.")]
