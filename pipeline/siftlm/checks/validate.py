"""Checks a run's columns, inputs, models and folders for mistakes before any work is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

import pyarrow as pa

from siftlm import paths
from siftlm.checks import named_fields
from siftlm.checks.mentions import unknown
from siftlm.checks.named_fields import LOOKED_AT
from siftlm.checks.names import check_names
from siftlm.checks.outcome import ALLOW
from siftlm.config import RunConfig
from siftlm.engine.runner import check as check_runner
from siftlm.errors import UserError, nearest
from siftlm.patterns import InputFile
from siftlm.readers import read_shard
from siftlm.readers.presence import suspicion
from siftlm.readers.settings import InputSettings
from siftlm.report.steps import unfindable
from siftlm.scorers import open_document_model, open_score, open_scorer
from siftlm.scorers.ngram_units import open_pieces
from siftlm.selectors.component import placed
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import flattened, warned
from siftlm.stages import folders, inputs
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.columns import DECISIONS, ELIGIBLE
from siftlm.stages.dedup.step import check as check_dedup
from siftlm.stages.prior.step import Prior
from siftlm.steps import columns_before, steps

SAMPLE_RECORDS = 200
MISFITS = frozenset({"missing_field", "wrong_type", "json_list", "compressed_parquet", "wat_file"})
"""Reasons that speak of the configuration or the kind of file, where every record has them."""


def validate(config: RunConfig) -> list[str]:
    """Checks a whole run and returns one line per check; raises UserError at the first mistake."""
    check_config(config)
    folders.check_free(config.output.folder)
    lines: list[str] = []
    surveys = inputs.survey(config.input, config.own_places, lines.append)
    files = {source: survey.files for source, survey in surveys.items()}
    for settings in config.input:  # what cannot be read is seen here, not in the report of a day's run
        if not config.output.allow_empty:
            _check_beginnings(settings, files[settings.source])
        lines.append(surveys[settings.source].line(settings.source))
    seen = named_fields.samples(config, files)
    named_fields.check_domains(config, seen, LOOKED_AT)
    for settings in config.input:
        lines += named_fields.said(settings, files[settings.source], seen[settings.source], LOOKED_AT)
    for scored in config.score:
        if not scored.awaited:
            open_score(scored).check()
    for rated in config.annotate.by_model():
        model = open_document_model(rated)
        model.load(model.digest())
    return [
        *lines,
        *(f"benchmark {line}" for line in unfindable(config.benchmark_facts())),
        *unknown(config),
        *warned("preselect", config.preselect),
        *config.select.warnings(),
        f"output: {config.output.folder}",
        "columns: every rule names a column that the run computes",
    ]


def check_config(config: RunConfig) -> None:
    """Raises UserError for mistakes that show without reading the inputs, in the runner, models or columns."""
    check_runner(config.runner)
    folders.check_folders(config.output.folder, config.name, config.store_folder, config.metrics_file)
    check_names(config)
    _check_packages(config)
    if config.dedup:
        check_dedup(config.dedup)
    for scorer in config.scorers():
        open_scorer(scorer).check()
    for number, prior in enumerate(config.prior):
        Prior(f"prior.{number}", prior, None).tokenizer()
    for settings in config.score:
        if not settings.awaited:
            open_score(settings).digest()
    if config.reference and config.reference.ngram and config.reference.ngram.pieces:
        open_pieces(config.reference.ngram.pieces)
    if config.reference and not paths.is_local(config.store_folder):
        raise UserError(
            f"store: must be a local folder where a reference model is trained, got {config.store_folder}; "
            "train it once with siftlm train-reference and name its folder in score.model"
        )
    _check_columns(config)


def _check_packages(config: RunConfig) -> None:
    """Only a run without models can do without what models need, and an edit not without its library."""
    for number, edit in enumerate(config.edit):
        if missing := [name for name in edit.packages if find_spec(name) is None]:
            raise UserError(
                f"edit.{number}: must have the packages that it needs, got an environment without "
                f"{', '.join(missing)}; pip install 'siftlm[{edit.extra}]'"
            )
    reference = [config.reference] if config.reference else []
    models = {
        "score": config.score,
        "annotate.models": config.annotate.by_model(),
        "prior": config.prior,
        "reference": reference,
    }
    for place, several in models.items():
        needed = dict.fromkeys(name for settings in several for name in settings.packages)
        if missing := [name for name in needed if find_spec(name) is None]:
            raise UserError(
                f"{place}: must have the packages that models need, got an environment without "
                f"{', '.join(missing)}; pip install {' '.join(missing)}"
            )


def check_fields(settings: InputSettings, files: Sequence[InputFile]) -> None:
    """Raises UserError if a source has no text in the field that the configuration names.

    Looks at the beginnings of the first, the middle and the last file. Damage is no mistake of the user's, and is
    counted by the run, unless that was all and there is nothing else.
    """
    seen: Counter[str] = Counter()
    sampled = named_fields.looked_at(files)
    read_all = len(sampled) == len(files)
    for file in sampled:
        documents, reasons = _sample(file, settings)
        if documents:
            return
        seen += reasons
        read_all = read_all and reasons.total() < SAMPLE_RECORDS
    if read_all or (seen and seen.keys() <= MISFITS):
        raise _no_documents(settings, files, seen)


def counts_tokens(config: RunConfig) -> bool:
    """Tells whether a run reports its kept tokens, from a configured column of counts or from a model."""
    return config.select.tokens is not None or bool(config.score)


def _check_columns(config: RunConfig) -> None:
    cheap, every = columns_before(config, ELIGIBLE), columns_before(config, DECISIONS)
    for rules, columns in ((flattened("preselect", config.preselect), cheap), (config.select.placed(), every)):
        for place, rule in rules:
            for name in sorted(rule.columns()):
                _require(place, name, columns)
    if config.select.tokens:
        integers = {name: kind for name, kind in every.items() if pa.types.is_integer(kind)}
        _require("select.tokens", config.select.tokens, integers, "a column of integers")
    for name in sorted(config.select.columns()):
        _require("select", name, every)
    if config.dedup:
        keep = config.dedup.keep
        annotated = next(step.columns() for step in steps(config) if step.name == SIGNALS)
        numeric = {field.name: field.type for field in annotated if _is_number(field.type)}
        _require("dedup.keep", keep, numeric, "a numeric column of annotate")
    _rehearse(config, every)


def _rehearse(config: RunConfig, columns: dict[str, pa.DataType]) -> None:
    """Puts a shard without rows before every rule: a column of the wrong type is seen here, not after a day."""
    select = config.select
    empty = pa.schema([pa.field(name, kind) for name, kind in columns.items()]).empty_table()
    rows = Rows.of(empty, 0, select.tokens)
    if select.tokens:
        with placed("select"):
            rows.tokens()
    for place, rule in [*flattened("preselect", config.preselect), *select.placed()]:
        with placed(place):
            rule.rehearse(rows)
    if select.weights:
        select.weights.check(config.good_ends())
        select.weights.rehearse(rows)


def _require(
    place: str, name: str, columns: dict[str, pa.DataType], kind: str = "a column that the run computes"
) -> None:
    if name in columns:
        return
    near = nearest(name, columns, 0.5)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(sorted(columns))}"
    raise UserError(f"{place}: must name {kind}, got {name!r}; {hint}")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _check_beginnings(settings: InputSettings, files: list[InputFile]) -> None:
    check_fields(settings, files)
    seen: Counter[str] = Counter()
    for file in files[:3]:
        documents, reasons = _sample(file, settings)
        seen += reasons
        if documents:
            break
    else:
        if seen:
            raise _no_documents(settings, files, seen)


def _sample(file: InputFile, settings: InputSettings) -> tuple[int, Counter[str]]:
    """Documents among the first records of a file, and why the others are none."""
    documents, reasons = 0, Counter[str]()
    for read in read_shard(file.path, settings, batch_documents=SAMPLE_RECORDS):
        documents += read.documents.num_rows
        for reject in read.rejects:
            reasons[reject.reason] += reject.records
        if documents or reasons.total() >= SAMPLE_RECORDS:
            break
    return documents, reasons


def _no_documents(settings: InputSettings, files: Sequence[InputFile], reasons: Counter[str]) -> UserError:
    place = f"input {settings.source!r}: must hold documents"
    if not reasons:
        return UserError(f"{place}, got no record in the files of {settings.paths[0]}; {ALLOW}")
    ((worst, times),) = reasons.most_common(1)
    cause = suspicion(files[0].path, settings, worst)
    return UserError(
        f"{place}, got none in the first {reasons.total()} records of "
        f"{files[0].path}; {times} times {worst}{f', {cause}' if cause else ''}"
    )
