"""Defines `siftlm store list` and `siftlm store prune`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

store_app = typer.Typer(help="List what is in a store, and remove what no run needs.", rich_markup_mode=None)

Where = Annotated[str, typer.Argument(metavar="STORE", help="A store, the folder of a run that uses it, or a CONF.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@store_app.command("list")
def list_store(where: Where, json: Json = False) -> None:
    """Show what is in a store by step, which runs use it, and how much of it they need."""
    import orjson

    from siftlm.cli.store_terminal import print_survey
    from siftlm.storage.place import place_of
    from siftlm.storage.prune import finished
    from siftlm.storage.survey import survey

    place = place_of(where)
    surveyed = survey(place.store, finished(place.run))
    if json:
        typer.echo(orjson.dumps(asdict(surveyed), option=orjson.OPT_INDENT_2).decode())
    else:
        print_survey(surveyed)


@store_app.command("prune")
def prune_store(
    where: Where,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this nothing is touched.")] = False,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="RUN", help="Keep what the run in this folder needs, and others named.")
    ] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Keep what the last N finished runs need.")] = None,
    older_than: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="Age from which what no known run needs may go.")
    ] = 7.0,
    forget_gone: Annotated[
        bool, typer.Option("--forget-gone", help="Let go of runs whose folders are not there any more.")
    ] = False,
) -> None:
    """Show what of a store no run needs, and remove it with --yes; every run's last output is kept."""
    from siftlm.cli.store_terminal import print_pruned, print_pruning
    from siftlm.storage.place import place_of
    from siftlm.storage.prune import Choice, prune, pruning

    place, choice = place_of(where), Choice(tuple(keep or ()), last, older_than, forget_gone)
    if yes:
        print_pruned(prune(place.store, choice, place.run, print_pruning))
        return
    print_pruning(pruning(place.store, choice, place.run))
    typer.echo("nothing was removed: --yes does it")
