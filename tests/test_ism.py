"""`trackserver ism`: the picture, the table, the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from tests.tolerance import assert_close
from trackserver.catalogue.site import Site
from trackserver.cli import main
from trackserver.cli.ism import LINE_WIDTH, draw_letters
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode
from trackserver.variants.mutagenesis import Mutagenesis


def run(site: Site, *words: str) -> Result:
    return CliRunner().invoke(main, ["ism", *words, "--site", str(site.path)])


def test_a_person_sees_a_picture_and_a_table(site: Site) -> None:
    done = run(site, "random", "chrA:20001-20007")
    assert done.exit_code == 0, done.output
    letters = decode(site.reference("tiny").genome.codes(Locus("chrA", 20_000, 20_007)))
    lines = done.stdout.splitlines()
    assert letters in lines and "█" in done.stdout
    rows = [line.split() for line in lines if line.startswith("20,00")]
    assert [row[:2] for row in rows] == [[f"20,00{place}", letter] for place, letter in enumerate(letters, start=1)]
    assert all(row.count("·") == 1 and row["ACGT".index(row[1]) + 3] == "·" for row in rows)
    assert "2 more tracks" in done.stderr and "log2 of ALT over REF" in done.stderr


def test_chosen_tracks_one_after_the_other_and_as_json(site: Site) -> None:
    done = run(site, "random", "chrA:20001-20004", "--tracks", "0,2", "--preview", "--score", "sad")
    assert done.exit_code == 0, done.output
    assert (
        "0 DNase K562: strongest variant chrA:2000" in done.stdout and "2 CAGE K562 -: strongest variant" in done.stdout
    )
    assert "gradient at the reference" in done.stderr
    found = json.loads(run(site, "random", "chrA:20001-20004", "--tracks", "0,2", "--json").stdout)
    assert {track["index"] for track in found["tracks"]} == {0, 2}


def test_a_file_holds_all_tracks(site: Site, tmp_path: Path) -> None:
    place = tmp_path / "map.tsv"
    done = run(site, "random", "chrB:2999-3003", "-o", str(place))
    assert done.exit_code == 0 and done.stdout == ""
    header, *rows = [line.split("\t") for line in place.read_text().splitlines()]
    assert header == ["track", "name", "chrom", "position", "ref", *"ACGT", "importance", "gain", "loss"]
    assert len(rows) == 3 * 5 and all(len(row) == len(header) for row in rows)
    unknown = [row for row in rows if row[4] == "N"]
    assert len(unknown) == 3 * 2 and all(row[5:] == [""] * 7 for row in unknown)
    for row in rows:
        if row[4] != "N":
            assert row[5 + "ACGT".index(row[4])] == "0.0"
            scores = [float(cell) for cell in row[5:9]]
            assert_close(float(row[9]), -sum(scores) / 3, 4, scale=max(map(abs, scores)))


def test_what_is_wrong_is_one_sentence(site: Site) -> None:
    done = run(site, "random", "chrA:1-5000")
    assert done.exit_code == 1 and "at most 2,000 bp" in done.stderr and "Traceback" not in done.stderr


def test_a_picture_has_letters_under_their_bars() -> None:
    """Of importances 1, one half, 0 and minus a third; then one beyond the line's end."""
    importance = np.zeros(LINE_WIDTH + 1, np.float32)
    importance[[0, 1, 3, LINE_WIDTH]] = 1, 0.5, -1 / 3, 1
    values = np.zeros((1, 4, LINE_WIDTH + 1), np.float32)
    values[0, 1] = -3 * importance  # of one alternative
    codes = np.zeros(LINE_WIDTH + 1, np.uint8)
    found = Mutagenesis(Locus("chrA", 9, 10 + LINE_WIDTH), codes, (0,), "sad", values, 0.0)
    lines = list(draw_letters(found))
    assert lines[:6] == ["chrA:10", "█", "█▄", "██", "A" * LINE_WIDTH, "   █"]
    assert lines[6:] == [f"chrA:{10 + LINE_WIDTH}", "█", "█", "█", "A", ""]


def test_nothing_but_zeros_is_a_flat_picture() -> None:
    found = Mutagenesis(Locus("chrA", 0, 3), np.zeros(3, np.uint8), (0,), "sad", np.zeros((1, 4, 3), np.float32), 0.0)
    assert list(draw_letters(found)) == ["chrA:1", "AAA", ""]
