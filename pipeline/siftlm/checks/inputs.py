"""Finds the inputs of a run and checks them, before and after they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from siftlm.checks import named_fields
from siftlm.checks.mentions import unknown
from siftlm.checks.outcome import let_pass, nothing_read
from siftlm.checks.validate import check_fields
from siftlm.config import RunConfig
from siftlm.engine.runner import is_local
from siftlm.engine.step import Shard
from siftlm.patterns import InputFile
from siftlm.readers.settings import InputSettings
from siftlm.scorers import open_score
from siftlm.stages import inputs, score
from siftlm.stages.ingest import shards
from siftlm.steps import steps
from siftlm.store import Marker, Store


@dataclass(frozen=True)
class Inputs:
    """The files of every source as shards, and those of its folders that are no documents."""

    config: RunConfig
    files: Mapping[str, Sequence[InputFile]]  # by source
    skipped: Mapping[str, Sequence[str]]
    shards: list[Shard]

    @classmethod
    def found(cls, config: RunConfig, store: Store, say: Callable[[str], None]) -> Inputs:
        """Looks for the files and checks what costs some reading, where no work was done yet.

        Raises:
            UserError: a source has no file, or its settings do not fit its files.
        """
        survey = inputs.survey(config.input, config.own_places, say)
        files = {source: mine.files for source, mine in survey.items()}
        lines = [*(mine.line(source) for source, mine in survey.items()), *unknown(config)]
        made = cls(
            config,
            files,
            {source: mine.skipped for source, mine in survey.items()},
            shards(config.input, inputs.fingerprints(files, store)),
        )
        made._check_new(store)
        for line in lines:
            say(line)
        return made

    def check(self, read: Sequence[Marker]) -> list[str]:
        """Returns what a user should know of the documents that were read, a sentence each.

        Raises:
            UserError: nothing could be read of a source, and the run may not keep nothing.
        """
        empty = [problem for source, markers in self._by_source(read) if (problem := self._nothing(source, markers))]
        warnings = [let_pass(self.config, problem) for problem in empty]
        seen = {source.source: named_fields.counted(markers) for source, markers in self._by_source(read)}
        named_fields.check_domains(self.config, seen)
        for source in self.config.input:
            warnings += named_fields.said(source, self.files[source.source], seen[source.source])
        return warnings

    def _nothing(self, source: InputSettings, markers: Sequence[Marker]) -> str | None:
        return nothing_read(source, self.files[source.source], markers)

    def _by_source(self, read: Sequence[Marker]) -> Iterator[tuple[InputSettings, list[Marker]]]:
        markers = iter(read)
        for source in self.config.input:
            yield source, list(islice(markers, len(self.files[source.source])))

    def _check_new(self, store: Store) -> None:
        config, first = self.config, steps(self.config)[0]
        done = store.done(first.name)
        begun = {task.facts["source"] for task in first.tasks(self.shards, store) if task.key in done}
        for source in config.input:
            if source.source not in begun and not config.output.allow_empty:
                check_fields(source, self.files[source.source])
        if not begun and named_fields.groups_by_domain(config):
            named_fields.check_domains(config, named_fields.samples(config, self.files), named_fields.LOOKED_AT)
        for step in score.steps(config.score):
            new = not step.settings.awaited and not store.done(step.name)
            if new and is_local(config.runner):  # elsewhere the workers have the device, not this process
                open_score(step.settings).check()
