"""Reads from a model's config.json which outputs its classification head has, and what they mean; loads no model."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from siftlm.errors import UserError, nearest
from siftlm.scorers.lm_files import ModelFiles

Activation = Literal["softmax", "sigmoid", "none"]
BY_PROBLEM: dict[str, Activation] = {
    "regression": "none", "multi_label_classification": "sigmoid", "single_label_classification": "softmax",
}  # fmt: skip
SHOWN = 10  # labels in a message
DEFAULT_OUTPUTS = 2  # of a configuration that names no labels, as transformers has it


@dataclass(frozen=True)
class ClassifierHead:
    """Describes the outputs of a classification head: the label of each, and the function that is applied to them."""

    labels: tuple[str, ...]
    activation: Activation

    @classmethod
    def of(cls, place: str, files: ModelFiles, activation: Activation | None) -> ClassifierHead:
        """Returns the head that a model's config.json describes.

        Where `activation` is None it follows from `problem_type`, and without one from the number of outputs: the
        value itself of a single output, a softmax over several.

        Raises:
            UserError: at `place`, for a file that is no JSON or has no labels for its outputs.
        """
        path = files.folder / "config.json"
        try:
            config = json.loads(path.read_bytes())
            labels = _labels(config)
            own = BY_PROBLEM.get(config.get("problem_type") or "", "none" if len(labels) == 1 else "softmax")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{place}: must have a config.json with the labels of its head, got {str(path)!r}; "
                            f"{type(error).__name__}: {error}") from None  # fmt: skip
        return cls(labels, activation or own)

    def position(self, place: str, label: str) -> int:
        """Returns the output that a label names; raises a UserError at `place` with the nearest labels."""
        if label in self.labels:
            return self.labels.index(label)
        near = nearest(label, self.labels, 0.5)
        hint = f"did you mean {near!r}?" if near else f"it has {self.shown()}"
        raise UserError(f"{place}: must be a label of the model, got {label!r}; {hint}")

    def shown(self) -> str:
        """Returns the labels for a message."""
        more = len(self.labels) - SHOWN
        return ", ".join(map(repr, self.labels[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    """The labels by their number, called LABEL_0 ... where the configuration has no names for them."""
    named: dict[str, Any] = config.get("id2label") or {}
    if named:
        return tuple(str(named[str(number)]) for number in range(len(named)))
    return tuple(f"LABEL_{number}" for number in range(int(config.get("num_labels", DEFAULT_OUTPUTS))))


def column_name(name: str, label: str) -> str:
    """Returns the name of a label's column: `<name>_<label>` in lower case, `_` for what is no letter or digit."""
    return f"{name}_{re.sub(r'[^a-z0-9]+', '_', label.lower()).strip('_')}"


def column_names(name: str, labels: Sequence[str]) -> list[str]:
    """Returns the names of the columns of some labels; raises a ValueError where two labels give one name."""
    names = [column_name(name, label) for label in labels]
    twice = next((label for label, of in zip(labels, names, strict=True) if names.count(of) > 1), None)
    if twice is not None:
        raise ValueError(f"labels must give columns of different names, got {column_name(name, twice)!r} twice")
    return names
