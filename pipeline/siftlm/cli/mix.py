"""Defines the command `siftlm mix`, and prints what a method found with how far it is to be trusted."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from siftlm.errors import UserError

if TYPE_CHECKING:
    from siftlm.mixtures.protocol import MixOutcome
    from siftlm.mixtures.settings import MixConfig


def mix(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="How shares are found, regmix for instance; `list` shows all.")
    ],
    config: Annotated[
        str | None, typer.Argument(metavar="[CONF]", help="A TOML file with the table [mix] and `output`.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key, for instance mix.runs=runs.csv."),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train the small models that the method needs, on the texts of [train].")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --train: read the texts, and say what would be trained.")
    ] = False,
) -> None:
    """Find the shares that domains should have in training text, and write them for a factor `mixture`."""
    _one_thread_a_product()
    from siftlm.config import read_toml, validated
    from siftlm.errors import nearest
    from siftlm.mixtures.mix import mix as find
    from siftlm.mixtures.settings import METHODS, MixConfig

    if method == "list":
        _print_methods()
        return
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
        if train and "runs" in METHODS[method].model_fields:
            table.setdefault("runs", "runs.csv")  # which the training makes
    made = validated(MixConfig, tree, sets, config or "command line")
    if dry_run and not train:
        raise UserError("command line: --dry-run must come with --train, got it alone")
    outcome = _trained(made, dry_run) if train else find(made)
    if outcome is not None:
        print_outcome(outcome, made.written)


def _trained(config: MixConfig, dry_run: bool) -> MixOutcome | None:
    """What the method finds by training; None where it shall only be said what that takes."""
    from siftlm.engine.progress import Progress
    from siftlm.mixtures.trained.run import say_cost, train_mix

    if dry_run:
        say_cost(config, Progress())
        return None
    return train_mix(config, Progress())


def _one_thread_a_product() -> None:
    """Lets products of matrices use one thread, unless the environment says how many.

    Threads of a product wait for each other busily: on a machine with other work they take twenty times as long.
    """
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _print_methods() -> None:
    """Prints every method with what it does and reads."""
    from siftlm.cli.loop_terminal import print_lines, table
    from siftlm.components import methods

    rows = [(m.name, m.words, m.needs, m.cost) for m in methods() if m.kind == "mixture method"]
    print_lines(table(("method", "what it does", "needs", "cost"), rows))


def print_outcome(made: MixOutcome, output: str) -> None:
    """Prints what a method found, its warnings, and where the file is."""
    from siftlm.cli.loop_terminal import print_lines, table

    print_lines(
        *(table(shown.head, shown.rows) for shown in made.tables()),
        *([made.verdict()] if made.verdict() else []),
        *(f"warning: {line}" for line in made.warnings),
        output,
    )
