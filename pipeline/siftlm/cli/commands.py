"""Defines every command of siftlm; the other packages do the work."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siftlm import console, logs, stopping
from siftlm.cli import loop
from siftlm.cli.arguments import Characters, Config, Run, Sets
from siftlm.cli.commands_help import EPILOG, Commands
from siftlm.cli.methods import methods
from siftlm.cli.mistakes import known
from siftlm.cli.mix import mix
from siftlm.cli.prove import prove
from siftlm.cli.store import store_app
from siftlm.errors import UserError, one_line, visible

if TYPE_CHECKING:
    from siftlm.config import RunConfig

app = typer.Typer(
    name="siftlm",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    cls=Commands,
    epilog=EPILOG,
)


EXIT_USER = 2  # a mistake in the configuration, the input or the environment
EXIT_AUDIT = 3  # documents unaccounted for
GARBAGE = 50_000  # objects between two searches for cycles: imports make ten times as many, and all of them stay
SWITCH_SECONDS = 0.0005  # that a thread which comes out of a kernel waits for the interpreter, at most
USAGE: type[Exception] = typer.BadParameter.__bases__[0]  # of the click that typer uses, which may be its own copy
EXIT_CONDITION = 4  # a condition of `diff --fail-if` holds

BEAM = {"allow_extra_args": True, "ignore_unknown_options": True}


def _version(wanted: bool) -> None:
    """Prints the version of the package where it is wanted, and ends."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"siftlm {version('siftlm')}")
        raise typer.Exit


@app.callback()
def siftlm(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Select language-model pretraining data by perplexity: score, deduplicate, select and reweight."""


@app.command(context_settings=BEAM)
def run(
    context: typer.Context,
    config: Config,
    sets: Sets = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR", help="Keep what is published and exit with 4 when this holds, as in siftlm diff."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would run, as siftlm plan does.")] = False,
) -> None:
    """Run what has not been run yet. Beam's options go to Beam: --runner=SparkRunner --spark_master_url=..."""
    settings = _load(context, config, sets)
    if dry_run:
        _show_plan(settings, fail_if)
        return
    if quiet:
        logs.show(sys.stderr, logging.ERROR)
    from siftlm import job
    from siftlm.engine.progress import Progress
    from siftlm.inspect.diff import ConditionError
    from siftlm.report.terminal import print_difference, print_summary

    try:
        result = job.run(settings, Progress(quiet=quiet, metrics=settings.metrics_file), fail_if or [])
    except ConditionError as failed:
        typer.echo(f"siftlm: {failed}", err=True)
        raise typer.Exit(EXIT_CONDITION) from None
    if not quiet:
        if result.difference is not None:
            print_difference(result.difference)
        elif fail_if:
            typer.echo("nothing was published before: --fail-if has nothing to compare")
        print_summary(result.manifest, settings.output.folder, unchanged=result.unchanged)


@app.command(context_settings=BEAM)
def validate(context: typer.Context, config: Config, sets: Sets = None) -> None:
    """Check the configuration, the inputs, the models and the folders; does no work."""
    settings = _load(context, config, sets)
    from siftlm.checks.validate import validate as check

    for line in (*check(settings), *_checked_elsewhere(config, sets)):
        typer.echo(one_line(line))


def _checked_elsewhere(config: str, sets: list[str] | None) -> Iterator[str]:
    """Checks the tables of a configuration that other commands read, and yields what they are; raises UserError."""
    from siftlm.config import ELSEWHERE, RunConfig, read_toml, validated
    from siftlm.loop import LoopConfig
    from siftlm.proving.settings import ProofConfig

    for kind in (LoopConfig, ProofConfig):
        tree = read_toml(config)
        if there := sorted(tree.keys() & ELSEWHERE & (kind.model_fields.keys() - RunConfig.model_fields.keys())):
            validated(kind, tree, sets, config)
            yield f"tables of other commands: {', '.join(there)}"


@app.command(context_settings=BEAM)
def plan(context: typer.Context, config: Config, sets: Sets = None) -> None:
    """Show the stages with their keys, what would run, and how long it would take."""
    _show_plan(_load(context, config, sets))


@app.command(context_settings=BEAM)
def show(context: typer.Context, config: Config, sets: Sets = None) -> None:
    """Show the steps of a run with the formulas of columns and what a document must be to pass."""
    settings = _load(context, config, sets)
    from siftlm.steps import steps

    for step in steps(settings):
        typer.echo(step.name)
        for place, column in settings.formulas():
            if column.name in step.columns().names:
                typer.echo(one_line(f"  {place}: {column.name} = {column.expr}"))
        for loss in step.losses():
            typer.echo(one_line(f"  {loss.place}: {loss.text}"))


def _load(context: typer.Context, config: str, sets: list[str] | None) -> RunConfig:
    """The configuration, with the options of the command line that are Beam's; others are mistakes."""
    from siftlm.config import load

    words = [config, *context.args]  # options that the command does not know come as words
    if words == [config] and not config.startswith("-"):
        return load(config, sets)
    from siftlm.engine.beam_options import of_arguments
    from siftlm.engine.runner import with_options

    own = ["--help", *(name for parameter in context.command.params for name in parameter.opts if name[0] == "-")]
    options, words = of_arguments(words, own)
    if len(words) != 1:
        raise UserError(f"command line: must name one CONF, got {', '.join(map(repr, words)) or 'none'}")
    settings = load(words[0], sets)
    return settings.model_copy(update={"runner": with_options(settings.runner, options)})


def _show_plan(settings: RunConfig, fail_if: list[str] | None = None) -> None:
    from siftlm.plan import describe
    from siftlm.plan import plan as make
    from siftlm.report.terminal import print_plan

    rows = make(settings, fail_if or [])
    print_plan(describe(row) for row in rows)
    for remark in (remark for row in rows for remark in row.remarks):
        typer.echo(one_line(remark))


@app.command()
def inspect(
    folder: Run,
    column: Annotated[str | None, typer.Option(help="Order documents by this column.")] = None,
    percentiles: Annotated[str, typer.Option(help="Percentiles to show, separated by commas.")] = "1,10,25,50,75,90,99",
    reason: Annotated[str | None, typer.Option(help="Only documents dropped for this reason.")] = None,
    kept: Annotated[bool | None, typer.Option("--kept/--dropped", help="Only kept or only dropped ones.")] = None,
    characters: Characters = 300,
) -> None:
    """Show documents at given percentiles of a column, kept and dropped, with reasons."""
    from siftlm.inspect.run import inspect as documents
    from siftlm.inspect.run import parse_percentiles
    from siftlm.report.terminal import print_documents

    print_documents(documents(folder, column, parse_percentiles(percentiles), reason, kept), characters)


@app.command()
def report(
    folder: Run,
    serve: Annotated[bool, typer.Option("--serve", help="Serve a page with filters, to this machine only.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --serve; 0 takes a free one.")] = 8321,
) -> None:
    """Write report.html again, or serve the decisions of RUN as a page with filters."""
    from siftlm.inspect.report import renew_report
    from siftlm.inspect.run import FinishedRun

    run = FinishedRun.open(folder)
    if not serve:
        typer.echo(renew_report(run))
        return
    from siftlm.inspect.serve import serve as listen

    listen(run, port, typer.echo)


@app.command()
def explain(
    folder: Run,
    doc_id: Annotated[str, typer.Argument(metavar="DOC_ID", help="Id of a document.")],
    characters: Characters = 300,
) -> None:
    """Show every score of a document, every rule it met, and why it was kept or dropped."""
    from siftlm.inspect.explain import explain as find
    from siftlm.report.terminal import print_explanation

    print_explanation(find(folder, doc_id), characters)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Folder of a finished run.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Folder of another.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR", help="Exit with 4 when this holds, for instance 'kept_tokens < 0.9'."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page too.")] = None,
) -> None:
    """Show what changed from one run to another: documents, scores, reasons, domains."""
    from siftlm.inspect.diff import checked_page, compare, publish

    html = checked_page(html)
    if failed := publish(compare(old, new), fail_if or [], json=json, html=html):
        typer.echo(f"siftlm: {'; '.join(failed)}", err=True)
        raise typer.Exit(EXIT_CONDITION)


@app.command()
def push(
    folder: Run,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A dataset on the Hugging Face hub.")],
    public: Annotated[bool, typer.Option("--public", help="Let a new dataset be public; it is private else.")] = False,
    revision: Annotated[str, typer.Option(metavar="BRANCH", help="Branch, made where there is none.")] = "main",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that no earlier push of this run wrote.")
    ] = False,
) -> None:
    """Put a finished run on the hub, data, card, manifest and report in one commit; goes on where it stopped."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from siftlm.push import HubTarget
    from siftlm.push import push as put

    if not sys.stderr.isatty():
        disable_progress_bars()
    target = HubTarget(repository, revision, public, overwrite)
    for line in put(folder, target, typer.echo).lines(target):
        typer.echo(one_line(line))


@app.command()
def schema(
    of: Annotated[
        str, typer.Argument(metavar="[run|mix]", help="Of a run and its loop and proof, or of `siftlm mix`.")
    ] = "run",
) -> None:
    """Print the JSON schema of a configuration."""
    import orjson

    from siftlm.config import RunConfig
    from siftlm.loop import LoopConfig
    from siftlm.mixtures.settings import MixConfig
    from siftlm.proving.settings import ProofConfig
    from siftlm.settings import Settings

    kinds: dict[str, tuple[type[Settings], ...]] = {"run": (RunConfig, LoopConfig, ProofConfig), "mix": (MixConfig,)}
    if of not in kinds:
        raise UserError(f"command line: must be the schema of run or mix, got {of!r}")
    made, *others = [kind.model_json_schema() for kind in kinds[of]]
    for other in others:  # of one file, whose tables belong to several commands
        made["properties"] |= other["properties"]
        made["$defs"] |= other["$defs"]
    typer.echo(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())


app.command("train-reference")(loop.train_reference)
app.command("train-family")(loop.train_family)
app.command()(loop.benchmark)
app.command()(loop.matrix)
app.command()(loop.correlate)
app.command()(loop.project)
app.command("train-classifier")(loop.train_classifier)
app.command()(loop.distil)
app.command("fit-dsir")(loop.fit_dsir)
app.command("train-ngram")(loop.train_ngram)
app.command()(prove)
app.command()(mix)
app.command()(methods)
app.add_typer(store_app, name="store")


def main() -> None:
    """Runs the command line; a user's mistake exits with 2 and one line, a failed audit with 3."""
    console.use_utf8()
    console.open_streams()
    logs.show(sys.stderr)
    logging.getLogger("apache_beam.runners").setLevel(logging.CRITICAL)  # it logs what it raises, with a traceback
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of folders for its cache that it cannot write
    gc.set_threshold(GARBAGE)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with _plain_errors(), stopping.heeded():
            code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
            sys.stdout.flush()
        if code:
            sys.exit(code)
    finally:
        if "triton" not in sys.modules:  # whose binding takes what is frozen for leaked, and says so
            gc.freeze()  # or the interpreter looks for cycles in all of Beam once more before it ends


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except stopping.Stopped as stopped:
        stopping.leave(stopped.code)
    except USAGE as error:
        print(f"siftlm: command line: {_one_line(error)}", file=sys.stderr)
        sys.exit(EXIT_USER)
    except Exception as error:
        from siftlm.engine.audit import AuditError

        told = known(error)
        if told is None:
            raise
        print(f"siftlm: {visible(str(told))}", file=sys.stderr)
        sys.exit(EXIT_AUDIT if isinstance(told, AuditError) else EXIT_USER)


def _one_line(error: Any) -> str:
    """What is wrong with the words of a command, and where they are explained."""
    message = visible(" ".join(error.format_message().split())).rstrip(".")
    command = error.ctx.command_path if error.ctx else app.info.name
    return f"{message[0].lower()}{message[1:]}; see {command} --help"
