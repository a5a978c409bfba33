"""Lists the commands in the help by what they are for, each with its whole first sentence."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS: dict[str, tuple[str, ...]] = {
    "Run a selection": ("run", "plan", "validate", "show", "push"),
    "Look at one": ("report", "inspect", "explain", "diff", "store"),
    "Prove it, and mix": ("prove", "mix"),
    "Train what scores": ("train-reference", "train-ngram", "train-classifier", "distil", "fit-dsir"),
    "From losses to a selection": ("train-family", "benchmark", "matrix", "correlate", "project"),
    "Reference": ("methods", "schema"),
}
EPILOG = (
    "Exit codes: 0 done, 2 a mistake in the configuration, the input or the environment, told in one line, 3 documents "
    "unaccounted for, 4 a condition of --fail-if holds. `siftlm COMMAND -h` explains a command."
)


class Commands(TyperGroup):
    """Lists commands by groups; a command of none stands at the end."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes a paragraph for every group of commands."""
        known = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in known)
        for title, names in (*GROUPS.items(), ("Others", others)):
            commands = ((name, self.get_command(ctx, name)) for name in names)
            rows = [(name, _sentence(command)) for name, command in commands if command and not command.hidden]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _sentence(command: Any) -> str:
    """The first paragraph of what a command says of itself."""
    return " ".join((command.help or "").partition("\n\n")[0].split())
