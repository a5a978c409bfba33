"""Lists the steps of a run that can drop a document, in order, with the values they cut at."""

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
    """Tells the decision trace of a run: the steps that can drop a document, and where rules cut."""

    run: SelectedRun

    @cached_property
    def plan(self) -> Plan | None:
        """The resolved selection; None where the store no longer has it."""
        path = plan_path(self.run.store, [task.inputs[DECISIONS] for task in self.run.tasks()])
        plan: Plan | None = read_value(path, self.run.store) if filesystem.exists(path) else None
        return plan

    @cached_property
    def columns(self) -> dict[str, pa.DataType]:
        return self.run.columns()

    @cached_property
    def losses(self) -> list[Loss]:
        """Everything that can drop a document, in the order in which a document meets it."""
        return losses(steps(self.run.config))

    def account(self, lost: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        """Lists for the manifest every step: what it asks for, what it dropped, what a ranked rule cut at.

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
        """Returns what a rule of the selection found of the corpus; None where it found nothing."""
        return self.plan.states[loss.position] if self.plan and loss.position is not None else None

    def cuts(self, loss: Loss, names: Iterable[str | None] = ()) -> list[Cut]:
        """Returns the cuts of a rule, a group each, largest first; `names` are the values its groups may have."""
        state = self.state(loss)
        return loss.rule.cuts(state, self.columns[loss.column], names) if state and loss.rule and loss.column else []
