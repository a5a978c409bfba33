"""Defines the command `siftlm mix`, and prints a mixture with how far it is to be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from siftlm.errors import UserError

if TYPE_CHECKING:
    from siftlm.mixtures.regmix import MixResult

LEAST_SHOWN = 0.0005  # share; smaller ones are told together


def mix(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="How shares are found: regmix.")],
    config: Annotated[
        str | None, typer.Argument(metavar="[CONF]", help="A TOML file with the table [mix] and `output`.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key, for instance mix.runs=runs.csv."),
    ] = None,
) -> None:
    """Find the shares that domains should have in training text, and write them for a factor `mixture`."""
    from siftlm.config import read_toml, validated
    from siftlm.errors import nearest
    from siftlm.mixtures.mix import mix as find
    from siftlm.mixtures.settings import METHODS, MixConfig

    if method not in METHODS:
        near = nearest(method, METHODS)
        hint = f"; did you mean {near!r}?" if near else ""
        raise UserError(f"command line: METHOD must be one of {', '.join(METHODS)}, got {method!r}{hint}")
    tree = read_toml(config) if config else {}
    table = tree.setdefault("mix", {})
    if isinstance(table, dict):
        table.setdefault("method", method)
        if table["method"] != method:
            raise UserError(f"{config}: mix.method: must be the METHOD of the command, got {table['method']!r}")
    made = validated(MixConfig, tree, sets, config or "command line")
    print_mix(find(made), made.output)


def print_mix(made: MixResult, output: str) -> None:
    """Prints the shares with their intervals, what they gain, and how well held-out runs are predicted."""
    from siftlm.cli.loop_terminal import print_lines, table

    shares = sorted(made.shares.items(), key=lambda item: (-item[1], item[0]))
    shown = [(name, share) for name, share in shares if share >= LEAST_SHOWN]
    rest = [share for _, share in shares if share < LEAST_SHOWN]
    rows = [(name, f"{share:.4f}", _interval(made.intervals[name]), f"{made.prior[name]:.4f}") for name, share in shown]
    if rest:
        rows.append((f"{len(rest)} others", f"{sum(rest):.4f}", "", ""))
    gain, low, high = made.gain
    print_lines(
        table(("domain", "share", "90 % of resamples", "prior"), rows),
        table(
            ("loss", "runs", "rank correlation", "error"),
            [(one.target, one.runs, one.rank_correlation, f"{one.error:.4f}") for one in made.trust],
        ),
        f"predicted loss lower than the prior's by {gain:.4f} (90 % of resamples: {_interval((low, high))})",
        *(f"warning: {line}" for line in made.warnings),
        output,
    )


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4f} to {ends[1]:.4f}"
