"""Match the chromosome names of files to those of an assembly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trackserver.errors import ChromosomesDoNotFit, UnknownChromosome, listing
from trackserver.genome.assembly import Assembly


class Chromosomes(dict[bytes, tuple[str, int]]):
    """The assembly's name and size for each chromosome name in a file; size 0 if the assembly lacks the chromosome.

    Each name is looked up once.
    """

    def __init__(self, assembly: Assembly):
        super().__init__()
        self.assembly = assembly

    def __missing__(self, own: bytes) -> tuple[str, int]:
        name = own.decode("utf-8", "replace")
        try:
            chrom = self.assembly.resolve(name)
            self[own] = chrom, self.assembly.chromsizes[chrom]
        except UnknownChromosome:
            self[own] = name, 0
        return self[own]

    def check(self, file: str) -> None:
        """Raise `ChromosomesDoNotFit` if the assembly has none of the chromosomes looked up so far."""
        if not any(size for _, size in self.values()):
            raise ChromosomesDoNotFit(
                f"{file} has no data on any chromosome of {self.assembly.name}: the file has "
                f"{listing(name for name, _ in self.values())}; {self.assembly.name} has "
                f"{listing(self.assembly.chroms)}. Was it made with another assembly?"
            )


def own_names(chroms: Iterable[str], assembly: Assembly) -> dict[str, str]:
    """Map the assembly's chromosome names to the file's (`chr1` to `1`); other chromosomes of the file are left out."""
    names: dict[str, str] = {}
    for own in chroms:
        try:
            names.setdefault(assembly.resolve(own), own)
        except UnknownChromosome:
            continue
    return names


def check_sizes(name: str, sizes: Mapping[str, int], assembly: Assembly) -> None:
    """Raise `ChromosomesDoNotFit` unless a file and the assembly share chromosomes, and these have the same sizes."""
    names = own_names(sizes, assembly)
    if not names:
        raise ChromosomesDoNotFit(
            f"{name} has no chromosome of {assembly.name}: the file has {listing(sizes)}; "
            f"{assembly.name} has {listing(assembly.chroms)}. Was it made with another assembly?"
        )
    for chrom, own in names.items():
        if sizes[own] != assembly.chromsizes[chrom]:
            raise ChromosomesDoNotFit(
                f"{name} was not made with {assembly.name}: its {own} is {sizes[own]:,} bp long, "
                f"but in {assembly.name} it is {assembly.chromsizes[chrom]:,} bp long."
            )
