"""Finds a model's files and computes digests of those that decide its scores; loads no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import xxhash

from siftlm import filesystem
from siftlm.errors import UserError, reason_of
from siftlm.remote.hub import known_reason

SAFE_WEIGHTS = ("*.safetensors",)
PICKLED_WEIGHTS = ("pytorch_model*.bin", "*.pt", "*.pth")
TOKENIZER_FILES = (
    "tokenizer*", "vocab*", "merges.txt", "added_tokens.json", "special_tokens_map.json", "*.model", "*.tiktoken",
    "*.py",
)  # fmt: skip
SHARED_FILES = ("config.json", "*.safetensors.index.json", *TOKENIZER_FILES)


@dataclass(frozen=True)
class ModelFiles:
    """Holds a model on this machine: its folder, its GGUF file if any, and its origin."""

    folder: Path
    gguf_file: str | None
    pickled: bool
    revision: str | None  # the commit, for a model from the hub

    @property
    def name(self) -> str:
        return str(self.folder / (self.gguf_file or ""))

    @property
    def paths(self) -> list[Path]:
        """Returns the files that decide what the model computes, sorted by name."""
        if self.gguf_file:
            return [self.folder / self.gguf_file]
        weights = ("pytorch_model*.bin*",) if self.pickled else SAFE_WEIGHTS
        return sorted(path for path in self.folder.iterdir() if _matches(path, (*SHARED_FILES, *weights)))

    def digest(self) -> str:
        """Returns 32 hex digits over names and contents of `paths`; a process reads unchanged files only once."""
        return digest_of(self.paths)

    def tokenizer_digest(self) -> str:
        """Returns 32 hex digits over the names and contents of the files that decide tokens.

        Where tokenizer_config.json names no class, over all files, config.json included.
        """
        if self.gguf_file:
            return self.digest()
        paths = [path for path in self.paths if _matches(path, TOKENIZER_FILES)]
        return digest_of(paths if _names_class(self.folder / "tokenizer_config.json") else self.paths)


def find_model(place: str, model: str, gguf_file: str | None, revision: str | None, allow_pickle: bool) -> ModelFiles:
    """Returns the files of a model from a local folder, a .gguf file or, last, the hub.

    Raises:
        UserError: at `place` (`score.<name>.model`), when there is no such model, or only pickled weights that
            `allow_pickle` does not admit.
    """
    path = Path(model)
    if path.suffix == ".gguf" and gguf_file is None:
        path, gguf_file = path.parent, path.name
    commit = None
    if not path.is_dir():
        path, commit = _from_hub(place, model, gguf_file, revision, allow_pickle)
    if gguf_file is not None:
        if not (path / gguf_file).is_file():
            raise UserError(f"{place}: must be a GGUF file that exists, got {str(path / gguf_file)!r}")
        return ModelFiles(path, gguf_file, pickled=False, revision=commit)
    if not (path / "config.json").is_file():
        hint = "; name one of its .gguf files" if any(path.glob("*.gguf")) else ""
        raise UserError(f"{place}: must be a folder with a config.json, got {str(path)!r}{hint}")
    return ModelFiles(path, None, _pickled(place, path, allow_pickle), commit)


def _pickled(place: str, folder: Path, allow_pickle: bool) -> bool:
    """Whether the weights are pickled, where that is admitted."""
    if any(_matches(path, SAFE_WEIGHTS) for path in folder.iterdir()):
        return False
    if not any(_matches(path, PICKLED_WEIGHTS) for path in folder.iterdir()):
        raise UserError(f"{place}: must hold weights (*.safetensors), got {str(folder)!r} without any")
    if not allow_pickle:
        raise UserError(
            f"{place}: must hold safetensors weights, got pickled ones in {str(folder)!r}; "
            "a pickle can run any code: allow_pickle = true admits it"
        )
    return True


def _from_hub(
    place: str, model: str, gguf_file: str | None, revision: str | None, allow_pickle: bool
) -> tuple[Path, str]:
    """The snapshot of a hub model, downloaded where it is not cached, and its commit."""
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or model.endswith(".gguf") or not model:
        raise UserError(f"{place}: must be a folder, a .gguf file or a hub id, got {model!r}, which does not exist")
    weights = (*SAFE_WEIGHTS, *(PICKLED_WEIGHTS if allow_pickle else ()))
    patterns = [gguf_file] if gguf_file else [*SHARED_FILES, *weights]
    folder = hub_snapshot(place, model, "a folder, a .gguf file or a hub id", revision, patterns)
    return folder, folder.name


def hub_snapshot(place: str, source: str, wanted: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Returns the folder of a repository's files that match patterns, downloaded where they are not cached.

    Raises:
        UserError: at `place`, where it is not `wanted`, a folder or a hub id say, for it cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        why = known_reason(error) or reason_of(error)
        raise UserError(f"{place}: must be {wanted} that can be fetched, got {source!r}; {why}") from error


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return path.is_file() and any(fnmatch(path.name, pattern) for pattern in patterns)


def _names_class(path: Path) -> bool:
    """Whether this tokenizer_config.json says which tokenizer it is for, so that the model's type does not."""
    try:
        return "tokenizer_class" in json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False


def digest_of(paths: Sequence[Path]) -> str:
    """Returns 32 hex digits over the names and contents of files; a process reads an unchanged file only once."""
    lines = (f"{path.name}\0{_file_digest(str(path), filesystem.signature(str(path)))}\n" for path in paths)
    return xxhash.xxh3_128_hexdigest("".join(lines).encode())


@lru_cache(maxsize=4096)
def _file_digest(path: str, _signature: str) -> str:
    """The digest of a file's content, read again when the file system says anything else of it."""
    return filesystem.hash_bytes(path)
