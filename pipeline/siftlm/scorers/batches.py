"""Waits for batches of texts that workers compute."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Batches:
    """Holds the batches of some texts that were given to workers."""

    batches: list[Future[None]] = field(default_factory=list, kw_only=True)

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Waits for all batches; those that have not begun are cancelled where one fails, or the block does."""
        try:
            for done in self.batches:
                done.result()
            yield
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Cancels the batches that have not begun."""
        for done in self.batches:
            done.cancel()
