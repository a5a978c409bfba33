"""Defines the command `siftlm methods`, which shows every method, and a configuration of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from siftlm.errors import UserError

if TYPE_CHECKING:
    from siftlm.components import Method


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this method, with a configuration that runs.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only methods of one kind: rule, score, annotator ...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
) -> None:
    """Show every method: what it does, its source, what it needs and costs, and what of it is unchecked."""
    from siftlm.cli.loop_terminal import print_lines, table
    from siftlm.methods import KINDS

    chosen = _chosen(name, kind)
    if as_json:
        typer.echo(json.dumps([_as_json(method) for method in chosen], indent=2))
        return
    if name is not None:
        for method in chosen:
            _print_one(method)
        return
    for of in KINDS:
        rows = [(method.name, method.words, method.paper) for method in chosen if method.kind == of]
        if rows:
            print_lines(f"{of}: {KINDS[of].place}", table(("name", "what it does", "source"), rows))


def _chosen(name: str | None, kind: str | None) -> list[Method]:
    """The methods of one name and of one kind; raises UserError where there is none."""
    from siftlm.errors import nearest
    from siftlm.methods import KINDS, every_method

    if kind is not None and kind not in KINDS:
        raise UserError(f"--kind: must be one of {', '.join(KINDS)}, got {kind!r}")
    of_kind = [method for method in every_method() if kind in (None, method.kind)]
    named = [method for method in of_kind if name in (None, method.name)]
    if not named:
        near = nearest(str(name), [method.name for method in of_kind])
        hint = f"; did you mean {near!r}?" if near else "; siftlm methods shows all of them"
        raise UserError(f"command line: NAME must be a method, got {name!r}{hint}")
    return named


def _print_one(method: Method) -> None:
    from siftlm.methods import KINDS, in_toml

    typer.echo(f"{method.name}, a {method.kind}. {method.words}\n")
    for title, told in (
        ("where", KINDS[method.kind].place),
        ("source", method.paper),
        ("needs", method.needs),
        ("cost", method.cost),
        ("unchecked", method.unchecked or "nothing"),
        ("columns", ", ".join(method.columns)),
        ("reasons", ", ".join(method.reasons)),
    ):
        if told:
            typer.echo(f"{title:10} {told}")
    typer.echo(f"\n{in_toml(method)}")


def _as_json(method: Method) -> dict[str, object]:
    from dataclasses import asdict

    from siftlm.methods import configuration

    return {**asdict(method), "configuration": configuration(method)}
