"""Records the defects of a table, and what was done about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

FINDING_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("where", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Finding:
    """Describes one defect: its kind, the columns or rows it concerns, how many values, and what was done."""

    kind: str
    where: str
    count: int
    detail: str
    action: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.detail}; {self.action}"


def name_some(names: Sequence[str], limit: int = 5) -> str:
    """Returns a text with the first names, in quotes, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def finding_of(kind: str, names: Sequence[str], detail: str, action: str = "left out") -> list[Finding]:
    """Returns a list with the finding that some rows or columns have a defect; empty where none has."""
    return [Finding(kind, name_some(names), len(names), detail, action)] if names else []


def findings_table(findings: Sequence[Finding]) -> pa.Table:
    """Returns the findings as a table of `FINDING_SCHEMA`, in the order found."""
    return pa.Table.from_pylist([asdict(finding) for finding in findings], schema=FINDING_SCHEMA)
