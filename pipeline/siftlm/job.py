"""Runs the steps of a configuration one after another, and publishes the output."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from siftlm import filesystem, paths
from siftlm.checks.inputs import Inputs
from siftlm.checks.validate import check_config, counts_tokens
from siftlm.config import RunConfig
from siftlm.engine.drive import Context
from siftlm.engine.progress import Progress
from siftlm.engine.shards import Task
from siftlm.engine.step import Shard, Step, Told
from siftlm.errors import UserError
from siftlm.inspect.diff import Conditions
from siftlm.publication import Publication, Result
from siftlm.stages import folders, publish
from siftlm.stages.columns import DECISIONS
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.reference import STAGE as REFERENCE
from siftlm.stages.registry import Needs, register
from siftlm.steps import columns_before, steps
from siftlm.store import Marker, Store, mended


@dataclass
class Run:
    """Runs the steps of a configuration, and keeps the markers of each and what it reports."""

    config: RunConfig
    store: Store
    progress: Progress
    markers: dict[str, list[Marker]] = field(default_factory=dict)  # by step, in the order of the shards
    told: list[Told] = field(default_factory=list)
    needs: Needs = field(default_factory=Needs)

    def follow(self, inputs: Inputs, until: str | None = None) -> list[Shard]:
        """Runs every step, or those up to the one called `until`, and returns the shards afterwards."""
        shards = inputs.shards
        for step in steps(self.config):
            shards = self.take(step, shards)
            if step.name == DOCUMENTS:
                self.told.append(Told(inputs.check(self.markers[DOCUMENTS])))
            if step.name == until:
                break
        return shards

    def take(self, step: Step, shards: Sequence[Shard]) -> list[Shard]:
        """Runs one step on the shards that have no output of it, and returns the shards afterwards."""
        tasks = step.tasks(shards, self.store)
        with self.progress.stage(step.name, tasks, self.store):
            markers = step.work(tasks, self.context)
        if step.per != "run":
            self.markers[step.name] = markers
        self.told.append(step.tell(tasks, markers, self.store))
        made = step.outputs(shards, tasks, markers)
        self._note(step, tasks, made)
        return made

    def _note(self, step: Step, tasks: Sequence[Task], made: Sequence[Shard]) -> None:
        """Notes what a later run of the same configuration would read of a step."""
        outputs = [shard.outputs[step.name].key for shard in made if step.name in shard.outputs]
        self.needs.add(step.name, [*(task.key for task in tasks), *outputs])
        for folder, key in step.keeps(tasks):
            self.needs.add(folder, [key])

    @property
    def context(self) -> Context:
        """Returns the store, the runner, and how many documents and bytes were read so far."""
        read = self.markers.get(DOCUMENTS, [])
        text_bytes = sum(int(marker.facts["text_bytes"]) for marker in read)
        return Context(self.store, self.config.runner, sum(marker.rows_out for marker in read), text_bytes)


def run(config: RunConfig, progress: Progress, fail_if: Sequence[str] = ()) -> Result:
    """Runs the steps that have no marker yet, audits every count, and publishes the output.

    Raises:
        ConditionError: a condition of `fail_if` holds between what was published and this; it stays published.
    """
    check_config(config)
    conditions = checked_conditions(config, fail_if)

    def once() -> Result:
        work = Run(config, store, progress)
        inputs = Inputs.find(config, store, progress.say)
        shards = work.follow(inputs)
        publication = Publication(
            config, work.context, progress, work.markers, work.told, work.needs, inputs.skipped, shards
        )
        return publication.made(conditions)

    with publish.workspace(config.output.folder, config.name, config.store_folder) as store:
        return mended(once)


def checked_conditions(config: RunConfig, expressions: Sequence[str]) -> Conditions:
    """Returns the conditions of `--fail-if`; raises UserError for one that could not be checked later."""
    conditions = Conditions(expressions)
    if expressions:
        conditions.check(config.output.folder, columns_before(config, DECISIONS), counts_tokens(config))
    return conditions


def train_reference(config: RunConfig, folder: str, progress: Progress) -> str:
    """Trains the reference model of a run, copies it to `folder`, and returns a message that says so."""
    if config.reference is None:
        raise UserError("reference: must be a table of settings for this command, got nothing")
    if config.reference.folds or config.reference.copies > 1:
        raise UserError("reference: must be without folds and copies here, for this command trains one model")
    folder = paths.given("FOLDER", folder)
    folders.check_model_folder(folder)
    check_config(config)

    def once() -> str:
        work = Run(config, store, progress)
        shards = work.follow(Inputs.find(config, store, progress.say), until=REFERENCE)
        key = shards[0].shared[REFERENCE].key
        register(store, config.name, config.output.folder, "train-reference", key, work.needs)
        return store.path(REFERENCE, key, "")

    with publish.workspace(config.output.folder, config.name, config.store_folder) as store:
        trained = mended(once)
    filesystem.write_bytes(f"{folder}/{folders.MODEL_MARK}", orjson.dumps({"run": config.name}))
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    return f"the reference model is in {folder}"
