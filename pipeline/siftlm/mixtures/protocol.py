"""Defines a method of mixing: settings that describe it and find a result, which is written to a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, NamedTuple

import orjson

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.settings import Settings

MixCost = Literal["seconds", "minutes", "trains small models", "gradients of a small model"]
"""What a method costs beside the runs that it reads: arithmetic on a table, a search in it, or models of its own."""
LEAST_SHOWN = 0.0005  # share; smaller ones are told together


class Shown(NamedTuple):
    """Holds a table for the terminal."""

    head: tuple[str, ...]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class MixOutcome:
    """Holds what a method found.

    A subclass has the fields that its file gets beside where they come from, and says what the terminal shows.

    Attributes:
        warnings: What a user should know, a sentence each.
    """

    warnings: tuple[str, ...]

    def tables(self) -> Iterator[Shown]:
        """Yields the tables for the terminal."""
        yield from ()

    def verdict(self) -> str:
        """Returns the result in a sentence; empty where the tables say it."""
        return ""

    def write(self, path: str, provenance: Mapping[str, Any]) -> None:
        """Writes a JSON object with the fields and where they come from."""
        tree = {**asdict(self), **provenance}
        filesystem.write_bytes(path, orjson.dumps(tree, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


@dataclass(frozen=True)
class Trust:
    """Holds how well the law of one target predicts runs that it was not fitted to.

    Attributes:
        target: Name of the loss.
        runs: Runs that have it.
        rank_correlation: Spearman's, over all runs, each predicted by a law fitted without its fold.
        error: Root mean square of the predictions' errors, in the unit of the loss.
    """

    target: str
    runs: int
    rank_correlation: float | None
    error: float


@dataclass(frozen=True)
class MixResult(MixOutcome):
    """Holds a mixture, and how far it is to be trusted.

    Attributes:
        shares: By domain; a factor `mixture` takes them by the path of the file.
        prior: By domain, the shares that the mixture must beat.
        intervals: By domain, where 90 of 100 mixtures from resampled runs have its share; empty where there are none.
        gain: Predicted loss of the prior less that of the mixture, weighed over targets, with such an interval.
        trust: A row a target.
    """

    shares: dict[str, float]
    prior: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    gain: tuple[float, float, float] | None
    trust: tuple[Trust, ...]

    def tables(self) -> Iterator[Shown]:
        """Yields the shares, the largest first, and how well the law of every target predicts."""
        shares = sorted(self.shares.items(), key=lambda item: (-item[1], item[0]))
        large = [(name, share) for name, share in shares if share >= LEAST_SHOWN]
        large = shares if len(large) + 1 == len(shares) else large
        rest = [share for _, share in shares[len(large) :]]
        rows = [(name, f"{share:.4f}", self._interval(name), self._prior(name)) for name, share in large]
        if rest:
            rows.append((f"{len(rest)} others", f"{sum(rest):.4f}", "", ""))
        yield Shown(("domain", "share", "90 % of resamples", "prior"), rows)
        yield from self.trust_tables()

    def trust_tables(self) -> Iterator[Shown]:
        """Yields how well every target is predicted; nothing where that was not seen."""
        if self.trust:
            told = [(one.target, one.runs, one.rank_correlation, f"{one.error:.4f}") for one in self.trust]
            yield Shown(("loss", "runs", "rank correlation", "error"), told)

    def verdict(self) -> str:
        if self.gain is None:
            return ""
        gain, low, high = self.gain
        how = "lower" if gain >= 0 else "HIGHER"
        ends = interval_words(low, high) if gain >= 0 else interval_words(-high, -low)
        return f"predicted loss {how} than the prior's by {abs(gain):.4f} (90 % of resamples: {ends})"

    def _interval(self, name: str) -> str:
        return interval_words(*self.intervals[name]) if name in self.intervals else ""

    def _prior(self, name: str) -> str:
        return f"{self.prior[name]:.4f}" if name in self.prior else ""


class MixSettings(Settings):
    """Configures a method of mixing, and describes it to the rest of siftlm.

    The docstring of a subclass says what the method does; its `method` is its name on the command line.

    Attributes:
        paper: Where the method comes from.
        needs: What it reads, in words.
        cost: What it costs beside that.
        packages: What must be installed, by the names that Python imports.
        unchecked: Constants and forms whose source could not be read, in words; empty where all could.
        default_output: The file of the result where a configuration names none.
        example: Settings that work; the files that they name stand beside whoever runs them.
    """

    method: str
    paper: ClassVar[str]
    needs: ClassVar[str]
    cost: ClassVar[MixCost] = "seconds"
    packages: ClassVar[tuple[str, ...]] = ()
    unchecked: ClassVar[str] = ""
    default_output: ClassVar[str] = "mixture.json"
    example: ClassVar[Mapping[str, Any]]

    def result(self) -> MixOutcome:
        """Returns what the method finds; raises UserError for input that does not do."""
        raise NotImplementedError(f"{self.method} must find a result")

    def reads(self) -> Sequence[str]:
        """Returns the files that decide the result beside the settings."""
        return ()

    def needed_packages(self) -> Sequence[str]:
        """Returns what must be installed for these settings."""
        return self.packages

    def check_packages(self) -> None:
        """Raises UserError where a package is missing."""
        if missing := [name for name in self.needed_packages() if find_spec(name) is None]:
            raise UserError(
                f"mix: must have the packages that {self.method} needs, got an environment without {missing[0]!r}; "
                f"pip install 'siftlm[{missing[0]}]'"
            )


def interval_words(low: float, high: float) -> str:
    """Returns an interval in words."""
    return f"{low:.4f} to {high:.4f}"
