"""The rooms depend on each other in one direction, and the heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "trackserver"
# A room may import from the rooms before it, and from itself.
ORDER = [
    "errors",
    "hdf5",
    "processes",
    "config",
    "genome",
    "tiles",
    "models",
    "predict",
    "variants",
    "jobs",
    "catalogue",
    "demo",
    "notebook",
    "web",
    "cli",
]
ONLY_IN: dict[str, set[str]] = {
    "flask": {"web"},
    "click": {"cli"},
    "torch": {"models", "predict"},
    "rich": {"cli"},
    "gunicorn": {"web"},
    "higlass": {"notebook"},
    "pyBigWig": set(),  # what ours is checked against
    "pybigtools": set(),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "trackserver":
                yield from (f"trackserver.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_downwards_only(path: Path) -> None:
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "trackserver" and rest and rest != "__version__":
            other = rest.split(".")[0]
            assert ORDER.index(other) <= ORDER.index(here), f"{here} imports {other}"
        if top in ONLY_IN:
            assert here in ONLY_IN[top], f"{here} imports {top}"


def test_the_rooms_are_those_of_the_order() -> None:
    assert {room(path) for path in MODULES} - {"__init__", "__main__"} == set(ORDER)


def test_no_module_is_crowded() -> None:
    assert {str(path): n for path in MODULES if (n := len(path.read_text().splitlines())) > 420} == {}


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
reads = "ACGT"[site.genome("tiny").codes(Locus("chrA", 19_999, 20_000))[0]]
alt = "C" if reads == "A" else "A"
asked = client.post("/api/v1/effects/", json={{"model": "random", "variants": [f"chrA:20000:{{reads}}:{{alt}}"]}})
assert (asked.status_code, asked.json["code"]) == (501, "needs_torch"), asked.json
assert "pip install" in asked.json["error"]
assert "torch" not in sys.modules
"""
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
