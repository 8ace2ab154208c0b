from __future__ import annotations

import json
import socket
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.conftest import write_signal
from trackserver.catalogue.site import Site
from trackserver.cli import main
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    result: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        result.append((*path, name))
        if isinstance(command, click.Group):
            result += commands(command, (*path, name))
    return result


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_every_verb_explains_itself(path: tuple[str, ...]) -> None:
    for flag in ("-h", "--help"):
        shown = run(*path, flag)
        assert shown.exit_code == 0
        assert "Usage:" in shown.output
    verb: click.Command = main
    for name in path:
        verb = verb.commands[name]  # type: ignore[attr-defined]
    assert verb.help
    for option in verb.params:
        if isinstance(option, click.Option) and option.name not in (
            "assembly",
            "kind",
            "seed",
            "device",
            "loss",
            "strand",
        ):
            assert option.help, f"{path} --{option.name}"


def test_the_whole_path_from_the_command_line(tmp_path: Path, files: Path) -> None:
    """init, add, list, train, models, predict, variant, check: each on what the one before made."""
    site = tmp_path / "mysite"
    made = run("init", site, "--assembly", "tiny", "--fasta", files / "genome.fa", "--genes", files / "refGene.txt",
               "--chromsizes", files / "chrom.sizes")  # fmt: skip
    assert made.exit_code == 0, made.output
    added = run("add", files / "signal.bw", "--site", site, "--assay", "DNASE", "--biosample", "K562", "--json")
    assert added.exit_code == 0, added.output
    assert json.loads(added.stdout)[0]["biosample"] == "K562"
    assert "signal" in run("list", "--site", site).stdout

    (tmp_path / "folds.bed").write_text(
        "chrA\t4800\t40000\ttrain\nchrA\t40000\t70000\tvalid\nchrB\t4800\t31000\ttest\n"
    )
    (tmp_path / "recipe.toml").write_text(
        "window = 8192\ncrop = 4096\nsteps = 3\nevaluate_every = 3\nbatch_size = 2\n"
        "[network]\nstem_channels = 4\ntower_channels = [4, 4]\ntower_pools = [4, 2]\ndilations = [1]\n"
        "residual_channels = 2\nhidden = 4\n"
    )
    trained = run("train", "compact", "--folds", tmp_path / "folds.bed", "-o", "first", "--recipe",
                  tmp_path / "recipe.toml", "--site", site, "--device", "cpu")  # fmt: skip
    assert trained.exit_code == 0, trained.output
    card = json.loads(run("models", "show", "first", "--site", site, "--json").stdout)
    assert len(card["metrics"]["test"]["pearson"]) == 1
    listed = json.loads(run("models", "--site", site, "--json").stdout)
    assert [model["id"] for model in listed if model["installed"]] == ["first"]

    predicted = run("predict", "first", "--site", site, "--json")
    assert predicted.exit_code == 0, predicted.output
    assert [record["uid"] for record in json.loads(predicted.stdout)] == ["first-t0"]
    assert run("predict", "first", "--site", site, "--resume").exit_code == 0

    ref = decode(Site(site).reference("tiny").genome.codes(Locus("chrA", 20_010, 20_011)))
    variant = f"chrA:20011:{ref}:{'A' if ref != 'A' else 'C'}"
    effect = json.loads(run("variant", "first", variant, "--site", site, "--json").stdout)
    assert effect["tracks"][0]["name"] == "signal"
    assert "log2FC" in run("variant", "first", variant, "--site", site).stdout
    checked = run("check", "--site", site)
    assert checked.exit_code == 0, checked.output


def test_errors_are_a_sentence_and_exit_1(site: Site, tmp_path: Path) -> None:
    for arguments, sentence in [
        (("list", "--site", tmp_path / "none"), "is not a site"),
        (("variant", "random", "chrA:99999999:A:C", "--site", site.path), "ends at 70,000"),
        (("variant", "nothing", "chrA:5:A:C", "--site", site.path), "installed: random"),
        (("predict", "random", "--tracks", "9", "--site", site.path), "numbered 0 to 2"),
        (("models", "show", "../x", "--site", site.path), "There is no published model '../x'"),
        (("init", site.path, "--assembly", "hg38"), "is already a site"),
    ]:
        failed = run(*arguments)
        assert failed.exit_code == 1, failed.output
        assert failed.output.startswith("Error: ")
        assert sentence in failed.output
        assert "Traceback" not in failed.output


def test_what_does_not_fit_is_named_and_the_rest_is_added(site: Site, tmp_path: Path) -> None:
    write_signal(tmp_path / "good.bw")
    (tmp_path / "bad.bw").write_text("no bigWig")
    failed = run("add", tmp_path / "good.bw", tmp_path / "bad.bw", "--site", site.path)
    assert failed.exit_code == 1
    assert "1 of 2 were not added" in failed.output
    assert {record.uid for record in site.catalogue.tilesets()} == {"signal", "good"}


def test_a_port_in_use_is_said_at_once(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed = run("serve", "--port", taken.getsockname()[1], "--site", site.path)
    assert failed.exit_code == 1
    assert "is in use; stop the program that uses it or choose another with --port" in failed.output


def test_a_host_that_is_none(site: Site) -> None:
    failed = run("serve", "--host", "no.such.host.invalid", "--site", site.path)
    assert failed.exit_code == 1
    assert "is not an address" in failed.output
