"""Verb that makes a table of rsIDs: rsids."""

from __future__ import annotations

from pathlib import Path

import click

from trackserver.cli.common import open_site, show_transfer, site_option, stderr
from trackserver.errors import SiteReadOnly
from trackserver.genome.rsids import index_rsids


@click.command()
@click.argument("vcf", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--assembly", help="Default: the site's own.")
@site_option
def rsids(vcf: Path, assembly: str | None, directory: Path | None) -> None:
    """Make the site's table of rsIDs from VCF (plain or bgzip, such as dbSNP's), so that you can type rsIDs.

    Example: trackserver rsids GCF_000001405.40.gz --assembly hg38
    """
    site = open_site(directory)
    name = assembly or site.default_assembly
    genome_assembly, table = site.assembly(name), site.reference(name).rsid_table
    site.check_writable()
    try:
        table.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise SiteReadOnly(f"Cannot make the table in {table.parent}: {error.strerror}.") from error
    with show_transfer("Reading the VCF") as report:
        count = index_rsids(vcf, table, genome_assembly, report)
    stderr.print(f"Stored {count:,} rsIDs of {name}.")
