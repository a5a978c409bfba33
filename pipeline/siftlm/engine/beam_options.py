"""Checks that Beam knows the given pipeline options, because it silently drops unknown ones."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from siftlm.errors import UserError, nearest

OptionValue = str | int | float | bool
_NEAR = 0.55  # how alike a name must be to be the one that was meant, by difflib

_FLINK = """
allow_non_restored_state attached_mode auto_balance_write_files_sharding_enabled auto_watermark_interval
checkpoint_timeout_millis checkpointing_interval checkpointing_mode disable_metrics enable_stable_input_drain
execution_mode_for_batch execution_retry_delay externalized_checkpoints_enabled fail_on_checkpointing_errors faster_copy
files_to_stage finish_bundle_before_checkpointing flink_conf_dir force_slot_sharing_group
force_unaligned_checkpoint_enabled job_check_interval_in_secs latency_tracking_interval max_bundle_size
max_bundle_time_mills max_parallelism min_pause_between_checkpoints num_concurrent_checkpoints
number_of_execution_retries object_reuse operator_chaining parallelism re_iterable_group_by_key_result
report_checkpoint_duration retain_externalized_checkpoints_on_cancellation savepoint_path
shutdown_sources_after_idle_ms state_backend state_backend_storage_path unaligned_checkpoint_enabled
use_data_stream_for_batch
"""
_SPARK = """
batch_interval_millis bundle_size cache_disabled checkpoint_dir checkpoint_duration_millis
enable_spark_metric_sinks event_log_enabled max_records_per_batch min_read_time_millis
prefer_group_by_key_to_handle_hot_keys read_time_percentage spark_history_dir spark_master storage_level
use_active_spark_session
"""
OF_ENGINES = frozenset(f"{_FLINK} {_SPARK}".split())
"""Options that only the job servers of Flink and Spark know: the tables of beam.apache.org/documentation/runners/flink
and the interface SparkPipelineOptions; their values are for the engine to judge."""


_REFUSED = frozenset(["dry_run"])
"""Options of Beam's that look as if they did what they do not do here: only Dataflow heeds this one."""


class _Parser(argparse.ArgumentParser):
    """Parses options and reports mistakes as a one-line UserError."""

    def error(self, message: str) -> Any:
        raise UserError(message)

    def add_value_provider_argument(self, *names: str, **facts: Any) -> None:
        """Adds an option of Beam's templates, of which only the name and the type matter here."""
        self.add_argument(*names, **{key: value for key, value in facts.items() if key != "default"})


@cache
def _parser() -> _Parser:
    """The options of every class of options in Beam; those of a class that is not installed are not there."""
    from siftlm.engine.beam import import_beam

    _, base = import_beam()
    parser = _Parser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for kind in _subclasses(base):
        if "_add_argparse_args" in vars(kind):
            kind._add_argparse_args(parser)
    return parser


def _subclasses(kind: Any) -> list[Any]:
    """Those that Beam itself defines, of every depth."""
    own = [subclass for subclass in kind.__subclasses__() if subclass.__module__.startswith("apache_beam.")]
    return [subclass for each in own for subclass in (each, *_subclasses(each))]


def _actions() -> dict[str, argparse.Action]:
    """Name without dashes -> what the parser does with it."""
    return {name.removeprefix("--"): action for action in _parser()._actions for name in action.option_strings}


def known() -> set[str]:
    """Returns the names of all allowed options of Beam and its engines, without dashes."""
    return {*_actions(), *OF_ENGINES} - _REFUSED


def is_flag(name: str) -> bool:
    """Tells whether an option is a flag, which takes no value."""
    action = _actions().get(name)
    return action is not None and action.nargs == 0


def check_options(options: Mapping[str, OptionValue]) -> None:
    """Raises UserError for an option in `runner.options` that Beam does not know, or an invalid value."""
    for name, value in options.items():
        place = f"runner.options.{name}"
        if name not in known():
            near = nearest(name, sorted(known()), _NEAR)
            hint = f"; did you mean {near!r}?" if near else ""
            raise UserError(f"{place}: must be an option of Beam, got {name!r}{hint}")
        _check_value(place, name, value)


def _check_value(place: str, name: str, value: OptionValue) -> None:
    if name not in _actions() or (is_flag(name) and isinstance(value, bool)):
        return
    if is_flag(name):
        raise UserError(f"{place}: must be true or false, got {value!r}")
    if isinstance(value, bool):
        raise UserError(f"{place}: must have a value, got {'nothing' if value else 'false'}")
    try:
        _parser().parse_args([f"--{name}={value}"])
    except UserError as error:
        raise UserError(f"{place}: {_must(str(error))}, got {value!r}") from None
    except (ValueError, AttributeError, argparse.ArgumentError) as error:  # of an action of Beam's own
        raise UserError(f"{place}: must be a value that Beam takes, got {value!r}; {error}") from None


def _must(message: str) -> str:
    """What argparse says of a value, in our words."""
    text = message.partition(": ")[2] or message
    kind = text.removeprefix("invalid ").partition(" value")[0]
    names = {"int": "a whole number", "float": "a number"}
    if text.startswith("invalid choice"):
        return f"must be one of {text.partition('choose from ')[2].rstrip(')')}"
    return f"must be {names.get(kind, 'a value that Beam takes')}"


def of_arguments(arguments: Sequence[str], own: Sequence[str] = ()) -> tuple[dict[str, OptionValue], list[str]]:
    """Returns Beam's options in a command line (`--name=value`, `--name value`, `--flag`), and the other words.

    Raises:
        UserError: an option is none of Beam's; the nearest is named, of Beam's and of the command's `own`.
    """
    options: dict[str, OptionValue] = {}
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        given, equals, value = word.partition("=")
        name = given.removeprefix("--")
        if not word.startswith("-"):
            words.append(word)
        elif not word.startswith("--") or name not in {*known(), "runner"}:
            raise _unknown(given, own)
        elif is_flag(name):
            options[name] = _flag(given, value) if equals else True
        elif equals or (rest and not rest[0].startswith("--")):
            options[name] = value if equals else rest.pop(0)
        else:
            raise UserError(f"command line: {given} must have a value, got nothing")
    return options, words


def _unknown(given: str, own: Sequence[str]) -> UserError:
    written = {_bare(name): name for name in (*(f"--{name}" for name in (*known(), "runner")), *own)}
    near = nearest(_bare(given), written, _NEAR)
    hint = f"; did you mean {written[near]!r}?" if near else "; see --help of the command"
    return UserError(f"command line: every option must be siftlm's or Beam's, got {given!r}{hint}")


def _bare(option: str) -> str:
    """An option without dashes, which all options have and which make short ones look alike."""
    return option.replace("-", "").replace("_", "")


def _flag(given: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise UserError(f"command line: {given} must be true or false, got {value!r}")
    return value.lower() == "true"
