"""What every method of mixing promises, over the union, by the example of each."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from tests.mixtures.tables import examples

from siftlm.components import MIXTURE, members, methods
from siftlm.config import validated
from siftlm.errors import UserError
from siftlm.mixtures.learning import TrainableSettings
from siftlm.mixtures.mix import mix
from siftlm.mixtures.protocol import MixResult, MixSettings
from siftlm.mixtures.settings import METHODS, MixConfig, MixMethod

KINDS: list[type[MixSettings]] = members(MixMethod)


@pytest.fixture
def at_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file that an example names."""
    monkeypatch.chdir(tmp_path)
    examples(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_gives_a_file_with_where_it_comes_from(at_examples: Path, kind: type[MixSettings]) -> None:
    """Shares add up to 1, and a factor takes them. A method that reads no table says how it is trained."""
    config = validated(MixConfig, {"mix": dict(kind.example)}, [], "example")
    if isinstance(config.settings, TrainableSettings) and not config.settings.reads():
        with pytest.raises(UserError, match=f"siftlm mix {config.settings.method} with --train"):
            mix(config)
        return
    for name in config.settings.needed_packages():
        pytest.importorskip(name)
    (at_examples / config.written).unlink(missing_ok=True)  # a draw replaces no table with losses
    made = mix(config)
    assert list(made.tables()) or made.verdict()
    path = at_examples / config.written
    told = json.loads(path.read_text() if path.suffix == ".json" else Path(f"{path}.json").read_text())
    assert told["method"] == kind.model_fields["method"].default
    assert set(told["read"]) == set(config.settings.reads())
    if isinstance(made, MixResult):
        assert sum(made.shares.values()) == pytest.approx(1)
        assert min(made.shares.values()) >= 0
        assert made.shares.keys() == made.prior.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_describes_itself(kind: type[MixSettings]) -> None:
    assert kind.paper
    assert kind.needs
    assert inspect.cleandoc(kind.__doc__ or "").partition("\n")[0].endswith(".")
    assert METHODS[kind.model_fields["method"].default] is kind


def test_every_method_stands_on_the_methods_page() -> None:
    assert [method.name for method in methods() if method.kind == MIXTURE] == list(METHODS)
