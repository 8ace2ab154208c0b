"""Rooms import each other in one direction only, and heavy libraries are imported only where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "trackserver"
# From the lowest layer up: a room imports the rooms before it, and itself.
ORDER = [
    "errors",
    "progress",
    "processes",
    "validation",
    "compiled",
    "config",
    "storage",
    "genome",
    "sources",
    "bbi",
    "tiles",
    "models",
    "predict",
    "cone",
    "catalogue",
    "variants",
    "sweep",
    "effects",
    "batches",
    "agreement",
    "training",
    "encode",
    "hubs",
    "jobs",
    "demo",
    "notebook",
    "web",
    "cli",
]
# Rooms that a room must never import, whatever the order is.
NEVER = {
    "genome": {"catalogue", "tiles"},
    "sources": {"catalogue", "tiles"},
    "bbi": {"catalogue", "tiles", "models"},
    "models": {"predict"},
    "predict": {"cone"},
    "cone": {"tiles"},
    "variants": {"catalogue"},
    "catalogue": {"effects", "batches", "hubs", "encode", "agreement", "sweep", "training"},
    "hubs": {"encode", "sweep"},
    "encode": {"hubs", "sweep"},
    "sweep": {"hubs", "encode"},
    "effects": {"batches", "agreement"},
} | {room: {"jobs"} for room in ("batches", "agreement", "training", "demo", "notebook")}
# Libraries that only these rooms import.
ONLY_IN: dict[str, set[str]] = {
    "flask": {"web"},
    "click": {"cli"},
    "torch": {"models", "predict", "cone", "training"},
    "rich": {"cli"},
    "gunicorn": {"web"},
    "higlass": {"notebook"},
    "pyBigWig": set(),  # only tests use it, to check our own reader and writer
    "pybigtools": set(),
}
ROOTS = ("__init__", "__main__")
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module that a file imports, including imports inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "trackserver":
                yield from (f"trackserver.{alias.name}" for alias in node.names)
            else:
                yield node.module


def faults(here: str, imported: Iterable[str]) -> Iterator[str]:
    """Yield the forbidden imports of a room."""
    for name in imported:
        top, _, rest = name.partition(".")
        if top == "trackserver" and rest and rest != "__version__":
            other = rest.split(".")[0]
            if ORDER.index(other) > ORDER.index(here):
                yield f"{here} lies below {other}, and imports {name}"
            if other in NEVER.get(here, ()):
                yield f"{here} never imports {other}, but imports {name}"
        if top in ONLY_IN and here not in ONLY_IN[top]:
            yield f"{here} imports {top}, which only {ONLY_IN[top] or 'tests'} may"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_downwards_only(path: Path) -> None:
    if room(path) not in ROOTS:
        assert not list(faults(room(path), imports(ast.parse(path.read_text()))))


@pytest.mark.parametrize(
    ("here", "planted"),
    [
        ("genome", "from trackserver.catalogue.site import Site"),
        ("variants", "def late():\n    from trackserver.catalogue import site"),
        ("cone", "import trackserver.tiles.grid"),
        ("hubs", "from trackserver.encode.portal import Portal"),
        ("web", "def late():\n    import torch"),
        ("effects", "if TYPE_CHECKING:\n    from trackserver.batches.rows import Ledger"),
        ("batches", "from trackserver import jobs"),
    ],
)
def test_a_forbidden_import_is_detected(here: str, planted: str) -> None:
    assert list(faults(here, imports(ast.parse(planted))))


def test_the_rooms_are_those_of_the_order() -> None:
    assert {room(path) for path in MODULES} - set(ROOTS) == set(ORDER)


def test_there_is_no_import_circle() -> None:
    """Imports in functions and under `TYPE_CHECKING` do not count."""
    edges = {
        dotted(path): {name for name in top_level_imports(path) if name.startswith("trackserver.")} for path in MODULES
    }
    visited: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in visited:
            for other in edges.get(module, ()):
                visit(other, (*path, module))
            visited.add(module)

    for module in edges:
        visit(module, ())


def dotted(path: Path) -> str:
    return ".".join(("trackserver", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def top_level_imports(path: Path) -> Iterator[str]:
    """Yield the modules that are imported as soon as a module is imported."""
    tops = [node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.If)]
    for node in (part for top in tops for part in statements(top)):
        if isinstance(node, ast.ImportFrom) and node.module:
            files = [f"{node.module}.{alias.name}" for alias in node.names]
            known = {dotted(module) for module in MODULES}
            yield from (name if name in known else node.module for name in files)


def statements(node: ast.stmt) -> Iterator[ast.stmt]:
    yield node
    if isinstance(node, ast.With | ast.Try):
        for part in node.body:
            yield from statements(part)


def test_no_module_or_folder_is_crowded() -> None:
    assert {str(path): n for path in MODULES if (n := len(path.read_text().splitlines())) > 400} == {}
    folders = {folder.name: len(list(folder.glob("[!_]*.py"))) for folder in PACKAGE.iterdir() if folder.is_dir()}
    assert {name: n for name, n in folders.items() if n > 25} == {}


def test_functions_are_short_and_take_few_arguments() -> None:
    """Command-line functions may take more arguments, because each option is one."""
    lengths = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths.append(length := lines_of(node))
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                assert length <= 40, f"{path}: {node.name} has {length} lines"
                assert len(arguments) <= 9 or room(path) == "cli", f"{path}: {node.name} takes {len(arguments)}"
    assert sorted(lengths)[len(lengths) // 2] <= 6


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]


WITHOUT = """
import sys
from importlib.machinery import PathFinder
plain = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in {"torch", "safetensors"} else plain(name, path, target)
PathFinder.find_spec = find_spec
"""


def test_the_server_starts_and_serves_bigwigs_without_torch(shared_site) -> None:  # type: ignore[no-untyped-def]
    script = (
        WITHOUT
        + f"""
from pathlib import Path
from trackserver.catalogue.site import Site
from trackserver.genome.locus import Locus
from trackserver.web import create_app
site = Site(Path({str(shared_site.path)!r}))
client = create_app(site).test_client()
tile = client.get("/api/v1/tiles/?d=signal.0.0").json["signal.0.0"]
assert tile["dense"], tile
assert client.get("/api/v1/models/").json["models"][0]["id"] == "random"
assert not client.get("/api/v1/models/").json["models"][0]["can_predict"]
ref = "ACGT"[site.reference("tiny").genome.codes(Locus("chrA", 19_999, 20_000))[0]]
alt = "C" if ref == "A" else "A"
response = client.post("/api/v1/effects/", json={{"model": "random", "variants": [f"chrA:20000:{{ref}}:{{alt}}"]}})
assert (response.status_code, response.json["code"]) == (501, "needs_torch"), response.json
assert "pip install" in response.json["error"]
assert "torch" not in sys.modules
"""
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
