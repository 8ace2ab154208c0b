"""PublishedModel files into a site: what fits is kept whole, what does not is refused in one sentence."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.tolerance import assert_close
from trackserver import models
from trackserver.catalogue.site import Site
from trackserver.cli import main
from trackserver.errors import DataError, InvalidRequest, NotFound, UnknownTrack
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import one_hot
from trackserver.models import beluga, deepsea, registry
from trackserver.models.install import InstallFiles, copy_model, install
from trackserver.models.zoo import PublishedModel, published_models, read_own_card, read_published_model
from trackserver.predict.engine import load_predictor
from trackserver.sweep.prediction import predict_tracks

CODES = np.random.default_rng(0).integers(0, 4, (2, 1000), dtype=np.uint8)


def random_deepsea(path: Path, n_tracks: int = 5) -> Path:
    """A small network of DeepSEA's, in the published file's names and shapes."""
    generator = torch.Generator().manual_seed(n_tracks)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) / np.prod(shape[1:]) ** 0.5

    shapes = {"0": (4, 4, 1, 8), "4": (5, 4, 1, 8), "8": (6, 5, 1, 8), "12.1": (7, 6 * 53), "14.1": (n_tracks, 7)}
    state = {}
    for name, shape in shapes.items():
        state[f"2.{name}.weight"], state[f"2.{name}.bias"] = drawn(*shape), drawn(shape[0], 1)[:, 0]
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture
def deepsea_file(tmp_path: Path) -> Path:
    return random_deepsea(tmp_path / "deepsea_predict.pth")


def test_a_published_file_loads_by_one_call(deepsea_file: Path) -> None:
    module = models.load("deepsea", deepsea_file)
    values = module(torch.from_numpy(one_hot(CODES)))
    assert values.shape == (2, 5, 1)
    assert not module.training and not any(parameter.is_meta for parameter in module.parameters())
    some = models.load("deepsea", deepsea_file, tracks=[3, 0])(torch.from_numpy(one_hot(CODES)))
    assert_close(some, values[:, [3, 0]], module)


def test_what_load_refuses(deepsea_file: Path) -> None:
    with pytest.raises(NotFound, match="deepsea, basset"):
        models.load("deepc", deepsea_file)
    with pytest.raises(UnknownTrack):
        models.load("deepsea", deepsea_file, tracks=[5])
    with pytest.raises(InvalidRequest, match="reads windows of 1,000 bp"):
        models.load("deepsea", deepsea_file, window=1200)
    with pytest.raises(InvalidRequest, match="leaves nothing"):
        models.load("deepsea", deepsea_file, crop=500)
    with pytest.raises(DataError, match=r"permutation|order|ACGT"):
        models.load("deepsea", deepsea_file, alphabet="ACGU")


def test_the_order_of_bases_is_the_files(deepsea_file: Path) -> None:
    """DeepSEA's network takes A G C T: read so, its answer to a swapped sequence is another copy's to the plain."""
    swapped = np.array([0, 2, 1, 3], np.uint8)[CODES]
    published, other = models.load("deepsea", deepsea_file), models.load("deepsea", deepsea_file, alphabet="ACGT")
    with torch.inference_mode():
        as_published = published(torch.from_numpy(one_hot(CODES)))
        assert_close(as_published, other(torch.from_numpy(one_hot(swapped))), published)
        assert (as_published != other(torch.from_numpy(one_hot(CODES)))).any()


def test_another_models_file_is_refused_with_the_first_layer_that_differs(deepsea_file: Path) -> None:
    for other in published_models().values():
        if other.architecture == "deepsea":
            continue
        with pytest.raises(DataError, match=f"{deepsea_file.name} .*(does not fit|is not)") as refusal:
            models.load(other.id, deepsea_file)
        assert len(str(refusal.value).split(". ")) <= 2 and "\n" not in str(refusal.value)


def basenji2_file(path: Path, n_tracks: int) -> Path:
    """The smallest file of Basenji2's: one channel a layer, no configuration."""
    kernels = [15, *[5] * 6, *[3, 1] * 11, 1]
    with h5py.File(path, "w") as file:
        names = []
        shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        for index, kernel in enumerate(kernels):
            shapes[f"conv1d_{index}"] = {"kernel": (kernel, 4 if not index else 1, 1)}
            shapes[f"batch_normalization_{index}"] = dict.fromkeys(
                ("gamma", "beta", "moving_mean", "moving_variance"), (1,)
            )
        shapes["dense_1"] = {"kernel": (1, n_tracks), "bias": (n_tracks,)}
        for layer, weights in shapes.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0" for name in weights]
            for name, shape in weights.items():
                group.create_dataset(f"{layer}/{name}:0", data=np.ones(shape, np.float32))
            names.append(layer)
        file.attrs["layer_names"] = names
    return path


def test_mouse_weights_offered_as_human(tmp_path: Path, site: Site) -> None:
    mouse = basenji2_file(tmp_path / "model_mouse.h5", 1643)
    with pytest.raises(DataError, match=r"has 1,643 tracks: it is Basenji2 \(mouse\).*Install it as basenji2-mouse"):
        models.load("basenji2", mouse)
    with pytest.raises(DataError, match="Install it as basenji2-mouse"):
        install(site.models, read_published_model("basenji2"), InstallFiles(mouse))
    assert registry.installed_models(site.models) == ["random"]
    card = install(site.models, read_published_model("basenji2-mouse"), InstallFiles(mouse))
    assert (len(card.tracks), card.assemblies[0]) == (1643, "mm10")


def test_installed_it_says_what_the_file_says_and_knows_where_it_is_from(deepsea_file: Path, site: Site) -> None:
    labels = deepsea_file.with_name("predictor.names")
    labels.write_text("K562|DNase|None\nK562|CTCF|None\nK562|CTCF|None\nHepG2|H3K27ac|None\nHepG2|MafK|None\n")
    card = install(site.models, read_published_model("deepsea"), InstallFiles(deepsea_file, labels))
    assert registry.card(site.models, "deepsea") == card
    assert [track.target for track in card.tracks] == ["", "CTCF", "CTCF", "H3K27ac", "MafK"]
    assert card.provenance["source"] == "deepsea_predict.pth" and len(card.provenance["source_sha256"]) == 64
    assert (card.strands, card.placement, card.n_value, card.probability) == ("average", "centre", 0.25, True)
    expected = models.load("deepsea", deepsea_file)(torch.from_numpy(one_hot(CODES)))
    assert torch.equal(registry.load(site.models, "deepsea")(torch.from_numpy(one_hot(CODES))), expected)
    assert sorted(path.name for path in (site.models / "deepsea").iterdir()) == ["card.json", "weights.safetensors"]


def test_a_table_of_another_model_is_refused_and_leaves_nothing(deepsea_file: Path, site: Site) -> None:
    labels = deepsea_file.with_name("predictor.names")
    labels.write_text("K562|DNase|None\n" * 4)
    with pytest.raises(DataError, match=r"predictor\.names lists 4 tracks"):
        install(site.models, read_published_model("deepsea"), InstallFiles(deepsea_file, labels))
    labels.write_text("index\tidentifier\n" * 5)
    with pytest.raises(DataError, match=r"predictor\.names"):
        install(site.models, read_published_model("deepsea"), InstallFiles(deepsea_file, labels))
    assert sorted(path.name for path in site.models.iterdir()) == ["random"]


def test_names_and_overwriting(deepsea_file: Path, site: Site) -> None:
    about, source = read_published_model("deepsea"), InstallFiles(deepsea_file)
    install(site.models, about, source, "mine")
    with pytest.raises(InvalidRequest, match="There is a model 'mine' already"):
        install(site.models, about, source, "mine")
    random_deepsea(deepsea_file, 9)
    assert len(install(site.models, about, source, "mine", overwrite=True).tracks) == 9
    with pytest.raises(DataError):
        install(site.models, about, InstallFiles(deepsea_file, alphabet="AAAA"), "mine", overwrite=True)
    assert len(registry.card(site.models, "mine").tracks) == 9  # what failed replaced nothing
    with pytest.raises(InvalidRequest, match="cannot be a model's id"):
        install(site.models, about, source, "../mine")


def test_a_hostile_file_is_refused_at_the_command_line_too(site: Site, tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.write_text, (marker, "it ran")

    torch.save({"2.0.weight": Runs()}, tmp_path / "evil.pth")
    asked = CliRunner().invoke(
        main, ["models", "install", "deepsea", str(tmp_path / "evil.pth"), "--site", str(site.path)]
    )
    assert asked.exit_code == 1 and "is refused: reading it would run" in asked.output
    assert not marker.exists()
    assert pickle.dumps(Runs())  # it is a live one


def test_a_model_of_another_site_moves_in(site: Site, tmp_path: Path) -> None:
    card = copy_model(tmp_path / "models", site.models / "random", "theirs")
    assert card.id == "theirs"
    one = torch.rand(1, 4, 8192)
    assert torch.equal(registry.load(tmp_path / "models", "theirs")(one), registry.load(site.models, "random")(one))
    (site.models / "random" / registry.WEIGHTS).write_bytes(b"")
    with pytest.raises(DataError, match="SHA-256"):
        copy_model(tmp_path / "models", site.models / "random", "broken")
    assert registry.installed_models(tmp_path / "models") == ["theirs"]


CARD = """
architecture = "export"
title = "Mine"
assemblies = ["tiny"]
window = 1024
crop = 256
bin_width = 32

[[tracks]]
name = "DNase K562"
assay = "DNASE"

[[tracks]]
name = "CAGE K562"
"""


class Mine(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv1d(4, 2, 32, stride=32)

    def forward(self, one_hot: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(self.conv(one_hot[..., 256:-256]))


def test_a_program_of_ones_own_predicts_and_answers(site: Site, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Mine().eval()
    batch = {"one_hot": {0: torch.export.Dim("batch", min=1, max=64)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (torch.zeros(2, 4, 1024),), dynamic_shapes=batch)
        torch.export.save(program, tmp_path / "m.pt2")
    (tmp_path / "mine.toml").write_text(CARD)
    run = CliRunner().invoke
    where = ["--site", str(site.path)]
    asked = run(
        main, ["models", "install", "mine", str(tmp_path / "m.pt2"), "--card", str(tmp_path / "mine.toml"), *where]
    )
    assert asked.exit_code == 0, asked.output
    codes = site.reference("tiny").genome.codes(Locus("chrA", 20_000, 21_024))
    with torch.inference_mode():
        expected = module(torch.from_numpy(one_hot(codes))[None]).numpy()
    assert_close(load_predictor(site.models, "mine").predict(codes[None]), expected, module)
    records = predict_tracks(site, "mine", selection="1", regions=[Locus("chrA", 20_256, 20_768)])
    assert records[0].name == "CAGE K562"
    reads = "ACGT"[site.reference("tiny").genome.codes(Locus("chrA", 19_999, 20_000))[0]]
    asked = run(main, ["variant", "mine", f"chrA:20000:{reads}:{'C' if reads == 'A' else 'A'}", "--json", *where])
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.stdout)["provenance"]["model"] == "mine"
    assert run(main, ["check", *where]).exit_code == 0
    (site.models / "mine" / "program.pt2").write_bytes(b"other")
    assert "SHA-256" in run(main, ["check", *where]).output


def test_a_card_with_a_typo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(CARD + "\n")
    assert isinstance(read_own_card(tmp_path / "mine.toml", "mine"), PublishedModel)
    (tmp_path / "mine.toml").write_text(CARD.replace("bin_width", "binwidth"))
    with pytest.raises(DataError, match=r"mine\.toml is not a model's card"):
        read_own_card(tmp_path / "mine.toml", "mine")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A folder on a local HTTP server, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_fetching(site: Site, served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    address, folder = served
    random_deepsea(folder / "deepsea_predict.pth")
    (folder / "names").write_text("K562|DNase|None\n" * 5)
    where = ["--url", f"{address}/deepsea_predict.pth", "--labels-url", f"{address}/names", "--site", str(site.path)]
    asked = ["models", "fetch", "deepsea", *where]
    refused = CliRunner().invoke(main, asked)  # not the file that was published
    assert refused.exit_code == 1 and "89e640bf6bdbe1ff165f484d9796efc7" in refused.output
    assert registry.installed_models(site.models) == ["random"]

    about = read_published_model("deepsea")
    unchecked = replace(about, files=(replace(about.files[0], md5=""),))
    monkeypatch.setattr(sys.modules["trackserver.cli.models"], "read_published_model", lambda _: unchecked)
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    assert registry.card(site.models, "deepsea").tracks[4].biosample == "K562"
    assert not (site.cache / "downloads" / "deepsea").exists()
    taken = CliRunner().invoke(main, asked)
    assert taken.exit_code == 1 and "already" in taken.output


@pytest.mark.parametrize("model_id", ["beluga", "sei", "chrombpnet"])
def test_what_is_not_ours_to_fetch_says_where_it_is(site: Site, model_id: str) -> None:
    asked = CliRunner().invoke(main, ["models", "fetch", model_id, "--site", str(site.path)])
    assert asked.exit_code == 1
    assert read_published_model(model_id).page in asked.output.replace("\n", "")
    assert f"trackserver models install {model_id} FILE" in asked.output


def test_the_list_says_what_is_here_and_how_to_get_the_rest(site: Site, deepsea_file: Path) -> None:
    install(site.models, read_published_model("deepsea"), InstallFiles(deepsea_file))
    asked = CliRunner().invoke(main, ["models", "--site", str(site.path)])
    lines = {line.split()[0]: line.rstrip() for line in asked.stdout.splitlines() if line.strip()}
    assert "on this site" in lines["deepsea"] and "on this site" in lines["random"]
    assert lines["enformer"].endswith("fetch") and "5,313 signals, 128 bp" in lines["enformer"]
    assert lines["beluga"].endswith("by hand; non-commercial")
    assert "trackserver models fetch ID" in asked.stderr
    listed = json.loads(CliRunner().invoke(main, ["models", "--json", "--site", str(site.path)]).stdout)
    assert {entry["id"] for entry in listed if entry["installed"]} == {"random", "deepsea"}
    assert {entry["id"] for entry in listed} == {"random", *published_models()}
    shown = CliRunner().invoke(main, ["models", "show", "enformer", "--site", str(site.path)])
    assert "196,608 bp" in shown.stdout and "trackserver models fetch enformer" in shown.stdout


def test_parts_that_are_only_a_module_apart_are_not_confused(deepsea_file: Path) -> None:
    assert deepsea.ROW_TENSORS == beluga.ROW_TENSORS == ("head.weight", "head.bias")
