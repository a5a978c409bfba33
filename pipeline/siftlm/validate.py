"""Everything that can be wrong with a run and be seen before any work: columns, inputs, models, folders."""

from __future__ import annotations

import difflib
import os

import pyarrow as pa

from siftlm import filesystem
from siftlm.config import TRAINED, RunConfig
from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.errors import UserError
from siftlm.filesystem import InputFile
from siftlm.readers import read_shard
from siftlm.readers.settings import InputSettings
from siftlm.scorers import open_lm, open_scorer
from siftlm.stages import inputs
from siftlm.stages.annotate import Annotate
from siftlm.stages.columns import DERIVED
from siftlm.stages.dedup import CLUSTER_SCHEMA
from siftlm.stages.runner import check as check_runner

SAMPLE_RECORDS = 200


def validate(config: RunConfig) -> list[str]:
    """What was checked, a line each; raises UserError at the first mistake."""
    check_config(config)
    found = inputs.discover(config.input)
    lines = [_check_input(settings, found[settings.source]) for settings in config.input]
    return [*lines, _check_output(config), "columns: every rule names a column that the run computes"]


def check_config(config: RunConfig) -> None:
    """Raises UserError for what is wrong without looking at the inputs: the runner, models, columns."""
    check_runner(config.runner)
    for scorer in config.scorers():
        open_scorer(scorer).check()
    for settings in config.score:
        if settings.model != TRAINED:
            open_lm(settings).digest()
    if config.reference and not filesystem.is_local(config.store_folder):
        raise UserError(
            f"store: must be a local folder where a reference model is trained, got {config.store_folder}; "
            "train it once with siftlm train-reference and name its folder in score.model"
        )
    _check_columns(config)


def signal_columns(config: RunConfig) -> dict[str, pa.DataType]:
    """The columns that are there before any language model has run."""
    fields = list(Annotate(config.scorers()).schema())
    if config.dedup:
        fields += list(CLUSTER_SCHEMA)
    return {f.name: f.type for f in fields}


def all_columns(config: RunConfig) -> dict[str, pa.DataType]:
    """Every column that selection can name."""
    columns = signal_columns(config)
    for settings in config.score:
        columns.update({f"{settings.name}_{f.name}": f.type for f in open_lm(settings).fields()})
        columns.update({f"{settings.name}_{name}": pa.float64() for name in DERIVED})
    return columns


def _check_columns(config: RunConfig) -> None:
    cheap, every = signal_columns(config), all_columns(config)
    for number, rule in enumerate(config.preselect):
        for name in sorted(rule.columns()):
            _require(f"preselect.{number}", name, cheap)
    for name in sorted(config.select.columns()):
        _require("select", name, every)
    if config.dedup:
        keep = config.dedup.keep
        numeric = {n: t for n, t in signal_columns(config.model_copy(update={"dedup": None})).items() if _is_number(t)}
        _require("dedup.keep", keep, numeric, "a numeric column of annotate")


def _require(
    place: str, name: str, columns: dict[str, pa.DataType], kind: str = "a column that the run computes"
) -> None:
    if name in columns or name in DOCUMENT_SCHEMA.names:
        return
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(columns))}"
    raise UserError(f"{place}: must name {kind}, got {name!r}; {hint}")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _check_input(settings: InputSettings, files: list[InputFile]) -> str:
    """Reads a little of the first file: a wrong field name is seen here, not in the report of a day's run."""
    seen = documents = 0
    reasons: dict[str, int] = {}
    for file in files[:3]:
        for read in read_shard(file.path, settings, batch_documents=SAMPLE_RECORDS):
            documents += read.documents.num_rows
            seen += read.documents.num_rows + len(read.rejects)
            for reject in read.rejects:
                reasons[reject.reason] = reasons.get(reject.reason, 0) + 1
            if seen >= SAMPLE_RECORDS:
                break
        if documents:
            break
    if seen and not documents:
        worst = max(reasons, key=lambda reason: reasons[reason])
        raise UserError(
            f"input {settings.source!r}: must hold documents, got none in the first {seen} records of "
            f"{files[0].path}; {reasons[worst]} times {worst}"
        )
    size = sum(file.size for file in files)
    return f"input {settings.source!r}: {len(files)} files, {size:,} bytes"


def _check_output(config: RunConfig) -> str:
    folder = config.output.folder
    if filesystem.is_local(folder):
        existing = folder
        while not os.path.exists(existing):
            existing = os.path.dirname(os.path.abspath(existing))
        if not os.access(existing, os.W_OK):
            raise UserError(f"output.folder: must be writable, got {folder}")
    return f"output: {folder}"
