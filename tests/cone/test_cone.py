"""The cone against two full predictions, for every architecture of the zoo and for networks it knows nothing of."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tolerance import FLOAT64, MAX_TOLERANCE, assert_close, tolerance
from trackserver.cone.cone import Cone, Cones, ReachedBins, ReferenceView, WindowEdit
from trackserver.errors import InvalidRequest
from trackserver.genome.sequence import Codes, one_hot
from trackserver.models import (
    basenji,
    basenji2,
    basset,
    beluga,
    borzoi,
    chrombpnet,
    compact,
    deepsea,
    enformer,
    sei,
)
from trackserver.models.card import ModelCard, Squash, Track
from trackserver.models.program import read_export
from trackserver.predict.engine import Predictor
from trackserver.predict.ensemble import Ensemble

FORWARD = Ensemble()
SHIFTED = Ensemble(both_strands=True, shifts=(0, 2, -3))


@dataclass(frozen=True)
class Case:
    """A small network with random weights; `local` if what a change reaches is a stretch of the output."""

    name: str
    make: Callable[[], nn.Module]
    window: int
    crop: int
    bin_width: int
    tracks: int = 3
    local: bool = True


def one_value(name: str, make: Callable[[], nn.Module], window: int) -> Case:
    return Case(name, make, window, 0, window, local=False)


CONVS = (8, 12, 16)
CASES = [
    one_value("deepsea", lambda: deepsea.DeepSEA(deepsea.DeepSEAConfig(CONVS, 20, 400), 3), 400),
    one_value("beluga", lambda: beluga.Beluga(beluga.BelugaConfig(CONVS, 20, 600), 3), 600),
    one_value("basset", lambda: basset.Basset(basset.BassetConfig(CONVS, (20, 20), 600), 3), 600),
    one_value("sei", lambda: sei.Sei(sei.SeiConfig(CONVS, 8, 20, window=512), 3), 512),
    one_value("sei-classes", lambda: sei.Sei(sei.SeiConfig(CONVS, 8, 20, "classes", 512), 3), 512),
    Case("basenji", lambda: basenji.Basenji(
        basenji.BasenjiConfig((8, 8, 10, 10, 12, 12), pools=(1, 2, 4, 1, 2, 1), dense_channels=4, dilations=(2, 4),
                              hidden=20), 3, 4), 3200, 64, 16),
    Case("basenji2", lambda: basenji2.Basenji2(
        basenji2.Basenji2Config(8, 15, (10, 12), 5, (1, 2, 4), 8, 20), 3, 6), 2048, 48, 8),
    Case("basenji2-tanh", lambda: basenji2.Basenji2(
        basenji2.Basenji2Config(8, 14, (10, 12), 4, (1, 3), 8, 20, "tanh"), 3, 6), 2048, 48, 8),
    Case("enformer", lambda: enformer.Enformer(
        enformer.EnformerConfig(8, 15, (8, 10), 5, 2, 2, 4, 6, 12, 16, 20), 3, 4), 512, 32, 8, local=False),
    Case("borzoi", lambda: borzoi.Borzoi(
        borzoi.BorzoiConfig(8, 15, (8, 10), 5, 12, 2, 2, 4, 6, 8, 16, 32, 20), 3, 8), 512, 32, 4, local=False),
    Case("chrombpnet", lambda: chrombpnet.ChromBPNet(chrombpnet.ChromBPNetConfig(
        (chrombpnet.BPNetConfig(12, 3), chrombpnet.BPNetConfig(8, 2)), 400, 70), 75), 400, 75, 1, tracks=1,
        local=False),
    Case("chrombpnet-nobias", lambda: chrombpnet.ChromBPNet(chrombpnet.ChromBPNetConfig(
        (chrombpnet.BPNetConfig(12, 3),), 400, 70), 70), 400, 70, 1, tracks=1, local=False),
    Case("compact", lambda: compact.Compact(
        compact.CompactConfig(8, 7, 2, (8, 10), (2, 2), 5, (1, 2, 4), 6, 12, 0.1), 3, 4), 1024, 32, 8),
    Case("compact-peaks", lambda: compact.Compact(
        compact.CompactConfig(8, 7, 4, (8,), (2,), 5, (1, 2), 6, 12, 0.1, activation="sigmoid"), 3, 4), 1024, 32, 8),
]  # fmt: skip
LOCAL = [case for case in CASES if case.local]


def network(case: Case) -> nn.Module:
    """The same random network each time, in which everything matters: weights, norms, statistics."""
    torch.manual_seed(1)
    module = case.make()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and name not in ("spline", "scale"):
                spread = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.3
                tensor.copy_(torch.randn(tensor.shape) * spread + ("norm" in name and name.endswith("weight")))
    return module.eval()


def predictor(case: Case, ensemble: Ensemble = FORWARD, module: nn.Module | None = None) -> Predictor:
    pairs = (None, 2, 1) if case.tracks == 3 else (None,) * case.tracks
    tracks = tuple(Track(i, f"t{i}", strand_pair=pairs[i]) for i in range(case.tracks))
    card = ModelCard(
        case.name, "compact", "M", ("hg38",), case.window, case.crop, case.bin_width, tracks, {}, "", n_value=0.25
    )
    return Predictor(card, module or network(case), "cpu", 4, ensemble)


def window(length: int, seed: int = 0) -> Codes:
    """A window whose first bases are beyond a chromosome's end, and which has a gap."""
    codes = np.random.default_rng(seed).integers(0, 4, length, dtype=np.uint8)
    codes[: length // 10] = 4
    codes[length // 2 + 20 : length // 2 + 30] = 4
    return codes


def changed(reference: Codes, change: WindowEdit) -> Codes:
    alternative = reference.copy()
    alternative[change.start : change.start + len(change.codes)] = change.codes
    return alternative


def substitution(reference: Codes, start: int, n: int = 1, by: int = 1) -> WindowEdit:
    """All `n` bases from a place on become others."""
    return WindowEdit(start, (reference[start : start + n] % 4 + by).astype(np.uint8) % 4)


def haplotype(reference: Codes, *places: int) -> WindowEdit:
    """Single bases of a stretch become others, those between them stay."""
    alternative = reference[min(places) : max(places) + 1].copy()
    for place in places:
        alternative[place - min(places)] = (alternative[place - min(places)] + 1) % 4
    return WindowEdit(min(places), alternative)


def changes_of(reference: Codes) -> list[WindowEdit]:
    last, middle = len(reference) - 1, len(reference) // 2
    places = [middle, middle + 1, middle - 1, 0, 1, last, last - 1, middle + 20, middle + 25, last // 3, 7]
    singles = [substitution(reference, place, by=1 + i % 3) for i, place in enumerate(places)]
    several = [
        haplotype(reference, middle - 9, middle + 1),
        haplotype(reference, middle, middle + 1, middle + 40),
        haplotype(reference, last - 30, last),
        substitution(reference, 0, 5),
        WindowEdit(middle - 3, np.full(6, 4, np.uint8)),  # what was known is not
    ]
    return singles + several


def alternative_of(cone: Cone, reached: ReachedBins) -> np.ndarray:
    values = cone.ref.copy()
    values[:, reached.first : reached.first + reached.alt.shape[1]] = reached.alt
    return values


def check(
    asked: Predictor,
    reference: Codes,
    changes: Sequence[WindowEdit],
    batch_size: int | None = None,
    weights: nn.Module | None = None,
) -> Cone:
    """Every alternative is what a full prediction of it says, up to rounding; `weights` if a program hides them."""
    cone = Cone(asked, reference)
    np.testing.assert_array_equal(cone.ref, asked.predict(reference[None])[0])
    full = asked.predict(np.stack([changed(reference, change) for change in changes]))
    scale = np.abs(full).max()
    found = list(cone.predict_edits(changes, batch_size) if batch_size else cone.predict_edits(changes))
    assert len(found) == len(changes)
    for values, reached in zip(full, found, strict=True):
        assert reached.alt.dtype == np.float32
        assert_close(alternative_of(cone, reached), values, weights or asked.module, scale=scale)
    assert any(
        np.abs(values - cone.ref).max() > 20 * MAX_TOLERANCE * scale for values in full
    )  # there is something to find
    return cone


@pytest.mark.parametrize("ensemble", [pytest.param(FORWARD, marks=pytest.mark.sample), SHIFTED],
                         ids=["forward", "both strands, shifts"])  # fmt: skip
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_says_what_two_full_predictions_say(case: Case, ensemble: Ensemble) -> None:
    reference = window(case.window)
    check(predictor(case, ensemble), reference, changes_of(reference))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_batch_size_changes_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = window(case.window)
    cone, changes = Cone(predictor(case), reference), changes_of(reference)
    # No architecture here is run on whole windows, or its reference twice.
    monkeypatch.delattr(Predictor, "run")
    monkeypatch.delattr(ReferenceView, "run")
    alone = list(cone.predict_edits(changes, batch_size=1))
    scale = np.abs(cone.ref).max()
    for size in (3, 100):
        for one, other in zip(alone, cone.predict_edits(changes, size), strict=True):
            assert (one.first, one.alt.shape) == (other.first, other.alt.shape)
            assert_close(other.alt, one.alt, cone.predictor.module, scale=scale)


@pytest.mark.parametrize("ensemble", [FORWARD, SHIFTED], ids=["forward", "both strands, shifts"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_equal_to_the_reference_reaches_nothing(case: Case, ensemble: Ensemble) -> None:
    reference = window(case.window)
    cone = Cone(predictor(case, ensemble), reference)
    middle = case.window // 2
    equal = [WindowEdit(start, reference[start : start + n].copy()) for start, n in ((0, 1), (middle, 30), (middle, 1))]
    # Codes above 4 are N as well.
    equal.append(WindowEdit(0, np.full(3, 9, np.uint8)))
    *nothing, something = cone.predict_edits([*equal, substitution(reference, middle)])
    assert [reached.alt.shape for reached in nothing] == [(case.tracks, 0)] * len(equal)
    assert something.alt.shape[0] == case.tracks and something.alt.shape[1] > 0


@pytest.mark.parametrize("case", LOCAL, ids=lambda case: case.name)
def test_what_a_local_network_reaches_is_short_and_holds_all_that_differs(case: Case) -> None:
    """Against a full prediction in float64, where rounding does not hide what differs by little."""
    reference = window(case.window)
    cone = Cone(predictor(case), reference)
    precise = copy.deepcopy(cone.predictor.module).double()
    changes = changes_of(reference)
    rows = np.stack([reference, *(changed(reference, change) for change in changes)])
    with torch.inference_mode():
        values = precise(torch.from_numpy(one_hot(rows, 0.25)).double()).numpy()
    rounding = tolerance(precise, FLOAT64) * np.abs(values).max()
    for alternative, reached, change in zip(values[1:], cone.predict_edits(changes, 4), changes, strict=True):
        differs = np.flatnonzero((np.abs(alternative - values[0]) > rounding).any(0))
        n = reached.alt.shape[1]
        assert not len(differs) or (reached.first <= differs[0] and differs[-1] < reached.first + n)
        if len(change.codes) == 1:
            assert n < values.shape[-1] / 2


@pytest.mark.parametrize("case", LOCAL, ids=lambda case: case.name)
def test_far_from_what_is_kept_nothing_is_reached(case: Case) -> None:
    """A change at the window's edge does not reach the bins, of which those near the edge are left out."""
    cropped = predictor(case)
    reference = np.random.default_rng(3).integers(0, 4, case.window, dtype=np.uint8)
    module = cropped.module
    module.crop = 60 if case.bin_width == 8 else 70  # type: ignore[assignment]
    card = ModelCard("m", "compact", "M", ("hg38",), case.window, int(module.crop) * case.bin_width, case.bin_width,
                     cropped.card.tracks, {}, "")  # fmt: skip
    cone = Cone(Predictor(card, module, "cpu"), reference)
    changes = [substitution(reference, place) for place in (0, case.window - 1, case.window // 2, 3)]
    empty, other, middle, again = cone.predict_edits(changes)
    assert empty.alt.shape[1] == other.alt.shape[1] == again.alt.shape[1] == 0 < middle.alt.shape[1]


def test_some_tracks_in_the_units_of_the_data() -> None:
    case = next(case for case in CASES if case.name == "compact")
    squashed = tuple(
        Track(i, "t", strand_pair=(None, 2, 1)[i], squash=Squash(0.5, 1.0, 4 / 3) if i else None) for i in range(3)
    )
    for track in (2, 1):
        card = ModelCard("m", "compact", "M", ("hg38",), case.window, case.crop, case.bin_width, squashed, {}, "")
        asked = Predictor(card, network(case), "cpu", 4, SHIFTED, tracks=(track, 0))
        reference = window(case.window)
        cone = check(asked, reference, changes_of(reference))
        assert cone.ref.shape[0] == 2


def test_what_a_shift_moves_out_of_the_window_changes_nothing_there() -> None:
    case = next(case for case in CASES if case.name == "deepsea")
    reference = np.random.default_rng(0).integers(0, 4, case.window, dtype=np.uint8)
    last = [substitution(reference, case.window - 1)]
    (reached,) = Cone(predictor(case, Ensemble(shifts=(3,))), reference).predict_edits(last)
    assert reached.alt.shape[1] == 0
    (reached,) = Cone(predictor(case, Ensemble(shifts=(-3, 3))), reference).predict_edits(last)
    assert reached.alt.shape[1] == 1
    check(predictor(case, Ensemble(shifts=(-3, 3))), reference, changes_of(reference))


class Local(nn.Module):
    """Operations that no architecture here has, all local: strides, overlapping pools, groups, in-place functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 6, 5, stride=2, padding=1)
        self.by_group = nn.Conv1d(6, 12, 3, padding="same", groups=3, dilation=2)
        self.norm = nn.BatchNorm1d(12)
        self.drop = nn.Dropout(0.5)
        self.wide = nn.Conv1d(18, 8, 6)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool1d(3, 2, padding=1)
        self.mean = nn.AvgPool1d(2)
        self.head = nn.Conv1d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.drop(self.norm(self.by_group(x)))
        x = torch.cat([x, F.leaky_relu(y, 0.1)], dim=1)
        x = self.act(self.wide(x[:, :, 1:-2]))
        x = self.mean(self.pool(F.pad(x, (2, 1))))
        x *= 2
        x += torch.sqrt(x.clamp(min=0) + 1)
        return self.head(x).exp().log1p()


class Gated(nn.Module):
    """Squeeze-excite between convolutions, then a pool over everything beside what stays local."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 8, 7, padding=3), nn.Conv1d(8, 8, 3, padding=1)
        self.gate, self.head = nn.Linear(8, 8), nn.Conv1d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = x * torch.sigmoid(self.gate(x.mean(-1)))[..., None]
        x = self.second(x) + x.amax(-1, keepdim=True)
        return self.head(F.max_pool1d(x, 4))


class Unknown(nn.Module):
    """A cumulative sum, a sort and views written to in place in the middle; no rule knows any of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 8, 7, padding=3), nn.Conv1d(8, 8, 3, padding=1)
        self.head = nn.Conv1d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = x.cumsum(-1) / 10
        x.unflatten(-1, (-1, 4))[..., 0].mul_(0.5)
        values, _ = x.sort(1)
        return self.head(F.max_pool1d(self.second(values), 4))


class Entangled(nn.Module):
    """A crop that is written to, whose whole then changes as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv1d(4, 8, 7, padding=3), nn.Conv1d(8, 3, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x[..., 100:300].mul_(3)
        x[:, 0, 150:160] = 1
        return self.head(x)


class Deciding(nn.Module):
    """Its layers and numbers depend on the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = (
            nn.Conv1d(a, b, k, padding=k // 2) for a, b, k in ((4, 8, 5), (8, 8, 3), (8, 3, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        many = float(x[:, 0].sum())
        x = F.relu(self.first(x)) * many
        if int(many) % 2:
            x = self.second(x)
        return self.head(F.max_pool1d(x, 4))


class InPlace(nn.Module):
    """A crop outlives a change in place, of which it is part."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv1d(4, 8, 7, padding=3), nn.Conv1d(8, 3, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        crop = x[..., 100:300]
        F.relu(x.cumsum(-1).add_(x), inplace=True)
        F.relu(x, inplace=True)
        return self.head(x) + crop[:, :3].mean(-1, keepdim=True)


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(nn.Conv1d(4, 8, 5, padding=2), nn.ReLU(), nn.MaxPool1d(4))
        self.inner, self.head = torch.jit.trace(inner, torch.rand(1, 4, 400)), nn.Conv1d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x * 2))


OWN = {
    "local": (Local, 403, 24, 71), "gated": (Gated, 400, 0, 4), "unknown": (Unknown, 400, 0, 4),
    "entangled": (Entangled, 400, 0, 4), "in place": (InPlace, 400, 0, 4),
    "deciding": (Deciding, 400, 0, 4), "scripted": (Scripted, 400, 0, 4),
}  # fmt: skip


@pytest.mark.parametrize("ensemble", [FORWARD, SHIFTED], ids=["forward", "both strands, shifts"])
@pytest.mark.parametrize("name", OWN)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_any_network_works(name: str, ensemble: Ensemble) -> None:
    make, length, crop, width = OWN[name]
    torch.manual_seed(0)
    module = make().eval()
    bins = module(torch.rand(1, 4, length)).shape[-1]
    if name == "local":
        length, crop, width = 403, (403 - bins) // 2, 1
        length -= (403 - bins) % 2
        bins = module(torch.rand(1, 4, length)).shape[-1]
        crop = (length - bins) // 2
    case = Case(name, lambda: module, length, crop, width)
    batch = 1 if name == "deciding" else 4  # it decides for all windows of a batch at once
    asked = predictor(case, ensemble, module)
    asked.batch_size = batch
    reference = window(length)
    cone = check(asked, reference, changes_of(reference), batch_size=batch)
    if name == "local":
        assert all(reached.alt.shape[1] < bins / 2 for reached in cone.predict_edits(changes_of(reference)[:5]))


def test_an_exported_program_has_a_cone_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(
        nn.Conv1d(4, 8, 7, padding=3), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(8, 3, 1)
    )
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    torch.export.save(
        torch.export.export(inner.eval(), (torch.rand(2, 4, 400),), dynamic_shapes=(batch,)), tmp_path / "p"
    )
    asked = predictor(Case("own", lambda: read_export(tmp_path / "p"), 400, 0, 4), FORWARD, read_export(tmp_path / "p"))
    reference = window(400)
    cone = check(asked, reference, changes_of(reference), weights=inner)
    assert all(reached.alt.shape[1] <= 3 for reached in cone.predict_edits(changes_of(reference)[:5]))


def test_only_what_is_read_again_is_kept() -> None:
    """Not what a pool makes smaller at once: of the activations at full length only the input's."""
    case = next(case for case in CASES if case.name == "basenji2")
    cone = Cone(predictor(case), window(case.window))
    list(cone.predict_edits(changes_of(cone.reference)))
    sizes = [tuple(stored.shape) for stored in cone._views[0]._record.activations.values()]  # type: ignore[union-attr]
    assert [size for size in sizes if size[0] == case.window] == [(case.window, 4)]
    assert cone.nbytes <= 4 * sum(map(np.prod, sizes)) + cone.ref.nbytes


def test_it_is_found_again_within_a_bound_of_bytes_and_from_several_threads() -> None:
    case = LOCAL[-1]
    asked, other = predictor(case), predictor(case)
    first, second = window(case.window), window(case.window, 1)
    nbytes = Cone(asked, first).nbytes
    cones = Cones(int(2.5 * nbytes))
    found: list[Cone] = []
    threads = [threading.Thread(target=lambda: found.append(cones.cone(asked, first))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(map(id, found))) == 1
    assert cones.cone(other, first) is not found[0]
    assert cones.cone(asked, second) is not found[0]  # the third, for which the first has gone
    assert cones.cone(asked, first) is not found[0]
    assert Cones(1).cone(asked, first).ref.shape == found[0].ref.shape


def test_wrong_questions_are_refused() -> None:
    case = LOCAL[-1]
    with pytest.raises(InvalidRequest, match="reads windows of"):
        Cone(predictor(case), np.zeros(case.window - 1, np.uint8))
    cone = Cone(predictor(case), window(case.window))
    for start, n in ((-1, 1), (case.window, 1), (case.window - 1, 2), (5, 0)):
        with pytest.raises(InvalidRequest):
            list(cone.predict_edits([WindowEdit(start, np.zeros(n, np.uint8))]))
