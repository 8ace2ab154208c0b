"""The verb that makes a table of rsIDs."""

from __future__ import annotations

from pathlib import Path

import click

from trackserver.cli.common import open_site, site_option, stderr, transferring
from trackserver.errors import SiteReadOnly
from trackserver.genome.rsids import index_rsids


@click.command()
@click.argument("vcf", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--assembly", help="By default the site's own.")
@site_option
def rsids(vcf: Path, assembly: str | None, directory: Path | None) -> None:
    """Make the site's table of rsIDs from VCF, plain or bgzip, such as dbSNP's, so that variants can be named.

    Example: trackserver rsids GCF_000001405.40.gz --assembly hg38
    """
    site = open_site(directory)
    name = assembly or site.default_assembly
    lies_on, table = site.assembly(name), site.reference(name).rsid_table
    site.check_writable()
    try:
        table.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise SiteReadOnly(f"The table cannot be made in {table.parent}: {error.strerror}.") from error
    with transferring("Reading the VCF") as report:
        count = index_rsids(vcf, table, lies_on, report)
    stderr.print(f"{count:,} rsIDs of {name} can be asked for by name.")
