from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from trackserver.errors import DataError, NotFound
from trackserver.models.card import Track, geometry_problem
from trackserver.models.labels import read_labels
from trackserver.models.registry import architecture
from trackserver.models.zoo import PublishedModel, published_models, read_own_card, read_published_model

OWN = """\
architecture = "torchscript"
title = "Accessibility of liver"
assemblies = ["hg38"]
window = 2048
crop = 512
bin_width = 64

[[tracks]]
name = "DNASE:liver"
assay = "DNASE"

[[tracks]]
name = "ATAC:liver"
"""


def test_every_card_is_one_of_the_published_models() -> None:
    names = {path.name.removesuffix(".toml") for path in (files("trackserver.models") / "cards").iterdir()}
    assert names == set(published_models())
    assert all(about.id == model_id for model_id, about in published_models().items())


def test_older_models_come_first_and_species_together() -> None:
    ids = list(published_models())
    assert ids[0] == "deepsea" and ids[-2:] == ["borzoi", "borzoi-mouse"]
    assert all(ids.index(model_id) == ids.index(model_id[:-6]) + 1 for model_id in ids if model_id.endswith("-mouse"))


@pytest.mark.parametrize("about", published_models().values(), ids=list(published_models()))
def test_a_card_is_whole_and_possible(about: PublishedModel) -> None:
    assert architecture(about.architecture)
    assert not geometry_problem(about.window, about.crop, about.bin_width)
    assert about.shortest is None or not geometry_problem(about.shortest, about.crop, about.bin_width)
    assert about.n_tracks > 0 and about.placement == "centre"
    assert about.n_value in (0.0, 0.25) and sorted(about.alphabet) == sorted("ACGT")
    assert about.summary.endswith(".") and about.title and about.licence and "https://doi.org/10." in about.citation
    assert set(about.assemblies) <= {"hg38", "hg19", "mm10"}
    assert (about.assemblies[0] == "mm10") == about.id.endswith("-mouse")
    assert all("\n" not in text and "  " not in text for text in (about.summary, about.citation, about.licence))


@pytest.mark.parametrize("about", published_models().values(), ids=list(published_models()))
def test_what_is_fetched_has_a_safe_address(about: PublishedModel) -> None:
    assert not (about.restricted and about.files)
    for file in (*about.files, *about.label_files):
        assert file.url.startswith("https://") and file.name in file.url and "/" not in file.name
        assert file.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum)
    assert about.page.startswith("https://") and about.code.startswith("https://")
    assert bool(about.labels) == bool(about.label_files)


def test_what_may_not_be_passed_on_is_flagged() -> None:
    restricted = {model_id for model_id, model in published_models().items() if model.restricted}
    assert restricted == {"beluga", "sei", "sei-classes"}


def test_one_value_or_many() -> None:
    one = {model_id for model_id, about in published_models().items() if about.one_value}
    assert one == {"deepsea", "beluga", "basset", "sei", "sei-classes"}
    kept = {model_id: about.window - 2 * about.crop for model_id, about in published_models().items()}
    assert kept["basenji"] == 960 * 128 and kept["basenji2"] == kept["enformer"] == 896 * 128
    assert kept["borzoi"] == 6144 * 32 and kept["chrombpnet"] == 1000


@pytest.mark.parametrize(
    ("model_id", "table"),
    [
        ("deepsea", "deepsea_predictor.names"),
        ("beluga", "beluga_predictor_names.txt"),
        ("basset", "basset_target_labels.txt"),
        ("basenji2", "basenji2_targets_human.txt"),
        ("basenji2-mouse", "basenji2_targets_mouse.txt"),
        ("enformer", "basenji2_targets_human.txt"),
        ("enformer-mouse", "basenji2_targets_mouse.txt"),
        ("sei", "sei_target.names"),
        ("sei-classes", "sei_seqclass.names"),
        ("borzoi", "borzoi_targets_human.txt"),
    ],
)
def test_the_published_table_fits_the_card(labels: Path, model_id: str, table: str) -> None:
    about = read_published_model(model_id)
    assert len(read_labels(labels / table, about.labels, about.n_tracks)) == about.n_tracks


def test_no_such_model_is_a_sentence() -> None:
    with pytest.raises(NotFound, match=r"There is no published model 'basenji3'; there are deepsea, .*borzoi-mouse"):
        read_published_model("basenji3")


def test_a_card_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "liver.toml").write_text(OWN)
    about = read_own_card(tmp_path / "liver.toml", "liver")
    assert (about.id, about.architecture, about.n_tracks) == ("liver", "torchscript", 2)
    assert about.tracks == (Track(0, "DNASE:liver", "DNASE"), Track(1, "ATAC:liver"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("window", "windw"), "window: field required"),
        ("probabilty = true\n" + OWN, "probabilty: unexpected"),
        (OWN.replace("2048", '"2048"'), "window: input should be a valid integer"),
        (OWN.replace("512", "nan"), "crop: input should be"),
        (OWN.replace("name =", "nmae ="), r"tracks\.0\."),
        (OWN.replace("64", "64 bp"), "not valid TOML"),
        ("tracks = 3\n" + OWN.partition("[[")[0], "is not a model's card"),
        ("", "is not a model's card"),
    ],
)
def test_a_wrong_card_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "liver.toml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_own_card(tmp_path / "liver.toml", "liver")
    with pytest.raises(DataError, match=r"liver\.json cannot be read"):
        read_own_card(tmp_path / "liver.json", "liver")


def test_the_zoo_its_labels_and_downloads_need_no_torch() -> None:
    modules = "trackserver.models.zoo, trackserver.models.labels, trackserver.sources.download"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
