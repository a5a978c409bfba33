"""Loads the files that scorers read, and checks that they match their digest.

A file may be replaced while a run works, and put back before anybody looks. So a model is hashed when it is loaded,
both between two looks at what the file system says of its files, and a shard is taken only if that is the same when it
ends: matrices may stay mapped from a file, which shows them as they are now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import ClassVar, Generic, TypeVar

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.scorers.protocol import Scorer, ScorerSettings

T = TypeVar("T")


@contextmanager
def pinned(scorers: Sequence[tuple[Scorer, str]]) -> Iterator[None]:
    """Loads scorers for a `with` block, and raises a UserError if their files change before it ends.

    The scorers must have these digests.
    """
    before = [states(scorer.reads()) for scorer, _ in scorers]
    for scorer, digest in scorers:
        scorer.load(digest)
    yield
    for (scorer, _), state in zip(scorers, before, strict=True):
        _compare(state, states(scorer.reads()))


def states(paths: Sequence[str]) -> dict[str, str]:
    """Returns, by path, a string that changes whenever the file does, or an empty one for a missing file."""
    return {path: _state(path) for path in paths}


def _state(path: str) -> str:
    try:
        return filesystem.signature(path) or filesystem.fingerprint(path)
    except OSError:  # `content` says what is wrong
        return ""


def _compare(before: dict[str, str], after: dict[str, str]) -> None:
    """Raises UserError for the first file that is another one, new, or gone."""
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            raise changed(path)


def changed(path: str) -> UserError:
    """Returns the error for a file whose content changed during the run."""
    return UserError(f"{path}: must stay as it is while a run reads it, got another content; run again")


class Held(Scorer, Generic[T]):
    """Keeps what a scorer loaded from its files, and loads it again when the files change.

    A subclass says which files (`reads`), what digests their content (`content`), what the digest of its columns is
    given that (`identity`), and how they are loaded (`open`).
    """

    def __init__(self, settings: ScorerSettings) -> None:
        super().__init__(settings)
        self._loading = Lock()
        self._value: T | None = None
        self._content = ""
        self._states: dict[str, str] = {}

    def content(self) -> str:
        """Returns a digest of the bytes of the files."""
        raise NotImplementedError

    def identity(self, content: str) -> str:
        """Returns a digest that changes when the columns may change, given the digest of the files."""
        raise NotImplementedError

    def open(self) -> T:
        """Returns the model or data that is read from the files."""
        raise NotImplementedError

    def digest(self) -> str:
        return self.identity(self.content())

    def check(self) -> None:
        self.fresh()

    def load(self, digest: str) -> None:
        self.fresh()
        if self.identity(self._content) != digest:
            raise changed(self.reads()[0])

    def loaded(self) -> T:
        """Returns what was loaded before, or loads the files if nothing was."""
        return self.fresh() if self._value is None else self._value

    def fresh(self) -> T:
        """Returns the content of the files as they are now, and loads it only if they changed."""
        with self._loading:
            now = states(self.reads())
            if self._value is None or self._states != now:
                content = self.content()
                value = self.open()
                _compare(now, states(self.reads()))
                self._value, self._content, self._states = value, content, now
            return self._value


class OneFile(Held[T]):
    """Keeps what a scorer loaded from the one file at its settings' `path`.

    A subclass says how its content is read (`parse`), and in words what it must be (`wanted`).
    """

    wanted: ClassVar[str]

    def path(self) -> str:
        """Returns the path of the file."""
        return str(self.settings.path)  # type: ignore[attr-defined]

    def place(self) -> str:
        """Returns the configuration key that names the file, for error messages."""
        return f"{self.settings.place}.path"  # type: ignore[attr-defined]

    def parse(self) -> T:
        """Returns the content of the file, or raises OSError, ValueError or KeyError where it is invalid."""
        raise NotImplementedError

    def reads(self) -> list[str]:
        return [self.path()]

    def content(self) -> str:
        try:
            return filesystem.fingerprint(self.path())
        except OSError as error:
            raise self._unreadable(error) from None

    def open(self) -> T:
        try:
            return self.parse()
        except (OSError, ValueError, KeyError) as error:  # pyarrow's and orjson's errors are ValueErrors
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> UserError:
        reason = str(getattr(error, "strerror", None) or error).partition("\n")[0]
        return UserError(f"{self.place()}: must be {self.wanted}, got {self.path()!r}: {reason}")
