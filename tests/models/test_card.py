from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from trackserver.errors import DataError, UnknownTrack
from trackserver.models.card import ModelCard, Track, read_card, select, write_card

TRACKS = (
    Track(0, "DNASE K562", assay="DNASE", biosample="K562"),
    Track(1, "DNASE HepG2", assay="DNASE", biosample="HepG2"),
    Track(2, "CTCF K562", assay="CHIP", biosample="K562", target="CTCF"),
    Track(3, "ctcf B cell", assay="CHIP", biosample="B cell, CD20+,", target="CTCF"),
    Track(4, "CAGE", assay="CAGE", strand="+", strand_pair=5),
    Track(5, "CAGE", assay="CAGE", strand="-", strand_pair=4),
)
CARD = ModelCard("m", "compact", "M", ("hg38",), 1024, 128, 128, TRACKS, {"hidden": 4}, "00", metrics={"test": {}})


def test_a_card_reads_back_as_written(tmp_path: Path) -> None:
    write_card(CARD, tmp_path / "card.json")
    assert read_card(tmp_path / "card.json") == CARD
    assert list(tmp_path.iterdir()) == [tmp_path / "card.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windw": 3}, "windw"),
        ({"window": "1024"}, "window"),
        ({"window": 1000}, "not a whole number of 128-bp bins"),
        ({"crop": 512}, "leaves nothing"),
        ({"assemblies": []}, "assembly it was trained on"),
        ({"shortest": 2048}, "its shortest window cannot be"),
        ({"shortest": 300}, "its shortest window cannot be"),
        ({"placement": "left"}, "placement"),
        ({"tracks": []}, "tracks"),
        ({"tracks": [{"index": 0, "name": "a", "mean": float("nan")}]}, r"tracks\.0\.mean"),
        ({"tracks": [{"index": 1, "name": "a"}]}, "numbered"),
        ({"tracks": [{"index": 0, "name": "a", "strand_pair": 7}]}, "strand pair"),
    ],
)
def test_a_wrong_card_is_refused_with_what_is_wrong(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**asdict(CARD), **change}))
    with pytest.raises(DataError, match=message):
        read_card(path)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_what_is_no_card_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(DataError, match="not a model card"):
        read_card(path)
    with pytest.raises(DataError, match="no model card"):
        read_card(tmp_path / "none.json")


def test_a_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_card(replace(CARD, metrics={"r": float("nan")}), tmp_path / "card.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("selection", "indices"),
    [
        (None, (0, 1, 2, 3, 4, 5)),
        ("0", (0,)),
        ("4, 0-2,1", (4, 0, 1, 2)),
        ("assay=DNASE", (0, 1)),
        ("ASSAY=dnase,biosample=k562", (0,)),
        ("assay=DNASE,assay=CAGE", (0, 1, 4, 5)),
        ("biosample=B cell, CD20+,", (3,)),
        ("biosample=b cell*,assay=CHIP", (3,)),
        ("strand=-", (5,)),
        ("CTCF*", (2, 3)),
        ("CAGE", (4, 5)),
        ("cage,CTCF K562", (2, 4, 5)),
    ],
)
def test_a_selection_means_these_tracks(selection: str | None, indices: tuple[int, ...]) -> None:
    assert select(CARD, selection) == indices


@pytest.mark.parametrize("selection", ["6", "0-6", "3-1", "", "GATA*", "assay=ATAC", "assay=DNASE,target=CTCF", "-1"])
def test_a_selection_that_means_nothing_is_an_error(selection: str) -> None:
    with pytest.raises(UnknownTrack, match="has no track"):
        select(CARD, selection)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("biosample=K563", "Closest matches: biosample K562."),
        ("biosample=b-cell", "Closest matches: biosample B cell, CD20+."),
        ("assay=DNAse1,biosample=hep g2", "assay DNASE"),
        ("CTFC K562", "Closest matches: name CTCF K562"),
    ],
)
def test_what_nothing_is_called_names_the_nearest(selection: str, message: str) -> None:
    with pytest.raises(UnknownTrack) as caught:
        select(CARD, selection)
    assert message in str(caught.value)


@pytest.mark.parametrize("selection", ["6", "GATA*", "assay=DNASE,target=CTCF", "biosample=xyz"])
def test_where_nothing_is_near_none_is_named(selection: str) -> None:
    with pytest.raises(UnknownTrack) as caught:
        select(CARD, selection)
    assert "Nearest" not in str(caught.value)


def test_cards_and_the_registry_need_no_torch() -> None:
    code = "import sys; import trackserver.models.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
