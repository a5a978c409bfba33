"""Imports go one way, cli -> job -> steps -> stages -> engine -> components -> base, and kernels know nobody."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE_ROOTS = {"siftlm": ROOT / "pipeline" / "siftlm", "siftlm_kernels": ROOT / "kernels" / "siftlm_kernels"}

# From the top to the bottom. A module imports what stands in a lower row, and of its own row its own room only.
LAYERS: dict[str, frozenset[str]] = {
    "entry": frozenset({"__main__"}),
    "cli": frozenset({"cli", "api"}),
    "reference pages": frozenset({"reference_pages"}),
    "catalogue": frozenset({"methods"}),
    "mixtures by training": frozenset({"mixtures.trained"}),
    "proving": frozenset({"proving"}),
    "commands": frozenset({"plan", "push", "storage", "proxies", "classifiers", "correlation"}),
    "corpus": frozenset({"corpus"}),
    "job": frozenset({"job", "estimate"}),
    "publication": frozenset({"publication"}),
    "loop": frozenset({"loop"}),
    "checks": frozenset({"checks"}),
    "inspect": frozenset({"inspect"}),
    "steps": frozenset({"steps"}),
    "config": frozenset({"config"}),
    "stages": frozenset({"stages"}),
    "report": frozenset({"report"}),
    "engine": frozenset({"engine"}),
    "methods": frozenset({"components"}),
    "mixtures": frozenset({"mixtures"}),
    "correlate": frozenset({"correlate", "scaling", "ngram"}),
    "components": frozenset({"readers", "edits", "scorers", "selectors", "mixing", "proxies.trainer"}),
    "training": frozenset({"proxies.training"}),
    "formulas": frozenset({"derived"}),
    "base": frozenset(
        {
            "console",
            "cutoffs",
            "documents",
            "errors",
            "filesystem",
            "findings",
            "paths",
            "logs",
            "patterns",
            "remote",
            "seals",
            "settings",
            "statistics",
            "stopping",
            "store",
            "tables",
            "validation",
        }
    ),
}
SINGLE = {"base"}
ORDER = list(LAYERS)
KERNELS = re.compile(r"siftlm\.(api|scorers|ngram|engine\.spill|stages\.(dedup|paragraphs|commonness|prior|texts)).*")


class Import(NamedTuple):
    """`file` imports `target` at `line`; both modules are dotted names."""

    file: Path
    line: int
    module: str
    target: str

    def __str__(self) -> str:
        return f"{self.file.as_posix()}:{self.line}: {self.module} imports {self.target}"


def module_name(file: Path, package: str, root: Path) -> str:
    parts = (package, *file.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def targets(node: ast.AST, package: list[str]) -> Iterator[str]:
    """The modules that an import statement may name: `from a import b` counts as a.b.

    `package` is the dotted package of the file, for relative imports.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = package[: len(package) - node.level + 1] if node.level else []
        base = ".".join([*start, *([node.module] if node.module else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(source: str, file: Path, module: str) -> list[Import]:
    """Every import of a source, lazy ones within functions included."""
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    return [
        Import(file, node.lineno, module, target)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target in targets(node, package)
    ]


def all_imports() -> list[Import]:
    return [
        entry
        for package, root in SOURCE_ROOTS.items()
        for file in sorted(root.rglob("*.py"))
        for entry in imports_of(
            file.read_text(encoding="utf-8"), file.relative_to(ROOT), module_name(file, package, root)
        )
    ]


def place(module: str) -> tuple[str, str]:
    """(layer, component) of a module of siftlm; an unknown component is a finding of its own."""
    component = module.split(".")[1]
    exact = ".".join(module.split(".")[1:3])  # a module that stands lower than its room
    component = exact if any(exact in components for components in LAYERS.values()) else component
    for layer, components in LAYERS.items():
        if component in components:
            return layer, component
    return "unknown", component


def broken_rule(entry: Import) -> str | None:
    """The rule that an import breaks, or None."""
    package, target = entry.module.split(".")[0], entry.target.split(".")[0]
    if package == "siftlm_kernels":
        return "kernels know neither Beam nor siftlm" if target in {"apache_beam", "siftlm"} else None
    if entry.module == "siftlm":  # which loads these two when somebody asks for one of their names
        allowed = entry.target.startswith(("siftlm.api", "siftlm.engine.transforms")) or target not in SOURCE_ROOTS
        return None if allowed else "the package itself imports what is public only"
    layer, component = place(entry.module)
    if layer == "unknown":
        return f"{component} has no layer; name it in LAYERS of tests/test_imports.py"
    if target == "apache_beam" and component != "engine" and not entry.module.endswith(".graph"):
        return "Beam is imported in engine and graphs only"
    if target == "siftlm_kernels" and not KERNELS.fullmatch(entry.module):
        return "kernels are imported by scorers and the stages of dedup only"
    if target == "siftlm" and "." in entry.target:
        return broken_order(layer, component, entry.target)
    return None


def broken_order(layer: str, component: str, target: str) -> str | None:
    """The rule of the layers that importing `target` from a component breaks, or None."""
    below, other = place(target)
    if below == "unknown" or (other == component):
        return None
    if ORDER.index(below) > ORDER.index(layer) or (below == layer and layer in SINGLE):
        return None
    return f"imports go {' -> '.join(ORDER)}, and {other} ({below}) is not below {component} ({layer})"


def test_imports_go_one_way() -> None:
    """No module imports what stands above or beside it, lazily or not."""
    findings = [f"{entry}: {rule}" for entry in all_imports() if (rule := broken_rule(entry))]
    assert not findings, "\n" + "\n".join(findings)


def test_every_module_has_a_layer() -> None:
    """A new file at the top of siftlm has to say where it belongs."""
    root = SOURCE_ROOTS["siftlm"]
    names = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names - {"__init__"} <= frozenset().union(*LAYERS.values())


def test_no_import_goes_in_a_circle() -> None:
    """Modules can be sorted so that each imports only those before it, imports that are lazy or for types included."""
    root = SOURCE_ROOTS["siftlm"]
    files = {module_name(file, "siftlm", root): file for file in root.rglob("*.py")}
    graph = {}
    for module, file in files.items():
        named = {entry.target for entry in imports_of(file.read_text(encoding="utf-8"), file, module)}
        graph[module] = {name if name in files else name.rpartition(".")[0] for name in named} & files.keys() - {module}
    graph["siftlm"] = set()  # loads what is public when somebody asks
    TopologicalSorter(graph).prepare()  # which names the circle, if there is one


def test_no_two_classes_share_a_name() -> None:
    """Whoever reads a name knows what it means, in whichever file."""
    places: dict[str, list[str]] = {}
    for file in sorted(file for root in SOURCE_ROOTS.values() for file in root.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(file.relative_to(ROOT).as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@pytest.mark.parametrize(
    ("module", "line", "rule"),
    [
        ("siftlm.stages.score", "from siftlm.config import RunConfig", "imports go"),
        ("siftlm.readers.warc", "from siftlm import job", "imports go"),
        ("siftlm.readers.warc", "import siftlm.scorers.lm", "imports go"),
        ("siftlm.readers.warc", "from ..selectors import band", "imports go"),
        ("siftlm.store", "def f():\n    from siftlm.stages import ingest", "imports go"),
        ("siftlm.selectors.rules.band", "import siftlm_kernels.minhash", "kernels are imported by"),
        ("siftlm.job", "import apache_beam as beam", "Beam is imported in engine"),
        ("siftlm_kernels.minhash", "from siftlm.errors import UserError", "kernels know neither"),
        ("siftlm_kernels.minhash", "from apache_beam.utils import shared", "kernels know neither"),
        ("siftlm.novelty", "import numpy", "novelty has no layer"),
    ],
)
def test_a_wrong_import_is_named_with_its_rule(module: str, line: str, rule: str) -> None:
    """Each rule is broken by the import that it is there for."""
    found = [broken_rule(entry) for entry in imports_of(line, Path("a.py"), module)]
    assert rule in (found[0] or "")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("siftlm.cli.commands", "from siftlm.engine.runner import RunnerSettings"),
        ("siftlm.stages.dedup.work", "from siftlm_kernels.minhash import band_hashes"),
        ("siftlm.scorers.minhash", "from siftlm_kernels import minhash"),
        ("siftlm.readers.warc", "from .records import Record"),
        ("siftlm.store", "from siftlm import filesystem"),
        ("siftlm.stages.dedup.graph", "import apache_beam as beam"),
    ],
)
def test_a_right_import_is_let_through(module: str, line: str) -> None:
    """What the rules are not there for breaks none of them."""
    assert [broken_rule(entry) for entry in imports_of(line, Path("a.py"), module)] == [None]
