"""Reads the texts of domains, and divides them into what models are trained on and what measures them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siftlm.checks.outcome import ALLOW
from siftlm.config import RunConfig
from siftlm.engine.progress import Progress
from siftlm.errors import UserError
from siftlm.inspect.run import FinishedRun
from siftlm.mixtures.bench import TrainSettings
from siftlm.proving.draws import Indices
from siftlm.proving.libraries import Holdout, Library
from siftlm.proving.selections import shard_tasks
from siftlm.proving.values import OTHERS, SOURCE, divided
from siftlm.proving.vocabulary import STAGE as TOKENIZERS
from siftlm.proving.vocabulary import bytes_per_token, read_tokenizer, tokenizer_path
from siftlm.proxies.training.tokens import TextOfGroup
from siftlm.readers.settings import InputSettings
from siftlm.stages.registry import Needs
from siftlm.stages.write import OutputSettings
from siftlm.statistics.hashing import keyed
from siftlm.store import Store, digest

NAME = "mix"  # of the run that reads the texts
FEWEST = 2  # documents of a domain that measure models
NOBODY = Holdout(frozenset(), 0.0, 0)
DRAWN = 8.0  # times a domain's equal share of the tokens is drawn of it at most

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupedTexts:
    """Holds some documents of a library by group.

    Attributes:
        names: Of the groups, sorted.
        library: Where the documents are.
        numbers: int64[documents], the group of each document of the library.
        rows: int64[n], those that are meant, ascending.
    """

    names: tuple[str, ...]
    library: Library
    numbers: Indices
    rows: Indices

    @property
    def identity(self) -> str:
        """Returns a digest of the texts with their groups."""
        names = [self.names[number] for number in self.numbers[self.rows].tolist()]
        return digest(self.library.identity, self.rows, names)

    def texts(self) -> Iterator[TextOfGroup]:
        """Yields the texts with their groups."""
        for row, text in self.library.training.texts(self.rows):
            yield TextOfGroup(self.names[self.numbers[row]], text)


@dataclass(frozen=True)
class DomainTexts:
    """Holds what models are trained on and what measures them.

    Attributes:
        trains: Documents by domain.
        measures: Documents by target; the domains are the targets where no others are given.
        tokens: float64[domains], the estimated tokens of all documents, each as often as it is wanted.
        tokenizer: Path of the tokenizer in the store.
        notes: What a user should know of the domains, a sentence each.
    """

    trains: GroupedTexts
    measures: GroupedTexts
    tokens: Floats
    tokenizer: str
    notes: tuple[str, ...]


def run_config(settings: TrainSettings, inputs: list[InputSettings]) -> RunConfig:
    """Returns the configuration of the run that reads inputs."""
    return RunConfig(name=NAME, seed=settings.seed, input=inputs, output=OutputSettings(folder=settings.folder))


def domain_texts(settings: TrainSettings, store: Store, progress: Progress, needs: Needs) -> DomainTexts:
    """Returns the documents of all domains, of `input` or of a finished run.

    Raises:
        UserError: a column of `by` is not there, or a domain or a target has too few documents.
    """
    # First, for a mistake in these must not wait for the others.
    apart = _targets(settings, store, progress, needs) if settings.held_out else None
    library = _library(settings, store, progress, needs)
    places = library.training
    names, numbers = divided(settings.by, places, settings.bins, "train.by")
    names, numbers, notes = _joined(names, numbers, places.bytes.astype(np.float64), settings.most)
    path = tokenizer_path(settings, library, settings.seed, store, "train.tokenizer")
    needs.add(TOKENIZERS, [path.rpartition("/")[2].partition(".")[0]])
    rates = bytes_per_token(read_tokenizer(path, store), library, settings.seed)
    documents = places.documents(sorted(set(places.sources)), rates)
    sizes = documents.sizes()
    share = 0.0 if apart else settings.holdout
    held_out, place = _held_out(documents.hashes, numbers, names, share, settings)
    order = np.lexsort((place, numbers))
    order = order[~held_out[order]]
    most = min(float(settings.tokens), DRAWN * settings.tokens / max(1, len(names)))
    trains = np.sort(order[_before(sizes[order], numbers[order], most)])
    tokens = np.bincount(numbers, sizes * documents.weight.astype(np.float64), len(names))
    measures = apart or GroupedTexts(tuple(names), library, numbers, np.flatnonzero(held_out))
    return DomainTexts(
        GroupedTexts(tuple(names), library, numbers, trains), measures, np.asarray(tokens, np.float64), path, notes
    )


def _targets(settings: TrainSettings, store: Store, progress: Progress, needs: Needs) -> GroupedTexts:
    """The documents of `held_out`, some of every source at most."""
    config = run_config(settings, settings.held_out)
    with _placed("train.held_out"):
        tasks = shard_tasks(config, store, progress, needs, select=False)
    library = Library("held out", store, tasks, NOBODY, config.split())
    names, numbers = divided([SOURCE], library.training, settings.bins, "train.held_out")
    _, place = _held_out(library.training.hashes, numbers, names, 0.0, settings)
    return GroupedTexts(tuple(names), library, numbers, np.flatnonzero(place < settings.documents))


def _library(settings: TrainSettings, store: Store, progress: Progress, needs: Needs) -> Library:
    if settings.run is not None:
        run = FinishedRun.open(settings.run)
        weights = run.config.selection().weights
        return Library(NAME, run.store, run.tasks(), NOBODY, materialised=weights is None or weights.materialise)
    config = run_config(settings, settings.input)
    with _placed("train.input"):
        columns = set(settings.by) != {SOURCE}
        tasks = shard_tasks(config, store, progress, needs, select=False, columns=columns)
    return Library(NAME, store, tasks, NOBODY, config.split())


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Names the inputs by their place in this configuration, in errors of the run that reads them."""
    try:
        yield
    except UserError as error:
        if not str(error).startswith("input"):
            raise
        raise UserError(place + str(error).removeprefix("input").removesuffix(f"; {ALLOW}")) from None


def _joined(names: list[str], numbers: Indices, sizes: Floats, most: int) -> tuple[list[str], Indices, tuple[str, ...]]:
    """The domains that have documents, by name; those of too few, and those beyond the `most` largest, are one."""
    if not len(numbers):
        raise UserError("train: must have texts, got none")
    counts, text = np.bincount(numbers, minlength=len(names)), np.bincount(numbers, sizes, len(names))
    there = [int(number) for number in np.argsort(-text, kind="stable") if counts[number]]
    large = [number for number in there if counts[number] > FEWEST]
    large = large if len(large) == len(there) <= most else large[: most - 1]
    small = sorted(set(there) - set(large))
    called = dict(enumerate(names)) | (dict.fromkeys(small, OTHERS) if len(small) > 1 else {})
    kept = sorted({called[number] for number in there})
    rank = {name: number for number, name in enumerate(kept)}
    place = np.array([rank.get(called[number], 0) for number in range(len(names))], np.int64)
    note = f"{len(small)} domains of few documents, or beyond the {most} largest, are one, {OTHERS!r}"
    return kept, place[numbers], (note,) if len(small) > 1 else ()


def _held_out(
    hashes: npt.NDArray[np.uint64], numbers: Indices, names: list[str], share: float, settings: TrainSettings
) -> tuple[npt.NDArray[np.bool_], Indices]:
    """Which documents measure models, the first of every group in a random order; and the places of all in that.

    They are a share of a group's at most; none where the share is 0.
    """
    order = np.lexsort((keyed(hashes, settings.seed, "mix order"), numbers))
    counts = np.bincount(numbers, minlength=len(names))
    if (counts <= FEWEST).any():
        name, count = min(zip(names, counts.tolist(), strict=True), key=lambda pair: (pair[1], pair[0]))
        raise UserError(
            f"train: every domain must have {FEWEST + 1} documents, {FEWEST} of which measure models, got {count} "
            f"of {name!r}; leave it out, or cut its texts into more documents"
        )
    place = np.empty(len(numbers), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    most = np.minimum(settings.documents, np.maximum(FEWEST, (share * counts).astype(np.int64)))
    return (place < most[numbers]) & (share > 0), place


def _before(sizes: Indices, groups: Indices, most: float) -> npt.NDArray[np.bool_]:
    """Which elements begin before the sizes of their group add up to `most`; groups ascend."""
    ends = np.cumsum(sizes)
    starts = ends - sizes
    first = np.searchsorted(groups, groups)
    return np.asarray(starts - starts[first] < most, np.bool_)
