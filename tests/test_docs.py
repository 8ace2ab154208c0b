"""The documentation tells the truth: routes, verbs and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from trackserver.catalogue.site import Site
from trackserver.cli import main
from trackserver.web import create_app

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trackserver"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_route_is_documented(shared_site: Site) -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    for rule in create_app(shared_site).url_map.iter_rules():
        if rule.rule in ("/", "/favicon.ico", "/static/<path:filename>"):
            continue
        shown = re.sub(r"<(\w+_)?(\w+)>", r"<\2>", rule.rule).removeprefix("/api/v1/")
        assert shown in text, f"docs/api.md lacks {rule.rule}"


def test_every_verb_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for verb in main.commands:
        if verb not in ("list", "check", "models"):
            assert f"trackserver {verb}" in text or f"make {verb}" in text, f"README lacks {verb}"


def test_the_readmes_commands_parse() -> None:
    """Each `trackserver VERB ...` line uses a verb and options that exist."""
    for page in PAGES:
        for line in re.findall(r"^ {4}trackserver (\S.*)$", page.read_text(), re.MULTILINE):
            verb, *rest = line.split("#")[0].split()
            command = main.commands[verb]
            if isinstance(command, click.Group) and rest and rest[0] in command.commands:
                command = command.commands[rest[0]]
            known = {flag for option in command.params for flag in option.opts}
            for word in rest:
                if word.startswith("-"):
                    assert word in known, f"{page.name}: {verb} has no {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_architecture_names_what_exists() -> None:
    """Each file and folder of docs/architecture.md exists, and each room of the package is on the page."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in re.findall(r"`([\w.-]*/[\w./-]*|\w+\.py)`", text):
        assert (PACKAGE / path).exists() or (ROOT / path).exists(), f"docs/architecture.md names {path}"
    for room in PACKAGE.iterdir():
        name = f"{room.name}/" if room.is_dir() else room.name
        if not name.startswith("_") and name.endswith(("/", ".py")):
            assert f"| `{name}` |" in text, f"docs/architecture.md lacks {name}"
