"""Lists the steps of a run that can drop a document, in order, and the values at which rules cut."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from siftlm import filesystem
from siftlm.engine.step import Loss
from siftlm.engine.values import read_value
from siftlm.inspect.run import SelectedRun
from siftlm.selectors import Plan
from siftlm.selectors.rule import Cut
from siftlm.stages.select import STAGE as DECISIONS
from siftlm.stages.select import plan_path
from siftlm.steps import losses, steps


@dataclass(frozen=True)
class Trace:
    """Reads the steps of a run that can drop a document, and the values at which rules cut."""

    run: SelectedRun

    @cached_property
    def plan(self) -> Plan | None:
        """Returns the finished plan of the selection; None where the store no longer has it."""
        path = plan_path(self.run.store, [task.inputs[DECISIONS] for task in self.run.tasks()])
        plan: Plan | None = read_value(path, self.run.store) if filesystem.exists(path) else None
        return plan

    @cached_property
    def columns(self) -> dict[str, pa.DataType]:
        return self.run.columns()

    @cached_property
    def losses(self) -> list[Loss]:
        """Returns everything that can drop a document, in the order in which documents meet it."""
        return losses(steps(self.run.config))

    def account(self, lost: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        """Returns for the manifest what every step requires, what it dropped, and where its ranked rule cut.

        `lost` are (step, reason, documents), one or several of each.
        """
        dropped: dict[str, Counter[str]] = defaultdict(Counter)
        for place, reason, documents in lost:
            dropped[place][reason] += documents
        schema = pa.schema(self.columns)
        return [
            {"place": loss.place, "text": loss.text, "dropped": dict(sorted(dropped[loss.place].items()))}
            | (loss.rule.outcome(self.state(loss), schema) if loss.rule and self.state(loss) else {})
            for loss in self.losses
        ]

    def state(self, loss: Loss) -> Any:
        """Returns the statistics that a rule computed over the corpus; None where it has none."""
        return self.plan.states[loss.position] if self.plan and loss.position is not None else None

    def cuts(self, loss: Loss, names: Iterable[str | None] = ()) -> list[Cut]:
        """Returns the cuts of a rule, one for each group, largest first; `names` are possible names of groups."""
        state = self.state(loss)
        return loss.rule.cuts(state, self.columns[loss.column], names) if state and loss.rule and loss.column else []
