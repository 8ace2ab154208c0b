"""The catalogue as a folder for other genome browsers."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyBigWig
import pytest
from click.testing import CliRunner, Result

from tests.hubs.rules import (
    LEFT_OUT,
    SIZES,
    VIEWCONF,
    check_hub,
    check_jbrowse,
    check_washu,
    make_hub_site,
    read_igv,
)
from trackserver.catalogue.site import Site
from trackserver.cli import main
from trackserver.errors import UnreadableFile
from trackserver.hubs import headers

BASE = "https://lab.example.org/hub"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UnreadableFile("It is far away.")

    monkeypatch.setattr(headers, "open_remote", refuse)


@pytest.fixture(scope="module")
def hub_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_hub_site(tmp_path_factory.mktemp("hubs") / "hub")


def hub(site: Site, out: Path, *words: object) -> Result:
    arguments = ["hub", "-o", out, "--url", f"{BASE}/", "--site", site.path, *words]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def at(folder: Path, url: str) -> Path:
    assert url.startswith(f"{BASE}/")
    return folder / url.removeprefix(f"{BASE}/")


@pytest.mark.parametrize("how", [(), ("--copy",)])
def test_a_folder_that_any_web_server_can_show(hub_site: Site, tmp_path: Path, how: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    done = hub(hub_site, out, *how)
    assert done.exit_code == 0, done.output
    written = check_hub(lambda url: at(out, url).read_text(), f"{BASE}/hub.txt")
    urls = set(written.files())
    assert len(urls) == 6
    assert set(check_washu(json.loads((out / "hg38" / "washu.json").read_text()))) == urls
    assert {track["url"] for track in read_igv((out / "hg38" / "igv.xml").read_text()).tracks} == urls
    config = json.loads((out / "jbrowse.json").read_text())
    assert set(check_jbrowse(config)) == urls | {f"{BASE}/files/mine.bw"}
    sizes = config["assemblies"][1]["sequence"]["adapter"]["chromSizesLocation"]["uri"]
    assert at(out, sizes).read_text() == "chr1\t70000\nchr2\t31000\n"
    for url in urls - {"https://data.example.org/far.bigWig"}:
        file = at(out, url)
        assert file.is_symlink() == (not how)
        with pyBigWig.open(str(file)) as bigwig:
            assert bigwig.chroms() == SIZES
    assert not (out / "own" / "trackDb.txt").exists()
    assert out.stat().st_mode & 0o777 == 0o755
    assert "1 left out: its file is gone." in done.stderr
    assert "'own'" in " ".join(done.stderr.split())


def test_links_as_json(hub_site: Site, tmp_path: Path) -> None:
    output = json.loads(hub(hub_site, tmp_path / "out", "--json").stdout)
    assert output["tracks"] == 7
    assert {left["uid"] for left in output["left_out"]} == LEFT_OUT
    assert output["links"]["own"].keys() == {"jbrowse"}
    ucsc = parse_qs(urlsplit(output["links"]["hg38"]["ucsc"]).query)
    assert ucsc == {"db": ["hg38"], "hubUrl": [f"{BASE}/hub.txt"]}


def test_a_view_and_some_tilesets(hub_site: Site, tmp_path: Path) -> None:
    view = hub_site.catalogue.put_view(VIEWCONF, "")
    assert json.loads(hub(hub_site, tmp_path / "view", "--view", view.id, "--json").stdout)["tracks"] == 2
    assert json.loads(hub(hub_site, tmp_path / "named", "peaks", "mine", "--json").stdout)["tracks"] == 2
    hub(hub_site, tmp_path / "own", "--assembly", "own")
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["files", "jbrowse.json", "own"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("contacts",), "not cooler"),
        (("nosuch",), "No tileset 'nosuch'"),
        (("--view", "nosuch"), "No view 'nosuch'"),
        (("--assembly", "hg99"), "No assembly 'hg99'"),
        (("--url", "lab.example.org/hub"), "such as https://lab.example.org/hub"),
        (("--view", "x", "peaks"), "Give uids or --view"),
    ],
)
def test_what_cannot_be_written(hub_site: Site, tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    done = hub(hub_site, tmp_path / "out", *words)
    assert done.exit_code != 0
    assert sentence in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_whole_or_not_at_all(hub_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    done = hub(hub_site, tmp_path / "there")
    assert "exists already" in done.stderr
    monkeypatch.setattr("shutil.copyfile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    done = hub(hub_site, tmp_path / "full", "--copy")
    assert "No space left on device" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
