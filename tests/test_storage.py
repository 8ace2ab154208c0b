"""Folders that are replaced: the new one or the old one, never neither."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trackserver.storage import whole_file, whole_folder


def write_folder(path: Path, text: str, *, replace: bool = False) -> None:
    with whole_folder(path, replace=replace) as part:
        (part / "file").write_text(text)
        (part / "file").chmod(0o444)


def test_a_folder_is_replaced_only_on_request(tmp_path: Path) -> None:
    for text, replace, expected in (("one", False, "one"), ("two", False, "one"), ("three", True, "three")):
        write_folder(tmp_path / "folder", text, replace=replace)
        assert (tmp_path / "folder" / "file").read_text() == expected
        assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "folder", "old")
    really = os.replace

    def fail_for_the_new_one(source: Path, target: Path) -> None:
        if (Path(source) / "file").read_text() == "new":
            raise OSError("no room")
        really(source, target)

    monkeypatch.setattr(os, "replace", fail_for_the_new_one)
    with pytest.raises(OSError, match="no room"):
        write_folder(tmp_path / "folder", "new", replace=True)
    assert (tmp_path / "folder" / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ValueError, match="stop"), whole_file(tmp_path / "file") as part:
        part.write_text("half")
        raise ValueError("stop")
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
