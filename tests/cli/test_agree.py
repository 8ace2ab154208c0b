from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.conftest import write_signal
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import PREDICTED, TilesetRecord
from trackserver.catalogue.tilesets import add_tileset
from trackserver.cli import main
from trackserver.models import registry
from trackserver.models.card import write_card


@pytest.fixture
def site(site: Site, tmp_path: Path) -> Site:
    write_signal(tmp_path / "predicted.bw", seed=11)
    (tmp_path / "regions.bed").write_text("chrA\t9600\t30000\nchrB\t9600\t20000\n")
    add_tileset(site, TilesetRecord("predicted", "P", PREDICTED, "tiny", str(tmp_path / "predicted.bw"),
                                    model="random", provenance={"bin_width": 32}))  # fmt: skip
    card = registry.card(site.models, "random")
    folds = {"train": [["chrA", 0, 70_000]], "test": [["chrB", 0, 31_000]]}
    write_card(replace(card, provenance={"folds": folds}), site.models / "random" / registry.CARD)
    return site


def agree(site: Site, *words: object) -> Result:
    arguments = ["agree", "predicted", "signal", "--site", site.path, *words]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_locus(site: Site) -> None:
    done = agree(site, "--locus", "chrA:10,001-40,000")
    assert done.exit_code == 0, done.output
    rows = {line[:20].strip(): line[20:].strip() for line in done.stdout.splitlines()[1:]}
    assert rows["bins"] == "938"
    assert rows["windows"] == "21 of 1,472 bp"
    assert "(" in rows["Spearman rho"]
    assert "Bins of 32 bp. In brackets: 95% bootstrap interval, 200 draws" in " ".join(done.stderr.split())
    assert not (site.path / "agreement").exists()


def test_regions_as_json_in_bins_of_ones_own(site: Site, tmp_path: Path) -> None:
    done = agree(site, "--regions", tmp_path / "regions.bed", "--bin", 100, "--json")
    result = json.loads(done.stdout)
    assert (result["predicted"], result["observed"], result["peaks"]) == ("predicted", "signal", None)
    assert (result["figures"]["n_bins"], result["figures"]["bin_width"]) == (308, 100)


def test_the_genome_is_kept_with_its_folds(site: Site) -> None:
    first, again = agree(site), agree(site, "--json")
    assert first.exit_code == 0, first.output
    assert first.stdout.splitlines()[0].split() == ["all", "train", "test"]
    result = json.loads(again.stdout)
    assert list(result["folds"]) == ["train", "test"]
    assert result["figures"]["n_bins"] == sum(part["n_bins"] for part in result["folds"].values()) + 336
    assert json.loads(agree(site, "--json").stdout) == result  # its date too
    assert len(list((site.path / "agreement").glob("*/*/agreement.json"))) == 1


def test_peaks_of_a_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "called.narrowPeak").write_text("chrA\t10000\t20000\n")
    result = json.loads(
        agree(site, "--peaks", tmp_path / "called.narrowPeak", "--locus", "chrA:1-60000", "--json").stdout
    )
    assert (result["peaks"], result["figures"]["top"]) == ("called.narrowPeak", None)
    assert result["figures"]["prevalence"] == pytest.approx(312 / result["figures"]["n_bins"], abs=0.001)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--locus", "chrA:1-100", "--regions", "x.bed"], "Give --locus or --regions, not both."),
        (["--locus", "chrZ:1-100"], "tiny has no chromosome 'chrZ'"),
        (["--peaks", "nothing"], "No tileset 'nothing' here"),
        (["--bin", "0"], "0 is not in the range"),
    ],
)
def test_what_cannot_be_compared(site: Site, words: list[str], sentence: str) -> None:
    done = agree(site, *words)
    assert done.exit_code != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.output


def test_too_few_bins_are_said(site: Site) -> None:
    done = agree(site, "--locus", "chrA:3,201-4,900")
    assert done.exit_code == 0
    assert "figures need at least 10" in done.stderr
    assert "-" in done.stdout
