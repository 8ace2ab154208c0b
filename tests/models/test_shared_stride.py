from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.tolerance import FLOAT64, assert_close
from trackserver.errors import InvalidRequest
from trackserver.genome.sequence import Codes, N
from trackserver.models import basset, beluga, chrombpnet, compact, deepsea, registry, shared_stride
from trackserver.models.card import ModelCard, Track, write_card
from trackserver.models.shared_stride import Windows, count_windows, each_window, shares_windows
from trackserver.models.weights import save_weights
from trackserver.predict.engine import Predictor
from trackserver.predict.ensemble import Ensemble
from trackserver.storage import sha256

WIDTHS = (8, 12, 16)
PAIRED = (Track(0, "a"), Track(1, "b", strand="+", strand_pair=2), Track(2, "b", strand="-", strand_pair=1))


@dataclass(frozen=True)
class Case:
    """A network with windows `stride` bp apart; `make` is given the bp to leave out at each side.

    `gain` : of the weights; small where a profile's logits, whose rounding is a share of the reads, would be large.
    """

    name: str
    make: Callable[[int], nn.Module]
    window: int
    stride: int
    bin_width: int
    tracks: int = 3
    gain: float = 1.0

    @property
    def crop(self) -> int:
        return (self.window - self.stride) // 2

    @property
    def id(self) -> str:
        return f"{self.name}-{self.stride}"


def of_one_value(name: str, make: Callable[[int], nn.Module], window: int, *strides: int) -> list[Case]:
    return [Case(name, make, window, stride, stride) for stride in strides]


COMPACT = compact.CompactConfig(8, 7, 2, (8, 10), (2, 2), 5, (1, 2, 4), 6, 12, 0.1)
BPNETS = (chrombpnet.BPNetConfig(12, 3), chrombpnet.BPNetConfig(8, 2))
CASES = [
    *of_one_value("deepsea", lambda crop: deepsea.DeepSEA(deepsea.DeepSEAConfig(WIDTHS, 20, 1000), 3, crop), 1000,
                  16, 48, 96, 128, 200, 402),
    *of_one_value("beluga", lambda crop: beluga.Beluga(beluga.BelugaConfig(WIDTHS, 20, 2000), 3, crop), 2000,
                  16, 128, 200, 1000),
    *of_one_value("basset", lambda crop: basset.Basset(basset.BassetConfig(WIDTHS, (20, 20), 600), 3, crop), 600,
                  16, 48, 96, 128, 192),
    *[Case("chrombpnet", lambda crop: chrombpnet.ChromBPNet(chrombpnet.ChromBPNetConfig(BPNETS, 400, 70), crop), 400,
           stride, 1, 1, 0.3) for stride in (260, 128, 8)],
    Case("chrombpnet-nobias", lambda crop: chrombpnet.ChromBPNet(
        chrombpnet.ChromBPNetConfig(BPNETS[:1], 400, 70), crop), 400, 200, 1, 1, 0.3),
    Case("compact", lambda crop: compact.Compact(COMPACT, 3, crop // 8), 1024, 1024 - 2 * compact.margin(COMPACT), 8),
    Case("compact-wider-crop", lambda crop: compact.Compact(COMPACT, 3, crop // 8), 1024, 128, 8),
]  # fmt: skip
SAMPLE = ("deepsea-128", "beluga-128", "basset-96", "chrombpnet-128", "chrombpnet-nobias-200", "compact-880")
EACH_CASE = pytest.mark.parametrize("case", [
    pytest.param(case, marks=[pytest.mark.sample] if case.id in SAMPLE else [], id=case.id) for case in CASES
])  # fmt: skip
SHARING = [case for case in CASES if case.id not in ("deepsea-402", "beluga-1000")]


def network(case: Case) -> nn.Module:
    """Random weights in which everything matters: norms, statistics, and outputs that are not all alike."""
    torch.manual_seed(1)
    module = case.make(case.crop)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and name != "scale":
                spread = case.gain * tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.3
                tensor.copy_(torch.randn(tensor.shape) * spread + ("norm" in name and name.endswith("weight")))
    return module.eval()


def predictor(case: Case, ensemble: Ensemble = Ensemble(), batch_size: int = 4) -> Predictor:  # noqa: B008  (frozen)
    tracks = PAIRED if case.tracks == 3 else (Track(0, "a"),)
    card = ModelCard(
        case.name, "deepsea", "M", ("hg38",), case.window, case.crop, case.bin_width, tracks, {}, "", n_value=0.25
    )
    return Predictor(card, network(case), "cpu", batch_size, ensemble)


def sequences(case: Case, n: int, batch: int = 1) -> Codes:
    """Of n windows, with unknown bases at the start and in the middle."""
    length = case.window + (n - 1) * case.stride
    codes = np.random.default_rng(n).integers(0, 4, (batch, length), dtype=np.uint8)
    codes[:, : length // 20] = N
    codes[:, length // 2 : length // 2 + 30] = N
    return codes


def separate_windows(codes: Codes, window: int, stride: int) -> Codes:
    """(B, L) -> (B * n, window)."""
    return np.lib.stride_tricks.sliding_window_view(codes, window, 1)[:, ::stride].reshape(-1, window)


def end_to_end(values: np.ndarray, batch: int) -> np.ndarray:
    """(B * n, T, bins) -> (B, T, n * bins)."""
    by_sequence = values.reshape(batch, -1, *values.shape[1:])
    return by_sequence.swapaxes(1, 2).reshape(batch, values.shape[1], -1)


@EACH_CASE
@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_sequence_says_what_its_windows_say(case: Case, n: int, batch: int) -> None:
    asked, codes = predictor(case, batch_size=100), sequences(case, n, batch)
    with torch.inference_mode():
        values = asked.module(asked.one_hot(codes)).numpy()
    expected = end_to_end(asked.predict(separate_windows(codes, case.window, case.stride)), batch)
    assert values.shape == (batch, case.tracks, n * case.stride // case.bin_width)
    assert_close(values, expected, asked.module)


@EACH_CASE
def test_a_planted_fault_is_found(case: Case) -> None:
    """All bins shifted by one, or one number off by a ten-thousandth of scale, is more than rounding."""
    asked = predictor(case, batch_size=100)
    expected = end_to_end(asked.predict(separate_windows(sequences(case, 7), case.window, case.stride)), 1)
    one_off = expected.copy()
    one_off[0, -1, expected.shape[-1] // 2] += 1e-4 * np.abs(expected).max()
    for wrong in (np.roll(expected, 1, axis=-1), one_off):
        with pytest.raises(AssertionError, match="differ by more than rounding"):
            assert_close(wrong, expected, asked.module)


@EACH_CASE
@torch.inference_mode()
def test_but_for_rounding_nothing_differs(case: Case) -> None:
    asked, codes = predictor(case), sequences(case, 7, 2)
    module = asked.module.double()
    values = module(asked.one_hot(codes).double())
    expected = module(asked.one_hot(separate_windows(codes, case.window, case.stride)).double())
    assert values.std() > values.mean() / 100
    assert_close(values.numpy(), end_to_end(expected.numpy(), 2), module, roundoff=FLOAT64)


@pytest.mark.parametrize("case", SHARING, ids=lambda case: case.id)
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_both_strands(case: Case, batch_size: int) -> None:
    asked, codes = predictor(case, Ensemble(both_strands=True), batch_size), sequences(case, 7, 3)
    assert asked.accepts_length(codes.shape[1])
    expected = end_to_end(asked.predict(separate_windows(codes, case.window, case.stride)), 3)
    assert_close(asked.predict(codes), expected, asked.module)


@pytest.mark.parametrize("part", [1, 100, 1000])
@pytest.mark.parametrize("case", [case for case in CASES if case.id in ("deepsea-200", "beluga-128", "basset-96")],
                         ids=lambda case: case.id)  # fmt: skip
def test_the_size_of_the_parts_changes_nothing(case: Case, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, codes = predictor(case), sequences(case, 7)
    expected = asked.predict(codes)
    monkeypatch.setattr(shared_stride, "PART_BP", part)
    assert_close(asked.predict(codes), expected, asked.module)


@given(st.integers(1, 500), st.integers(1, 9), st.sampled_from(["deepsea", "basset"]))
def test_any_stride_and_number_of_windows(half: int, n: int, name: str) -> None:
    """Those with nothing to share too: the module is not to be given them, but what it says is right."""
    some = next(case for case in CASES if case.name == name)
    case = replace(some, stride=min(2 * half, some.window), bin_width=min(2 * half, some.window))
    asked, codes = predictor(case), sequences(case, n)
    with torch.inference_mode():
        values = asked.module(asked.one_hot(codes)).numpy()
    assert_close(values, end_to_end(asked.predict(separate_windows(codes, case.window, case.stride)), 1), asked.module)


@pytest.mark.parametrize("stride", [128, 200])
@torch.inference_mode()
def test_deepsea_of_the_published_size(stride: int) -> None:
    torch.manual_seed(0)
    module = deepsea.build({}, 919, (1000 - stride) // 2).eval()
    for tensor in module.parameters():
        if tensor.ndim > 1:
            nn.init.normal_(tensor, std=(0.7 / tensor[0].numel()) ** 0.5)
    sequence = random_one_hot(1000 + 6 * stride)
    values = module(sequence)
    assert values.std() > 0.02
    expected = torch.cat([module(sequence[..., i * stride : i * stride + 1000]) for i in range(7)], -1)
    assert_close(values, expected, module)


@torch.inference_mode()
def test_chrombpnet_of_the_published_geometry() -> None:
    torch.manual_seed(0)
    module = chrombpnet.build({"networks": [{"channels": 32}, {"channels": 16, "dilated": 4}]}, 1, 557).eval()
    sequence = random_one_hot(2114 + 2000)
    windows = torch.cat([sequence[..., i * 1000 : i * 1000 + 2114] for i in range(3)])
    expected = module(windows).permute(1, 0, 2).flatten(1)[None]
    assert_close(module(sequence), expected, module, scale=expected)  # of each base's own reads
    doubled = module.double()(windows.double()).permute(1, 0, 2).flatten(1)[None]
    assert_close(module(sequence.double()), doubled, module, scale=doubled, roundoff=FLOAT64)


def random_one_hot(length: int) -> Tensor:
    return torch.eye(4)[torch.randint(0, 4, (1, length))].transpose(1, 2)


@torch.inference_mode()
def test_the_threshold_comes_before_the_pool_along_a_sequence() -> None:
    """Activations below a millionth, where a negative one ends above them."""
    case = next(case for case in CASES if case.id == "deepsea-128")
    asked, codes = predictor(case), sequences(case, 3)
    convs = asked.module.get_submodule("convs")
    assert isinstance(convs, nn.ModuleList)
    first, second = convs[0], convs[1]
    assert isinstance(first, nn.Conv1d) and isinstance(second, nn.Conv1d) and first.bias is not None
    first.weight *= 1e-6
    first.bias *= 1e-6
    second.weight *= 1e6
    assert_close(asked.predict(codes), end_to_end(asked.predict(separate_windows(codes, 1000, 128)), 1), asked.module)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_modules_say_whether_they_go_along(case: Case) -> None:
    module = case.make(case.crop)
    assert shares_windows(module, case.stride) == (case in SHARING)
    if case.name != "compact" and case.name != "compact-wider-crop":
        assert not shares_windows(module, case.stride + 2)


@pytest.mark.parametrize(
    ("steps", "window", "stride", "phases", "overlap"),
    [
        (deepsea.STEPS, 1000, 128, 1, True),
        (deepsea.STEPS, 1000, 200, 2, True),
        (deepsea.STEPS, 1000, 100, 4, True),
        (deepsea.STEPS, 1000, 50, 8, True),
        (deepsea.STEPS, 1000, 2, 8, True),
        (deepsea.STEPS, 1000, 402, 8, False),
        (deepsea.STEPS, 1000, 832, 1, True),
        (deepsea.STEPS, 1000, 848, 1, False),  # the windows overlap, by bases that only convolutions beside them read
        (deepsea.STEPS, 1000, 1000, 2, False),
        (beluga.STEPS, 2000, 200, 2, True),
        (beluga.STEPS, 2000, 1000, 2, False),
        (basset.STEPS, 600, 192, 1, True),
        (basset.STEPS, 600, 128, 3, True),
        (basset.STEPS, 600, 200, 6, False),
    ],
)
def test_phases(steps: tuple[shared_stride.Step, ...], window: int, stride: int, phases: int, overlap: bool) -> None:
    windows = Windows(window, stride, steps)
    assert (windows.phases, windows.overlap) == (phases, overlap)
    assert windows.pitch * windows.pool == phases * stride
    assert windows.pool == math.prod(step.pool for step in steps)


def test_a_compact_model_goes_along_where_no_bin_sees_beyond_its_window() -> None:
    edge = compact.margin(COMPACT)
    assert shares_windows(compact.build(config_of(COMPACT), 3, edge), 128)
    assert not shares_windows(compact.build(config_of(COMPACT), 3, edge - 8), 128)


def config_of(config: compact.CompactConfig) -> dict[str, object]:
    return {**vars(config)}


@pytest.mark.parametrize(
    ("architecture", "crop", "kept"),
    [
        ("basenji", 4096, 122_880),
        ("basenji2", 8192, 114_688),
        ("sei", 1998, 100),
        ("enformer", 40_960, 114_688),
        ("borzoi", 163_840, 196_608),
    ],
)
def test_models_with_padding_or_a_global_layer_do_not(architecture: str, crop: int, kept: int) -> None:
    with torch.device("meta"):
        assert not shares_windows(registry.architecture(architecture).build({}, 3, crop), kept)


def test_any_other_module_does_not() -> None:
    assert not shares_windows(nn.Linear(1, 1), 128)


@pytest.mark.parametrize("case", SHARING, ids=lambda case: case.id)
def test_a_predictor_reads_whole_numbers_of_windows(case: Case) -> None:
    asked = predictor(case)
    wrong = (case.window - case.stride, case.window - 1, case.window + 1, case.window + case.stride + 1)
    assert [asked.accepts_length(case.window + i * case.stride) for i in range(3)] == [True] * 3
    assert not any(asked.accepts_length(length) for length in wrong)
    with pytest.raises(InvalidRequest, match=f"of {case.window:,} bp"):
        asked.predict(np.zeros((1, case.window + 1), np.uint8))


def test_a_predictor_reads_single_windows_where_a_module_does_not_go_along() -> None:
    case = next(case for case in CASES if case.id == "deepsea-402")
    assert [predictor(case).accepts_length(1000 + i * 402) for i in range(2)] == [True, False]


def test_shifted_windows_are_read_one_by_one() -> None:
    """What moves into a shifted window is unknown sequence, not its neighbour's."""
    asked = predictor(CASES[3], Ensemble(shifts=(0, 1)))
    assert [asked.accepts_length(1000 + i * CASES[3].stride) for i in range(2)] == [True, False]


@pytest.mark.parametrize("length", [0, 999, 1001, 1127])
def test_a_module_refuses_what_is_no_whole_number_of_windows(length: int) -> None:
    module = deepsea.DeepSEA(deepsea.DeepSEAConfig(WIDTHS, 20), 3, 436)
    with pytest.raises(InvalidRequest, match=r"not a whole number of windows of 1,000 bp, 128 bp apart"):
        module(torch.zeros(1, 4, length))


def test_windows_are_counted_and_cut() -> None:
    assert [count_windows(10 + 3 * i, 10, 3) for i in range(4)] == [1, 2, 3, 4]
    assert each_window(torch.arange(8), 3, 2).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]


@torch.inference_mode()
def test_a_model_loaded_at_a_stride_goes_along_at_it(tmp_path: Path) -> None:
    case = replace(CASES[4], stride=200, bin_width=200)
    module = network(case)
    (tmp_path / "m").mkdir()
    save_weights(module.state_dict(), tmp_path / "m" / registry.WEIGHTS)
    digest = sha256(tmp_path / "m" / registry.WEIGHTS)
    config = {"channels": list(WIDTHS), "hidden": 20, "window": 1000}
    card = ModelCard("m", "deepsea", "M", ("hg19",), 1000, 400, 200, PAIRED, config, digest)
    write_card(card, tmp_path / "m" / registry.CARD)
    assert shares_windows(registry.load(tmp_path, "m"), 200)
    loaded = registry.load(tmp_path, "m", stride=128)
    assert shares_windows(loaded, 128) and not shares_windows(loaded, 200)
    assert torch.equal(loaded(torch.ones(1, 4, 1000)), module(torch.ones(1, 4, 1000)))
    # A module loaded at another stride than its card's is asked window by window.
    assert not Predictor(card.at_stride(128), registry.load(tmp_path, "m"), "cpu").accepts_length(1128)
    assert Predictor(card.at_stride(128), loaded, "cpu").accepts_length(1128)
