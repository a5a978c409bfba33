"""Defines the commands that train models and lead from losses to a selection."""

from __future__ import annotations

from typing import Annotated

import typer

from siftlm.cli.arguments import Config, Sets


def train_reference(
    config: Config,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where the model goes, a transformers folder.")],
    sets: Sets = None,
) -> None:
    """Train the reference model of CONF on the held-out split of its corpus and save it."""
    from siftlm import job
    from siftlm.config import load
    from siftlm.engine.progress import Progress

    typer.echo(job.train_reference(load(config, sets), folder, Progress()))


def train_family(config: Config, sets: Sets = None) -> None:
    """Train the small models of [family]: several mixtures, sizes and lengths of training."""
    from siftlm.cli.loop_terminal import print_family
    from siftlm.engine.progress import Progress
    from siftlm.loop import load
    from siftlm.proxies.family import train_family as train

    print_family(train(load(config, sets), Progress()))


def benchmark(config: Config, sets: Sets = None) -> None:
    """Measure the models' errors on the small tasks of [benchmark], cut from held-out documents."""
    from siftlm.cli.loop_terminal import print_errors
    from siftlm.engine.progress import Progress
    from siftlm.loop import load
    from siftlm.proxies.benchmark import benchmark as measure

    settings = load(config, sets)
    print_errors(measure(settings, Progress()), settings.folder)


def matrix(config: Config, sets: Sets = None) -> None:
    """Measure bits per byte of every unit (domain, page, chunk) under every model of [[score]] and [family]."""
    from siftlm.cli.loop_terminal import print_matrix
    from siftlm.engine.progress import Progress
    from siftlm.loop import load
    from siftlm.proxies.matrix import make_matrix

    print_matrix(make_matrix(load(config, sets), Progress()))


def correlate(
    config: Annotated[str | None, typer.Argument(metavar="[CONF]", help="Configuration with its matrix made.")] = None,
    matrix: Annotated[str | None, typer.Option(help="Instead of CONF: a matrix, CSV or Parquet.")] = None,
    errors: Annotated[str | None, typer.Option(help="Errors: CSV, Parquet, or a folder of harness results.")] = None,
    estimator: Annotated[str | None, typer.Option(help="spearman, sign_cdf, product, concordant ...")] = None,
    out: Annotated[str | None, typer.Option(help="Folder of the tables and the page.")] = None,
    sets: Sets = None,
) -> None:
    """Estimate by unit from a matrix and benchmark errors, and say how far to trust that."""
    from siftlm.cli.loop_terminal import print_correlations
    from siftlm.cli.options import correlate_options
    from siftlm.correlation import correlate as estimate

    settings, folder = correlate_options(config, matrix, errors, estimator, out, sets)
    print_correlations(estimate(settings, folder), folder)


def project(
    config: Annotated[str | None, typer.Argument(metavar="[CONF]", help="Configuration, correlated already.")] = None,
    estimates: Annotated[str | None, typer.Option(help="Instead of CONF: estimates of siftlm correlate.")] = None,
    units: Annotated[str | None, typer.Option(help="A table with the columns unit and token_count.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Tokens to select.")] = None,
    keep_share: Annotated[float | None, typer.Option(help="Or the share of all tokens to select.")] = None,
    method: Annotated[str | None, typer.Option(help="linear or l2")] = None,
    out: Annotated[str | None, typer.Option(help="Folder of weights.parquet and the page.")] = None,
    sets: Sets = None,
) -> None:
    """Turn estimates into weights by unit, capped by the tokens that each unit has."""
    from siftlm.cli.loop_terminal import print_weights
    from siftlm.cli.options import project_options
    from siftlm.correlation import project_units

    budget = {"budget_tokens": budget_tokens, "keep_share": keep_share, "method": method}
    settings, table, tokens, folder = project_options(config, estimates, units, budget, out, sets)
    print_weights(project_units(settings, table, tokens, folder), folder)


def train_classifier(
    config: Annotated[str | None, typer.Argument(metavar="[CONF]", help="Configuration with its weights made.")] = None,
    good: Annotated[list[str] | None, typer.Option(help="Instead of CONF: files of the pages to include.")] = None,
    web: Annotated[list[str] | None, typer.Option(help="Files of the pages to exclude.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of siftlm project, if not those of CONF.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder of model.bin and report.json.")] = None,
    sets: Sets = None,
) -> None:
    """Train a fastText classifier of included against excluded pages, or of two corpora."""
    from siftlm.classifiers.train import train_classifier as train
    from siftlm.cli.loop_terminal import print_classifier
    from siftlm.cli.options import corpora_options
    from siftlm.engine.progress import Progress

    settings, folder = corpora_options(config, good, web, out, sets, "classifier")
    print_classifier(train(settings, Progress(), weights, folder), folder)


def distil(
    config: Annotated[str, typer.Argument(metavar="CONF", help="A run with the model in [[annotate.models]].")],
    out: Annotated[str | None, typer.Option(help="Folder of the learner and its report.")] = None,
    sets: Sets = None,
) -> None:
    """Score a sample by a costly model, and teach a learner that says the same of every document."""
    from siftlm.classifiers.distil import distil as run_distil
    from siftlm.cli.loop_terminal import print_distilled
    from siftlm.engine.progress import Progress
    from siftlm.loop import load

    print_distilled(run_distil(load(config, sets), Progress(), out))


def fit_dsir(
    config: Annotated[str | None, typer.Argument(metavar="[CONF]", help="Configuration with a [dsir] table.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="Instead of CONF: files of the target corpus.")] = None,
    raw: Annotated[list[str] | None, typer.Option(help="Files of the corpus to select from.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder of dsir.npz.")] = None,
    sets: Sets = None,
) -> None:
    """Count hashed n-grams of a target and a raw corpus: DSIR's importance weights, a scorer of [annotate]."""
    from siftlm.classifiers.train import fit_dsir as fit
    from siftlm.cli.options import corpora_options
    from siftlm.engine.progress import Progress

    settings, folder = corpora_options(config, target, raw, out, sets, "")
    typer.echo(fit(settings, Progress(), folder))


def train_ngram(
    texts: Annotated[list[str], typer.Argument(metavar="TEXTS...", help="Files, folders and globs of text.")],
    out: Annotated[
        list[str], typer.Option(help="Where the model goes: .arpa, .arpa.gz or .bin; twice for both kinds.")
    ],
    order: Annotated[int, typer.Option(help="Words of the longest n-grams.")] = 5,
    unit: Annotated[str, typer.Option(help="Tokens: words, bytes or pieces.")] = "words",
    pieces: Annotated[str | None, typer.Option(help="The SentencePiece model of --unit pieces.")] = None,
    normalise: Annotated[str, typer.Option(help="What is done to texts first: none, lower or ccnet.")] = "none",
    memory: Annotated[str, typer.Option(help="Bytes that n-grams may take of all processes: 2GB, 500M.")] = "2GB",
    processes: Annotated[int, typer.Option(help="Processes that work; the model does not depend on it.")] = 1,
    discount_fallback: Annotated[
        bool, typer.Option("--discount-fallback", help="Discounts of 0.5, 1 and 1.5 where none can be estimated.")
    ] = False,
    text_field: Annotated[str, typer.Option(help="jsonl, parquet: the field with the text.")] = "text",
) -> None:
    """Train an n-gram model with interpolated modified Kneser-Ney smoothing, as KenLM's lmplz does."""
    from siftlm.cli.options import ngram_options
    from siftlm.ngram.train import train_ngram as train

    given = {"order": order, "unit": unit, "pieces": pieces, "normalise": normalise, "memory": memory}
    given |= {"processes": processes, "discount_fallback": discount_fallback, "text_field": text_field}
    for line in train(*ngram_options(texts, out, given)).lines():
        typer.echo(line)
