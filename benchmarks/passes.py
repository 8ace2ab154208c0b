"""Through how many of the project's own functions and files a question goes, and how often it comes back to a file.

    python benchmarks/passes.py [--json]

A cold effect is counted from the request to its stored description, a row of a list from the list to its table, both on
the demo's site. Calls into the network itself (models, the cone) are left out, since each layer is one, and so are
properties, since to read a value's attribute is not to go anywhere.
"""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from trackserver.batches.question import ListRequest, list_question
from trackserver.batches.run import run
from trackserver.catalogue.site import Site
from trackserver.demo.site import MODEL
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question

PACKAGE = Path(sys.modules["trackserver"].__path__[0])
LEFT_OUT = ("models/", "cone/")


class Passes:
    """Calls of the project's functions, and the files they lie in, in order."""

    def __init__(self) -> None:
        self.frames = 0
        self.files: list[str] = []

    def see(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and (file := own_file(frame)) and is_step(frame, file):
            self.frames += 1
            if not self.files or self.files[-1] != file:
                self.files.append(file)

    def summary(self) -> dict[str, int]:
        """Calls, files, and how often a file was entered again after another."""
        counts = Counter(self.files)
        return {"calls": self.frames, "files": len(counts), "returns": sum(counts.values()) - len(counts)}


def own_file(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    name = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else ""
    return "" if name.startswith(LEFT_OUT) else name


def is_step(frame: FrameType, file: str) -> bool:
    """Whether a call is one of a named function that is no property."""
    code = frame.f_code
    return "<" not in code.co_name and code.co_firstlineno not in property_lines(file)


@cache
def property_lines(file: str) -> frozenset[int]:
    """The lines on which a file's properties begin, with their decorators."""
    functions = (
        node for node in ast.walk(ast.parse((PACKAGE / file).read_text())) if isinstance(node, ast.FunctionDef)
    )
    return frozenset(
        function.decorator_list[0].lineno
        for function in functions
        if any("property" in ast.unparse(decorator) for decorator in function.decorator_list)
    )


@contextmanager
def watched() -> Iterator[Passes]:
    passes = Passes()
    sys.setprofile(passes.see)
    try:
        yield passes
    finally:
        sys.setprofile(None)


def cold_effect(site: Site, variant: str) -> dict[str, int]:
    with watched() as passes:
        effects.compute(site, effect_question(site, EffectRequest(MODEL, site.default_assembly, [variant])))
    return passes.summary()


def list_row(site: Site, variants: list[str], folder: Path) -> dict[str, int]:
    (folder / "in.txt").write_text("\n".join(variants) + "\n")
    with watched() as passes:
        run(list_question(site, folder / "in.txt", ListRequest(MODEL)), folder / f"{len(variants)}.tsv")
    return passes.summary()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=Path("demo-site"), help="the demo's site; it is copied")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        site = Site(Path(shutil.copytree(options.site, Path(temporary) / "site")))
        variants = [example["text"] for example in examples(site)]
        effects.warm_up(site)
        found = {"effect": cold_effect(site, variants[0]), "row": list_row(site, variants[1:2], Path(temporary))}
    report(found, print if not options.json else lambda text: None)
    if options.json:
        print(json.dumps(found, indent=2))


def examples(site: Site) -> list[dict[str, Any]]:
    """Two single substitutions of the demo's first chromosome, at known bases."""
    from trackserver.genome.locus import Locus
    from trackserver.genome.sequence import decode

    chrom = site.assembly(site.default_assembly).chroms[0]
    genome = site.reference(site.default_assembly).genome
    places = [Locus(chrom, start, start + 1) for start in (300_000, 420_000)]
    bases = [decode(genome.codes(place)) for place in places]
    return [
        {"text": f"{place.chrom}:{place.end}:{base}:{'A' if base != 'A' else 'C'}"}
        for place, base in zip(places, bases, strict=True)
    ]


def report(found: dict[str, dict[str, int]], say: Callable[[str], object]) -> None:
    for what, counts in found.items():
        say(f"{what:8} {counts['calls']:5} calls in {counts['files']:3} files, {counts['returns']:4} returns to a file")


if __name__ == "__main__":
    main()
