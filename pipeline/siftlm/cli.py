"""Every command of siftlm: thin, for what they do lives in the packages below."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from siftlm.errors import UserError

app = typer.Typer(
    name="siftlm",
    help="Select language-model pretraining data by perplexity: score, deduplicate, select and reweight.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

EXIT_USER = 2  # a mistake in the configuration, the input or the environment
EXIT_AUDIT = 3  # documents unaccounted for

Config = Annotated[str, typer.Argument(metavar="CONF", help="Configuration of the run, a TOML file.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, for instance seed=3.")
]
BEAM = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=BEAM)
def run(
    context: typer.Context,
    config: Config,
    sets: Sets = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Run what has not been run yet. Other options go to Beam: --runner=SparkRunner --spark_master_url=..."""
    from siftlm import job
    from siftlm.config import load
    from siftlm.progress import Progress
    from siftlm.report.terminal import print_summary
    from siftlm.stages.runner import with_arguments

    settings = load(config, sets)
    settings = settings.model_copy(update={"runner": with_arguments(settings.runner, context.args)})
    result = job.run(settings, Progress(quiet=quiet))
    if not quiet:
        print_summary(result.manifest, settings.output.folder, unchanged=result.unchanged)


@app.command()
def validate(config: Config, sets: Sets = None) -> None:
    """Check the configuration, the inputs, the models and the folders; does no work."""
    from siftlm.config import load
    from siftlm.validate import validate as check

    for line in check(load(config, sets)):
        typer.echo(line)


@app.command(context_settings=BEAM)
def plan(context: typer.Context, config: Config, sets: Sets = None) -> None:
    """Show the stages with their keys, what would run, and how long it would take."""
    from siftlm.config import load
    from siftlm.plan import describe
    from siftlm.plan import plan as make
    from siftlm.report.terminal import print_plan
    from siftlm.stages.runner import with_arguments

    settings = load(config, sets)
    settings = settings.model_copy(update={"runner": with_arguments(settings.runner, context.args)})
    print_plan(describe(row) for row in make(settings))


@app.command("train-reference")
def train_reference(
    config: Config,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where the model goes, a transformers folder.")],
    sets: Sets = None,
) -> None:
    """Train the reference model of CONF on the held-out split of its corpus and save it."""
    from siftlm import job
    from siftlm.config import load
    from siftlm.progress import Progress

    typer.echo(job.train_reference(load(config, sets), folder, Progress()))


@app.command()
def inspect(
    folder: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    column: Annotated[str | None, typer.Option(help="Order documents by this column.")] = None,
    percentiles: Annotated[str, typer.Option(help="Percentiles to show, separated by commas.")] = "1,10,25,50,75,90,99",
    reason: Annotated[str | None, typer.Option(help="Only documents dropped for this reason.")] = None,
    kept: Annotated[bool | None, typer.Option("--kept/--dropped", help="Only kept or only dropped ones.")] = None,
    characters: Annotated[int, typer.Option(min=0, help="Characters of text to show.")] = 300,
) -> None:
    """Show documents at given percentiles of a column, kept and dropped, with reasons."""
    from siftlm.inspection import inspect as documents
    from siftlm.inspection import parse_percentiles
    from siftlm.report.terminal import print_documents

    print_documents(documents(folder, column, parse_percentiles(percentiles), reason, kept), characters)


@app.command()
def schema() -> None:
    """Print the JSON schema of a configuration."""
    import orjson

    from siftlm.config import RunConfig

    typer.echo(orjson.dumps(RunConfig.model_json_schema(), option=orjson.OPT_INDENT_2).decode())


def main() -> None:
    """Runs the command line; a user's mistake is one line and exit code 2, a failed audit is exit code 3."""
    with _plain_errors():
        app()


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        print(f"siftlm: {error}", file=sys.stderr)
        sys.exit(EXIT_USER)
    except KeyboardInterrupt:
        print("siftlm: interrupted; run again to go on from here", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno != 28:
            raise
        print(
            f"siftlm: no space left while writing {error.filename or ''}; free some and run again",
            file=sys.stderr,
        )
        sys.exit(EXIT_USER)
    except Exception as error:
        _exit_known(error)
        raise


def _exit_known(error: BaseException) -> None:
    """Exits for a user's mistake or a failed audit, also when Beam wrapped it."""
    from siftlm.lineage import AuditError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AuditError):
            print(f"siftlm: {cause}", file=sys.stderr)
            sys.exit(EXIT_AUDIT)
        if isinstance(cause, UserError):
            print(f"siftlm: {cause}", file=sys.stderr)
            sys.exit(EXIT_USER)
        cause = cause.__cause__ or cause.__context__


if __name__ == "__main__":
    main()
