"""Finds the inputs of a run and checks them, before and after they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from siftlm.checks import named_fields
from siftlm.checks.mentions import unknown
from siftlm.checks.outcome import let_pass, nothing_read
from siftlm.checks.validate import check_fields
from siftlm.config import RunConfig
from siftlm.engine.devices.pool import shared
from siftlm.engine.runner import LOCAL, is_local
from siftlm.engine.step import Shard
from siftlm.patterns import InputFile
from siftlm.stages import inputs, score
from siftlm.stages.ingest import shards
from siftlm.stages.slicing import whole_files
from siftlm.steps import steps
from siftlm.store import Marker, Store


@dataclass(frozen=True)
class Inputs:
    """Holds the files of every source as shards, and the skipped files that hold no documents."""

    config: RunConfig
    files: Mapping[str, Sequence[InputFile]]  # by source
    skipped: Mapping[str, Sequence[str]]
    shards: list[Shard]

    @classmethod
    def find(cls, config: RunConfig, store: Store, say: Callable[[str], None]) -> Inputs:
        """Finds the files of every source and, before any work on them, checks that the settings fit them.

        Raises:
            UserError: a source has no file, or its settings do not fit its files.
        """
        surveys = inputs.survey(config.input, config.own_places, say)
        files = {source: of.files for source, of in surveys.items()}
        lines = [*(of.line(source) for source, of in surveys.items()), *unknown(config)]
        skipped = {source: of.skipped for source, of in surveys.items()}
        made = cls(config, files, skipped, shards(config.input, inputs.fingerprints(files, store)))
        made._check_new(store)
        lines += whole_files(config.input, made.shards)
        for line in lines:
            say(line)
        return made

    def check(self, read: Sequence[Marker]) -> list[str]:
        """Returns warnings about the documents that were read, one sentence each.

        Raises:
            UserError: nothing could be read of a source, and the run may not keep nothing.
        """
        markers: dict[str, list[Marker]] = {settings.source: [] for settings in self.config.input}
        for shard, marker in zip(self.shards, read, strict=True):
            markers[shard.facts["source"]].append(marker)
        problems = (nothing_read(s, self.files[s.source], markers[s.source]) for s in self.config.input)
        warnings = [let_pass(self.config, problem) for problem in problems if problem]
        seen = {source: named_fields.counted(of) for source, of in markers.items()}
        named_fields.check_domains(self.config, seen)
        for settings in self.config.input:
            warnings += named_fields.said(settings, self.files[settings.source], seen[settings.source])
        return warnings

    def _check_new(self, store: Store) -> None:
        config, first = self.config, steps(self.config)[0]
        done = store.done(first.name)
        begun = {task.facts["source"] for task in first.tasks(self.shards, store) if task.key in done}
        for source in config.input:
            if source.source not in begun and not config.output.allow_empty:
                check_fields(source, self.files[source.source])
        if not begun and named_fields.groups_by_domain(config):
            named_fields.check_domains(config, named_fields.samples(config, self.files), named_fields.LOOKED_AT)
        if config.runner.name != LOCAL:  # the workers have the devices, not this machine
            return
        for step in steps(config):
            if step.wanted and not store.done(step.name):
                shared.devices(step.wanted)
        for scored in score.steps(config.score):
            if is_local(config.runner) and not scored.settings.awaited and not store.done(scored.name):
                score.check(scored.settings)
