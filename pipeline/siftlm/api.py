"""Defines the functions of siftlm for use from Python.

Everything that a user gets wrong raises `siftlm.errors.UserError`, whose message is one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from siftlm.config import RunConfig, validated
from siftlm.config import load as load_config
from siftlm.correlate.matrix import matrix_of_long, read_matrix
from siftlm.correlate.settings import MatrixSettings
from siftlm.correlate.tables import read_table
from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.inspect.run import FinishedRun
from siftlm.job import run as run_job
from siftlm.mixtures.mix import mix as find_mixture
from siftlm.mixtures.protocol import MixOutcome
from siftlm.mixtures.settings import MixConfig
from siftlm.scaling.curves import ComputeCurve, Crossing, fit_compute_curve
from siftlm.scaling.curves import crossing as curves_cross
from siftlm.scaling.datamodel import Datamodel, Method, fit_datamodel
from siftlm.scaling.information_capacity import OFFSET
from siftlm.scaling.information_capacity import information_capacities as capacities_of
from siftlm.scaling.loss_to_loss import LossToLoss, fit_loss_to_loss
from siftlm.scorers import LMSettings, ShingleSettings, open_score
from siftlm.scorers.contract import with_derived
from siftlm.scorers.gradients.weight_alignment import set_alignment
from siftlm.scorers.gradients.weight_update import WeightUpdateSettings, greedy_order
from siftlm.scorers.protocol import ragged_text
from siftlm.scorers.token_masks import decode_mask
from siftlm.selectors import SelectSettings, select
from siftlm.settings import Settings

Rules = Sequence[Mapping[str, Any] | Settings]
"""Rules as tables of a configuration (`{"kind": "top", ...}`) or as settings objects."""


def load(path: str, *overrides: str) -> RunConfig:
    """Reads the configuration of a run from a TOML file, and applies `key=value` overrides to it.

    Raises:
        UserError: The file is not there, is no TOML, or a key or value is wrong; a line a mistake.
    """
    return load_config(path, list(overrides))


def run(config: RunConfig, *, quiet: bool = True) -> FinishedRun:
    """Runs what has not been run yet, publishes the output as `siftlm run` does, and returns the run.

    Args:
        config: The run, from `load`.
        quiet: Say nothing on stderr while it works.

    Raises:
        UserError: Something about the configuration, the inputs or the environment is wrong.
    """
    run_job(config, Progress(quiet=quiet, metrics=config.metrics_file))
    return FinishedRun.open(config.output.folder)


def open_run(folder: str) -> FinishedRun:
    """Opens a finished run, to read its columns (`arrow`, `pandas`, `polars`), its texts and its manifest.

    Raises:
        UserError: There is no finished run in the folder.
    """
    return FinishedRun.open(folder)


def score_texts(texts: Sequence[str], model: str, **settings: Any) -> pa.Table:
    """Scores texts with a causal language model, and returns one row for each text, in order.

    Args:
        texts: The documents.
        model: A hub id, a local folder, or a .gguf file.
        **settings: Any key of a `[[score]]` table: `device`, `dtype`, `max_tokens`, `revision` ...

    Returns:
        `nll_sum` (nats over the predicted tokens), `token_count`, `byte_count`, `perplexity` (per token),
        `bits_per_byte`, and the other columns of a score; `error` is null for a text that could be scored.

    Raises:
        UserError: The model cannot be read, or a setting is wrong.
    """
    return score_batch(pa.record_batch({"text": pa.array(texts, pa.large_string())}), model, **settings)


def score_batch(batch: pa.RecordBatch, model: str, *, text: str = "text", **settings: Any) -> pa.Table:
    """Scores a column of texts of a record batch, as `score_texts` does; null texts get an error."""
    if text not in batch.schema.names:
        raise UserError(f"text: must be a column of the batch, got {text!r}; there are {', '.join(batch.schema.names)}")
    tree = {"name": "score", "model": model, **settings}
    scorer = open_score(validated(LMSettings, tree, None, "score"))
    scorer.check()  # loads the model again where its files changed since the last call
    texts = batch[text].cast(pa.large_string())
    scored = scorer.begin(scorer.tokenise(texts)).finish()
    return pa.table(with_derived(scored))


def select_table(
    table: pa.Table, rules: Rules, *, weights: Mapping[str, Any] | None = None, tokens: str | None = None, seed: int = 0
) -> pa.Table:
    """Applies the rules of a selection to the rows of a table, and returns one decision for each.

    Args:
        table: Columns that the rules name, of any number of rows. Draws and ties hang on a column `doc_id`; without
            one, rows are numbered.
        rules: As in `[[select.rules]]`, read in their order, each over what those before it keep.
        weights: As in `[select.weights]`.
        tokens: The column that counts tokens, for budgets in tokens.
        seed: Of sampling, of ties and of copies.

    Returns:
        `kept`, `reason` (null where kept), `weight` (expected copies), `copies`, `dropped_by` (the rule).

    Raises:
        UserError: A rule is wrong, or names a column that is not there or of another type.
    """
    tree = {"rules": list(rules), "weights": weights, "tokens": tokens, "seed": seed}
    settings = validated(SelectSettings, tree, None, "select_table")
    if "doc_id" not in table.schema.names:
        table = table.append_column("doc_id", pa.array(map(str, range(table.num_rows)), pa.string()))
    return pa.Table.from_batches(select([table], settings))


def token_mask(content: bytes, tokens: int, encoding: Literal["bitmap", "runs"] = "bitmap") -> NDArray[np.bool_]:
    """Returns which tokens of a document a mask of a score marks, bool[tokens].

    Args:
        content: A value of the column `<score>_<mask>_mask`.
        tokens: The document's `<score>_scored_token_count`.
        encoding: That of the mask in the configuration.
    """
    return decode_mask(content, tokens, encoding)


def minhash(
    texts: Sequence[str], *, ngram: int = 5, bands: int = 14, rows: int = 8, seed: int = 1
) -> NDArray[np.uint64]:
    """Computes the MinHash LSH bands of texts, uint64[texts, bands].

    Two texts that share a band may be near-duplicates. Texts are shingled by words (`ngram` words a shingle), as the
    dedup step does. A text without a word has all ones, and is nobody's near-duplicate.
    """
    signatures, has_shingles = _bands(texts, ngram=ngram, bands=bands, rows=rows, seed=seed)
    signatures[~has_shingles] = np.iinfo(np.uint64).max
    return signatures


def near_duplicates(
    texts: Sequence[str], *, ngram: int = 5, bands: int = 14, rows: int = 8, seed: int = 1
) -> NDArray[np.int64]:
    """Returns for every text the index of the first text in its cluster of near-duplicates, int64[texts].

    Texts are linked that share an LSH band, and clusters are the connected components, as in the dedup step.
    """
    from siftlm_kernels.components import UnionFind, bucket_edges

    signatures, has_shingles = _bands(texts, ngram=ngram, bands=bands, rows=rows, seed=seed)
    owners = np.repeat(np.flatnonzero(has_shingles), bands)
    forest = UnionFind()
    forest.add(*bucket_edges(signatures[has_shingles].reshape(-1), owners))
    first = np.arange(len(signatures))
    members, representatives = forest.components()
    first[members] = representatives
    return first


def loss_to_loss(
    matrix: str | pa.Table,
    source: str,
    target: str,
    *,
    source_floor: float | None = None,
    target_floor: float | None = None,
) -> LossToLoss:
    """Returns the law by which the models' losses on one unit of a matrix predict those on another.

    Args:
        matrix: Bits per byte of models: a file as `siftlm correlate` takes it, or a long table (model, unit, and
            nll_sum with byte_count, or bits_per_byte).
        source: Name of the unit whose losses are known.
        target: Name of the unit to predict.
        source_floor: What no model gets below on the source, where it is known.
        target_floor: The same of the target; only with `source_floor`.

    Raises:
        UserError: a unit is not in the matrix, or too few models have both losses.
    """
    if isinstance(matrix, str):
        losses, _ = read_matrix(validated(MatrixSettings, {"path": matrix}, None, "loss_to_loss: matrix"))
    else:
        losses = matrix_of_long(matrix, "loss_to_loss: matrix")
    for name in (source, target):
        if name not in losses.units:
            raise UserError(f"loss_to_loss: must name units of the matrix, got {name!r}; {name_some(losses.units)}")
    known, wanted = (losses.values[:, losses.units.index(name)] for name in (source, target))
    return fit_loss_to_loss(known, wanted, source_floor=source_floor, target_floor=target_floor)


def mix(method: Mapping[str, Any], output: str | None = None) -> MixOutcome:
    """Returns what a method of `siftlm mix` finds: shares of domains, or how much of a corpus to keep.

    Args:
        method: The table [mix] of a configuration: {"method": "regmix", "runs": "runs.csv"}.
        output: The file that the result is written to, with what it was made of; by default none.

    Raises:
        UserError: a key or a table is wrong, or nothing keeps the bounds.
    """
    tree = {"mix": dict(method), **({"output": output} if output is not None else {})}
    config = validated(MixConfig, tree, None, "mix")
    return find_mixture(config) if output is not None else config.settings.result()


def compute_curve(compute: ArrayLike, losses: ArrayLike) -> ComputeCurve:
    """Returns the curve A C^-alpha + E_inf of losses against compute (Nezhurina et al. 2025, arXiv 2506.04598).

    Args:
        compute: float64[runs], floating-point operations.
        losses: float64[runs]; runs with a NaN are left out.

    Raises:
        UserError: there are fewer than five runs of different compute.
    """
    return fit_compute_curve(compute, losses)


def crossing(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    resamples: int = 200,
    seed: int = 0,
) -> Crossing:
    """Returns the compute at which the curves of two corpora cross, with an interval over resamples of their runs.

    Args:
        first: (compute, losses) of the runs on one corpus.
        second: The same on the other.
        resamples: Of the runs of each.
        seed: Of the resamples.
    """
    return curves_cross(first, second, resamples, seed)


def information_capacities(matrix: str | pa.Table, flops: Mapping[str, float], offset: float = OFFSET) -> pa.Table:
    """Returns how much text every model of a long matrix compresses for its cost (Yuan et al. 2025, arXiv 2511.08066).

    Args:
        matrix: A file or table with a row a model and unit: model, unit, nll_sum (nats), byte_count, token_count
            (predicted tokens), as `siftlm matrix` writes it.
        flops: Floating-point operations of a token by model, about twice its active parameters.
        offset: b of the published formula, in bits.

    Returns:
        A row a model: model, text_bits, model_bits, information_capacity.
    """
    table = read_table(matrix) if isinstance(matrix, str) else matrix
    return capacities_of(table, flops, offset)


def _bands(texts: Sequence[str], **settings: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    from siftlm_kernels.minhash import minhash_bands

    chosen = validated(ShingleSettings, dict(settings), None, "shingles").model_dump(
        include={"ngram", "bands", "rows", "seed"}
    )
    values, offsets = ragged_text(pc.cast(pa.array(texts, pa.string()), pa.large_string()))
    return minhash_bands(values, offsets, **chosen)


def datamodel(
    runs: str | pa.Table, groups: Sequence[str], loss: str, *, method: Method = "lasso", seed: int = 0
) -> Datamodel:
    """Returns the linear model that predicts a loss of training runs from the groups of documents that they saw.

    Args:
        runs: A row a run: a table, or a CSV or Parquet file.
        groups: The columns with the share of each group in a run, or 1 and 0 for seen or not.
        loss: The column with the loss.
        method: `lasso` (Ilyas et al. 2022, arXiv 2202.00622), its penalty chosen over folds, or `least_squares`.
        seed: Of folds and resamples.

    Raises:
        UserError: a column is missing or holds no numbers, or the runs are too few or all the same.
    """
    table = read_table(runs) if isinstance(runs, str) else runs
    names = [groups] if isinstance(groups, str) else list(groups)
    columns = np.column_stack([_numbers("datamodel", table, name) for name in (*names, loss)])
    return fit_datamodel(columns[:, :-1], columns[:, -1], names, method=method, seed=seed)


def gradient_weight_alignment(alignments: Any) -> float | None:
    """Returns the alignment of a set of documents with a model, from the column of a model `weight_alignment`.

    mean / (excess kurtosis + 1.2) (Hoelzl et al. 2025, arXiv 2510.25480). None where that is not defined: for no
    values, values that are all the same, or two of them. Nulls are left out.

    Args:
        alignments: Numbers, or a column of Arrow.
    """
    values = alignments.to_pylist() if isinstance(alignments, pa.Array | pa.ChunkedArray) else list(alignments)
    return set_alignment([value for value in values if value is not None])


def training_data_from_weights(
    texts: Sequence[str], model: str, trained: str, *, count: int | None = None, **settings: Any
) -> pa.Table:
    """Orders texts by how well their gradients add up to what training did to a model's output matrix.

    Morris et al. 2025 (arXiv 2506.15553): one text after another is added whose gradient makes the sum most parallel
    to the weights of `trained` less those of `model`.

    Args:
        texts: The pool.
        model: The model before training: a hub id or a local folder.
        trained: The model after it, of the same architecture.
        count: How many texts are ordered; default all that have a token.
        **settings: Other keys of a model `weight_update`: `between`, `projection`, `device` ...

    Returns:
        A row for each ordered text: `index` among the texts, and `cosine` of the sum with it and those before.

    Raises:
        UserError: A model cannot be read, the two differ in architecture, or a setting is wrong.
    """
    tree = {"name": "update", "model": model, "reference": trained, **settings}
    scorer = validated(WeightUpdateSettings, tree, None, "training_data_from_weights").scorer()
    gradients, update = scorer.projected(pa.array(texts, pa.large_string()))
    known = np.flatnonzero(np.isfinite(gradients).all(axis=1))
    order, cosines = greedy_order(gradients[known], update, count)
    return pa.table({"index": pa.array(known[order], pa.int64()), "cosine": cosines})


def _numbers(place: str, table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of a table as float64, NaN where it has nothing."""
    if name not in table.column_names:
        raise UserError(f"{place}: must name columns of the runs, got {name!r}; {name_some(table.column_names, 10)}")
    try:
        return np.asarray(table[name].cast(pa.float64()).fill_null(np.nan).to_numpy())
    except pa.ArrowException:
        raise UserError(f"{place}: {name!r} must hold numbers, got {table[name].type}") from None
