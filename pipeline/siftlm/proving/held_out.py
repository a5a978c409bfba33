"""Chooses the documents that measure models, and leaves out those that stand in what any model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siftlm.errors import UserError
from siftlm.proving.draws import Indices, first_in_order
from siftlm.proving.libraries import HELD_OUT, Library, Places
from siftlm.proving.settings import ProveSettings
from siftlm.proving.values import OTHERS, divided
from siftlm.scorers.contamination import Ngrams, word_ngrams

NGRAM = 13  # words; Brown et al. 2020 (arXiv 2005.14165), appendix C
FEWEST = 2  # documents of a domain
BINS = 4  # of a column of numbers that divides domains
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Measuring:
    """Holds what models are measured on: held-out documents, and the right answers of benchmark items.

    Attributes:
        domains: Names of the domains, a benchmark being one.
        domain: int64[measures], the number of each measure's domain.
        names: Ids of the documents, and numbers of the items.
        texts: Texts that models compute losses of: documents, contexts, and contexts with each of their choices.
        sizes: int64[measures], UTF-8 bytes of the document or of the right answer.
        whole: int64[measures], the number of the text whose loss counts.
        given: int64[measures], the number of the text whose loss is taken off it, an item's context; -1 for documents.
        choices: int64[measures, choices], the texts with an item's choices, the right one first; -1 for none.
    """

    domains: tuple[str, ...]
    domain: Indices
    names: list[str]
    texts: list[str]
    sizes: Indices
    whole: Indices
    given: Indices
    choices: Indices

    @classmethod
    def of_documents(
        cls, domains: Sequence[str], domain: Sequence[int], names: list[str], texts: list[str]
    ) -> Measuring:
        """Returns documents as measures, each of which counts itself."""
        sizes = np.array([len(text.encode()) for text in texts], np.int64)
        numbers, none = np.arange(len(texts)), np.full(len(texts), -1)
        return cls(tuple(domains), np.array(domain, np.int64), names, texts, sizes, numbers, none, none[:, None])

    def only(self, rows: npt.NDArray[np.bool_]) -> Measuring:
        """Returns the measures where `rows` is True; raises UserError where a domain has fewer than two left."""
        left = np.bincount(self.domain[rows], minlength=len(self.domains))
        for name, number in zip(self.domains, left.tolist(), strict=True):
            if number < FEWEST:
                raise UserError(
                    f"prove.domains.{name}: must have {FEWEST} held-out documents that no model was trained on, got "
                    f"{number}; raise prove.holdout, or add documents of that domain in prove.held_out"
                )
        names = [self.names[n] for n in np.flatnonzero(rows).tolist()]
        arrays = (array[rows] for array in (self.domain, self.sizes, self.whole, self.given, self.choices))
        domain, sizes, whole, given, choices = arrays
        return Measuring(self.domains, domain, names, self.texts, sizes, whole, given, choices)

    def bits(self, nats: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Returns the bits of every measure, float64[..., measures], from the nats of every text."""
        given = np.where(self.given < 0, 0.0, nats[..., self.given])
        return np.asarray((nats[..., self.whole] - given) / np.log(2))

    def accuracies(self, nats: npt.NDArray[np.float64]) -> dict[str, float]:
        """Returns for every benchmark the share of its items whose right answer has the fewest nats a byte.

        `nats` is float64[texts]. An item counts as wrong where another choice is as good.
        """
        sizes = np.array([len(text.encode()) for text in self.texts], np.float64)
        made = {}
        for number, name in enumerate(self.domains):
            rows = (self.domain == number) & (self.given >= 0)
            if rows.any():
                given, choices = self.given[rows][:, None], self.choices[rows]
                with np.errstate(invalid="ignore", divide="ignore"):
                    rates = (nats[choices] - nats[given]) / (sizes[choices] - sizes[given])
                rates = np.where(choices < 0, np.inf, rates)
                made[name] = float((rates[:, :1] < rates[:, 1:]).all(axis=1).mean())
        return made


def joined(parts: Sequence[Measuring]) -> Measuring:
    """Returns the measures of several parts, whose domains have different names, one after another."""
    domains = tuple(name for part in parts for name in part.domains)
    texts = [text for part in parts for text in part.texts]
    first_domain = np.cumsum([0, *(len(part.domains) for part in parts)])
    first_text = np.cumsum([0, *(len(part.texts) for part in parts)])
    width = max(part.choices.shape[1] for part in parts)

    def moved(numbers: Indices, by: int) -> Indices:
        return np.asarray(np.where(numbers < 0, -1, numbers + by), np.int64)

    return Measuring(
        domains,
        np.concatenate([part.domain + first_domain[n] for n, part in enumerate(parts)]),
        [name for part in parts for name in part.names],
        texts,
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([moved(part.whole, first_text[n]) for n, part in enumerate(parts)]),
        np.concatenate([moved(part.given, first_text[n]) for n, part in enumerate(parts)]),
        np.concatenate(
            [
                np.pad(
                    moved(part.choices, first_text[n]), ((0, 0), (0, width - part.choices.shape[1])), constant_values=-1
                )
                for n, part in enumerate(parts)
            ]
        ),
    )


def choose(
    libraries: Sequence[Library], domains: Mapping[str, Sequence[str]], settings: ProveSettings, seed: int
) -> Measuring:
    """Returns held-out documents of every domain by a keyed draw.

    Args:
        libraries: Where held-out documents are, those of the corpus first; a domain's sources are all in one of them.
        domains: Name of a domain -> its sources.
        settings: How many documents of a domain at most, and by which columns those of the corpus are divided.
        seed: Of the draw.
    """
    names, numbers, doc_ids, texts = list[str](), list[int](), list[str](), list[str]()
    apart = {of.source for of in settings.held_out}
    parts = _parts(libraries[0].measuring, settings)
    for domain, sources in domains.items():
        divided = parts if settings.by and domain not in apart else {}
        for library in libraries:
            places = library.measuring
            inside = places.of_source(sources)
            for name, rows in _domains(domain, inside, divided if library is libraries[0] else {}, settings):
                drawn = np.sort(first_in_order(places.hashes, seed, f"{HELD_OUT} order", settings.documents, rows))
                if name not in names:
                    names.append(name)
                doc_ids += places.doc_ids(drawn)
                texts += [text for _, text in places.texts(drawn)]
                numbers += [names.index(name)] * len(drawn)
    made = Measuring.of_documents(tuple(names), numbers, doc_ids, texts)
    return made.only(np.ones(len(texts), np.bool_))


def _parts(places: Places, settings: ProveSettings) -> dict[str, Mask]:
    """Which held-out documents of the corpus have which value of the columns that divide domains."""
    if not settings.by:
        return {}
    names, numbers = divided(settings.by, places, BINS, "prove.by")
    return {name: numbers == number for number, name in enumerate(names)}


def _domains(
    domain: str, inside: Mask, parts: Mapping[str, Mask], settings: ProveSettings
) -> Iterator[tuple[str, Mask]]:
    """The domains that one is divided into, each with its documents; the domain itself where nothing divides it."""
    sizes = {name: int((mask & inside).sum()) for name, mask in parts.items()}
    ordered = sorted((name for name, size in sizes.items() if size), key=lambda name: (-sizes[name], name))
    large = [name for name in ordered if sizes[name] >= FEWEST]
    all_fit = len(ordered) <= settings.most_domains
    kept = large[: settings.most_domains if all_fit else settings.most_domains - 1]
    if not parts:
        yield domain, inside
        return
    rest = inside.copy()
    for name in sorted(kept):
        rest &= ~parts[name]
        yield f"{domain}: {name}", parts[name] & inside
    if int(rest.sum()) >= FEWEST:
        yield f"{domain}: {OTHERS}", rest


class SeenNgrams:
    """Notes which word n-grams of held-out documents stand in texts that models are trained on."""

    def __init__(self, measuring: Measuring) -> None:
        texts = [measuring.texts[number] for number in measuring.whole.tolist()]
        self._hashes, self._bounds = word_ngrams(pa.array(texts, pa.large_string()), NGRAM)
        self._ngrams = Ngrams.of(self._hashes, np.arange(len(self._hashes)))
        self._seen = np.zeros(len(self._ngrams.hashes), np.bool_)

    def note(self, texts: Iterable[str]) -> None:
        """Notes the n-grams of texts."""
        hashes, _ = word_ngrams(pa.array(list(texts), pa.large_string()), NGRAM)
        at, _ = self._ngrams.find(hashes)
        self._seen[np.searchsorted(self._ngrams.hashes, hashes[at])] = True

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Returns bool[n-grams], True where an n-gram was seen; masks of several readers are combined by `add`."""
        return self._seen

    def add(self, mask: npt.NDArray[np.bool_]) -> None:
        """Notes the n-grams that another reader has seen."""
        self._seen |= mask

    def shares(self) -> npt.NDArray[np.float64]:
        """Returns which share of each document's or item's n-grams was seen, float64[measures].

        A document of fewer words than an n-gram has is one n-gram.
        """
        seen = self._seen[np.searchsorted(self._ngrams.hashes, self._hashes)]
        sums = np.concatenate([[0], np.cumsum(seen)])
        counts = np.diff(self._bounds)
        return np.asarray((sums[self._bounds[1:]] - sums[self._bounds[:-1]]) / np.maximum(counts, 1))
