"""Small corpora and the runs over them, without a language model unless a test makes one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Bench:
    """A folder with shards in `in/`, and the runs over them."""

    root: Path

    def shard(self, name: str, rows: Iterable[Any], folder: str = "in") -> Path:
        """A jsonl shard: strings are lines as they are, anything else is written as JSON."""
        path = self.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def tree(self, out: str = "out", **rest: Any) -> dict[str, Any]:
        """A configuration that computes nothing dear: no language, no text signals, one thread."""
        return {
            "name": "bench",
            "input": [{"source": "web", "paths": [str(self.root / "in")], "id_field": "id"}],
            "annotate": {"language": None, "signals": None},
            "output": {"folder": str(self.root / out), **rest.pop("output", {})},
            **rest,
        }

    def run(self, out: str = "out", **rest: Any) -> Any:
        """The result of a run in this process."""
        from siftlm import job
        from siftlm.config import parse
        from siftlm.engine.progress import Progress

        return job.run(parse(self.tree(out, **rest), []), Progress(quiet=True))

    def rows(self, out: str = "out", part: str = "data") -> list[dict[str, Any]]:
        """The rows of the output in the order of its shards."""
        import pyarrow.parquet as pq

        return [row for path in sorted((self.root / out / part).iterdir()) for row in pq.read_table(path).to_pylist()]

    def errors(self, out: str = "out") -> list[dict[str, Any]]:
        import pyarrow.parquet as pq

        return list(pq.read_table(self.root / out / "errors.parquet").to_pylist())

    def content(self, out: str = "out", parts: Sequence[str] = ("data", "rejects")) -> dict[str, bytes]:
        """The bytes of the output shards by name."""
        files = [path for part in parts for path in (self.root / out / part).glob("*")]
        return {str(path.relative_to(self.root / out)): path.read_bytes() for path in files}

    def markers(self, store: str = "out/store") -> dict[str, int]:
        """When every marker of the store was written, by stage and key."""
        root = self.root / store
        return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in sorted(root.rglob("*.done"))}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A folder that the tests of a module look at together."""
    return Bench(tmp_path_factory.mktemp("bench"))


def stages_of(markers: Iterable[str]) -> set[str]:
    return {marker.rpartition("/")[0] for marker in markers}


def save_tiny_model(folder: Path, seed: int = 0, scale: float = 1.0) -> Path:
    """A random GPT-2 of two layers with a tokenizer of bytes, as transformers saves it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, **{letter: number for number, letter in enumerate(letters, 1)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end).save_pretrained(folder)
    shape = GPT2Config(vocab_size=257, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(shape)
    with torch.no_grad():
        model.transformer.wte.weight.mul_(scale)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_model() -> Any:
    return save_tiny_model
