from __future__ import annotations

from pathlib import Path

import pytest

from trackserver import config
from trackserver.errors import BadSetting

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / config.FILE
    path.write_text('title = "Ours"\nport = 9000\n[assemblies.hg38]\nfasta = "hg38.fa.gz"\n')
    return path


def test_file_then_environment_then_flags(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (config.load(file).title, config.load(file).port, config.load(file).threads) == ("Ours", 9000, 16)
    monkeypatch.setenv("TRACKSERVER_PORT", "9001")
    assert config.load(file).port == 9001
    assert config.load(file, port=9002, host=None).port == 9002
    assert config.load(file).assemblies["hg38"].fasta == Path("hg38.fa.gz")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("prot = 1", "there is no setting 'prot'; known settings: title"),
        ("port = 'many'", "port: "),
        ("port = 0", "port: "),
        ("[assemblies.hg38]\nfata = 'x'", "there is no setting 'assemblies.hg38.fata'"),
        ("title = ", "not valid TOML"),
    ],
)
def test_a_typo_is_an_error(file: Path, text: str, why: str) -> None:
    file.write_text(text)
    with pytest.raises(BadSetting, match=why):
        config.load(file)


def test_a_mistyped_variable_is_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKSERVER_PROT", "1")
    with pytest.raises(BadSetting, match="TRACKSERVER_PROT is not a setting"):
        config.load(file)


def test_every_setting_is_explained_and_documented() -> None:
    documented = (DOCS / "settings.md").read_text()
    for name, field in config.Settings.model_fields.items():
        assert field.description
        assert f"| `{name}` |" in documented, f"docs/settings.md lacks {name}"
