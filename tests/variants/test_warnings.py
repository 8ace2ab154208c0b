"""Each warning: a case that calls for it, and one that does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from tests.conftest import install_random_model
from tests.variants.test_effect import snv
from trackserver.catalogue.site import Site
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode
from trackserver.genome.variant import Variant
from trackserver.models.card import ModelCard, Track, read_card, write_card
from trackserver.models.folds import fold_of
from trackserver.variants import warnings as warnings_module
from trackserver.variants.effect import Effect
from trackserver.variants.warnings import (
    SEVERITIES,
    Caveat,
    OtherEffect,
    Overlap,
    Surroundings,
    junction,
    signed_sizes,
    warnings,
)

CARD = ModelCard(
    id="m", architecture="compact", title="M", assemblies=("tiny", "other"), window=1000, crop=0, bin_width=100,
    tracks=(Track(0, "DNase K562", "DNASE", "K562", mean=1.0), Track(1, "CTCF K562", "CHIP", "K562", "CTCF", mean=1.0)),
    config={}, weights_sha256="",
)  # fmt: skip
PROBABLE = replace(CARD, probability=True)
SNV = Variant("chrA", 20_411, "A", "C")
DELETION = Variant("chrA", 20_411, "ACGT", "A")
PLACE = Surroundings("tiny", Locus("chrA", 20_000, 21_000))


def make_effect(*deltas: float, variant: Variant = SNV, other: float = 0.0, unknown: float = 0.0) -> Effect:
    """REF 1 in ten bins from 20,000 on; ALT differs in the variant's bin alone, of a second alignment by `other`."""
    ref = np.ones((len(deltas), 10), np.float32)
    alt = ref.copy()
    alt[:, 4] += deltas
    again = ref.copy()
    again[:, 4] += np.asarray(deltas) + other
    both = (alt, again) if variant.length_change else (alt,)
    return Effect(
        (variant,), CARD, Locus("chrA", 19_000, 22_000), Locus("chrA", 20_000, 21_000), 20_000,
        tuple(range(len(deltas))), ref,
        np.mean(both, axis=0, dtype=np.float32), both, unknown,
    )  # fmt: skip


def checked(effect: Effect, card: ModelCard = CARD, nearby: Surroundings = PLACE, spread: Any = None) -> list[Caveat]:
    found = warnings(replace(effect, card=card), nearby, spread)
    assert json.loads(json.dumps([asdict(caveat) for caveat in found], allow_nan=False)) is not None
    assert all(c.sentence.endswith(".") and c.advice.endswith(".") and c.severity in SEVERITIES for c in found)
    return found


def codes(*arguments: Any, **more: Any) -> dict[str, str]:
    return {caveat.code: caveat.severity for caveat in checked(*arguments, **more)}


METRICS = {"test": {"pearson": [0.9, 0.1]}}
OTHER = OtherEffect("n", "N", "0" * 20, {("dnase", "k562", "", "."): -0.4, ("chip", "k562", "ctcf", "."): 0.4})


@pytest.mark.parametrize(
    ("code", "severity", "case", "quiet"),
    [
        ("repeat", "note", {"nearby": replace(PLACE, repeats=Overlap(True, 0.2, ("AluY",)))},
         {"nearby": replace(PLACE, repeats=Overlap(False, 0.4, ("AluY",)))}),
        ("repeat", "note", {"nearby": replace(PLACE, repeats=Overlap(False, 0.6))}, {}),
        ("blacklist", "warning", {"nearby": replace(PLACE, blacklist=Overlap(True, 1.0))},
         {"nearby": replace(PLACE, blacklist=Overlap(False, 0.0))}),
        ("blacklist", "caution", {"nearby": replace(PLACE, blacklist=Overlap(False, 0.1))}, {}),
        ("chromosome_end", "note", {"nearby": replace(PLACE, beyond=200)}, {}),
        ("chromosome_end", "caution", {"nearby": replace(PLACE, beyond=300)}, {}),
        ("unknown_sequence", "note", {"effect": make_effect(1.0, 1.0, unknown=0.02)},
         {"effect": make_effect(1.0, 1.0, unknown=.01)}),
        ("unknown_sequence", "caution", {"effect": make_effect(1.0, 1.0, unknown=0.5),
                                         "nearby": replace(PLACE, beyond=200)},
         {"effect": make_effect(1.0, 1.0, unknown=0.2), "nearby": replace(PLACE, beyond=200)}),
        ("other_assembly", "note", {"nearby": replace(PLACE, assembly="other")}, {}),
        ("training_fold", "note", {"nearby": replace(PLACE, fold="train")}, {"nearby": replace(PLACE, fold="test")}),
        ("training_fold", "note", {"nearby": replace(PLACE, fold="valid")}, {"nearby": replace(PLACE, fold="")}),
        ("near_threshold", "note", {"effect": make_effect(0.19, 0.0), "card": PROBABLE},
         {"effect": make_effect(0.17, 0.0), "card": PROBABLE}),
        ("near_threshold", "note", {"effect": make_effect(0.0, -0.54), "card": PROBABLE},
         {"effect": make_effect(0.19, 0.0)}),
        ("ensemble_spread", "caution", {"effect": make_effect(1.0, 0.0), "spread": np.array([0.2, 0.0])},
         {"effect": make_effect(1.0, 0.0), "spread": np.array([0.05, 9.0])}),
        ("ensemble_spread", "caution", {"effect": make_effect(3.0, 0.0, variant=DELETION, other=-3.0)},
         {"effect": make_effect(3.0, 0.0, variant=DELETION, other=-0.1)}),
        ("models_disagree", "caution", {"nearby": replace(PLACE, others=(OTHER,))},
         {"nearby": replace(PLACE, others=(OTHER,)), "effect": make_effect(-1.0, 1.0)}),
        ("models_disagree", "caution", {"nearby": replace(PLACE, others=(OTHER,)), "effect": make_effect(-1.0, -1.0)},
         {"nearby": replace(PLACE, others=(OTHER,)), "effect": make_effect(0.01, -0.01)}),
        ("indel_edge", "caution", {"effect": make_effect(2.0, 0.0, variant=DELETION, other=2.0)}, {}),
        ("indel_edge", "caution", {"effect": make_effect(2.0, 0.0, variant=DELETION, other=2.0)},
         {"effect": make_effect(2.0, 0.0, variant=DELETION, other=0.1)}),
        ("poor_agreement", "caution", {"card": replace(CARD, metrics=METRICS)},
         {"card": replace(CARD, metrics=METRICS), "effect": make_effect(1.0)}),
        ("poor_agreement", "caution", {"card": replace(CARD, metrics=METRICS)},
         {"card": replace(CARD, metrics={"test": {"pearson": [None, 0.3]}, "train": {"pearson": [0.0, 0.0]}})}),
        ("no_effect", "note", {"effect": make_effect(0.0, 0.0)}, {"effect": make_effect(0.0, 1e-6)}),
    ],
)  # fmt: skip
def test_each_warning_where_it_belongs(code: str, severity: str, case: dict[str, Any], quiet: dict[str, Any]) -> None:
    plain = {"effect": make_effect(1.0, 1.0)}
    assert codes(**plain | case).get(code) == severity
    assert code not in codes(**plain | quiet)


def test_nothing_speaks_against_a_plain_effect() -> None:
    assert checked(make_effect(1.0, 1.0)) == []


def test_the_most_severe_first() -> None:
    nearby = replace(
        PLACE, assembly="other", fold="train", beyond=400, repeats=Overlap(True, 1.0), blacklist=Overlap(True, 1.0)
    )
    found = checked(make_effect(1.0, 1.0), replace(CARD, metrics=METRICS), nearby)
    assert [caveat.severity for caveat in found] == sorted((c.severity for c in found), key=SEVERITIES.index)
    assert [caveat.code for caveat in found][:2] == ["blacklist", "poor_agreement"]


def test_evidence_says_how_much() -> None:
    by_code: Callable[..., dict[str, Caveat]] = lambda *a, **k: {c.code: c for c in checked(*a, **k)}  # noqa: E731
    edge = by_code(make_effect(2.0, 0.0, variant=DELETION, other=2.0))["indel_edge"]
    assert edge.evidence["tracks"][0] == {"index": 0, "name": "DNase K562", "differ": 2.0, "delta": 3.0}
    poor = by_code(make_effect(1.0, 1.0), replace(CARD, metrics=METRICS))["poor_agreement"]
    assert poor.evidence == {"tracks": [{"index": 1, "name": "CTCF K562", "pearson": 0.1}], "count": 1}
    against = by_code(make_effect(1.0, 1.0), nearby=replace(PLACE, others=(OTHER,)))["models_disagree"]
    (row,) = against.evidence["tracks"]
    assert (row["model"], row["effect"], row["other"]) == ("n", "0" * 20, -0.4)
    assert "goes up here and down there" in against.sentence
    named = by_code(make_effect(1.0, 1.0), nearby=replace(PLACE, repeats=Overlap(True, 1.0, ("A", "B", "C", "D"))))[
        "repeat"
    ]
    assert "(A, B, C and 1 more)" in named.sentence


def test_spread_is_over_the_alignments_of_an_indel() -> None:
    effect = make_effect(3.0, 0.0, variant=DELETION, other=-3.0)
    each = [signed_sizes(replace(effect, alt=alt, alignments=(alt,)))[0] for alt in effect.alignments]
    (found,) = [caveat for caveat in checked(effect) if caveat.code == "ensemble_spread"]
    assert found.evidence["tracks"][0]["spread"] == pytest.approx(abs(each[0] - each[1]) / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("variant", "bins"),
    [
        (SNV, slice(4, 5)),
        (DELETION, slice(4, 5)),
        (Variant("chrA", 20_399, "ACGT", "A"), slice(3, 5)),
        (Variant("chrA", 20_400, "A", "AGG"), slice(4, 5)),
    ],
)
def test_the_bins_an_indel_touches(variant: Variant, bins: slice) -> None:
    assert junction(make_effect(1.0, variant=variant)) == bins


def test_test_folds_of_a_card() -> None:
    folds = {"train": [["chrA", 0, 100]], "valid": [["chrA", 100, 200]], "test": [["chrB", 0, 100]], "odd": 3}
    card = replace(CARD, provenance={"folds": folds})
    assert fold_of(card, [Locus("chrA", 99, 100)]) == "train"
    assert fold_of(card, [Locus("chrA", 100, 101)]) == "valid"
    assert fold_of(card, [Locus("chrB", 5, 6), Locus("chrA", 5, 6)]) == "train"
    assert (fold_of(card, [Locus("chrB", 5, 6)]), fold_of(card, [Locus("chrC", 5, 6)])) == ("test", "")
    for odd in ({}, {"folds": [1]}, {"folds": {"train": 5}}, {"folds": {"train": [["chrA", 1]]}}):
        assert fold_of(replace(CARD, provenance=odd), [Locus("chrA", 1, 2)]) == ""


# --- What a site knows -----------------------------------------------------------------------------------------------


def computed(site: Site, *variants: Variant, model: str = "random", assembly: str = "tiny") -> dict[str, Any]:
    return effects.compute(
        site, effect_question(site, EffectRequest(model, assembly, [str(variant) for variant in variants]))
    )


def warning_of(found: dict[str, Any], code: str) -> dict[str, Any] | None:
    return next((warning for warning in found["warnings"] if warning["code"] == code), None)


def test_lower_case_is_a_repeat_where_there_is_no_list(site: Site) -> None:
    genome = site.reference("tiny").genome
    assert genome.masked_fraction(Locus("chrA", 450, 550)) == 0.5
    assert (genome.masked_fraction(Locus("chrA", -100, 500)), genome.masked_fraction(Locus("chrA", -100, -50))) == (
        0.0,
        0.0,
    )
    inside = warning_of(computed(site, snv(site, "chrA", 601)), "repeat")
    assert inside
    assert inside["evidence"] == {"hit": True, "share": pytest.approx(350 / 501, abs=0.01), "names": []}
    assert warning_of(computed(site, snv(site, "chrA", 5_001)), "repeat") is None


def with_files(site: Site, **files: Path) -> Site:
    settings = site.settings.model_dump(mode="json", exclude_defaults=True)
    settings["assemblies"]["tiny"] |= {name: str(path) for name, path in files.items()}
    (site.path / "trackserver.toml").write_text(tomli_w.dumps(settings))
    return site.reopen()


def test_lists_of_repeats_and_of_a_blacklist(site: Site, tmp_path: Path) -> None:
    (tmp_path / "repeats.bed").write_text("chrA\t20000\t20020\tAluY\nchrA\t20100\t20200\tL1\n")
    (tmp_path / "black.bed").write_text("chrA\t30000\t31000\tHigh Signal Region\n")
    site = with_files(site, repeats=tmp_path / "repeats.bed", blacklist=tmp_path / "black.bed")
    repeat = warning_of(computed(site, snv(site, "chrA", 20_011)), "repeat")
    assert repeat
    assert repeat["evidence"] == {"hit": True, "share": pytest.approx(120 / 501, abs=1e-3), "names": ["AluY", "L1"]}
    assert warning_of(computed(site, snv(site, "chrA", 601)), "repeat") is None  # the list counts, not the lower case
    black = warning_of(computed(site, snv(site, "chrA", 30_001)), "blacklist")
    near = warning_of(computed(site, snv(site, "chrA", 29_951)), "blacklist")
    assert black
    assert near
    assert (black["severity"], near["severity"]) == ("warning", "caution")
    assert warning_of(computed(site, snv(site, "chrA", 25_001)), "blacklist") is None


def test_an_insertion_lies_in_a_repeat_where_a_base_beside_it_does(site: Site) -> None:
    genome = site.reference("tiny").genome
    for position, hit in ((900, True), (901, False)):
        base = decode(genome.codes(Locus("chrA", position - 1, position)))
        after = decode(genome.codes(Locus("chrA", position, position + 1)))
        new = next(letter for letter in "ACGT" if letter not in (base, after))
        found = warning_of(computed(site, Variant("chrA", position, base, base + new)), "repeat")
        assert (found is not None and found["evidence"]["hit"]) is hit


def test_a_window_that_reaches_beyond_the_end(site: Site) -> None:
    found = warning_of(computed(site, snv(site, "chrA", 11)), "chromosome_end")
    assert found
    assert found["severity"] == "caution"
    assert found["evidence"]["beyond"] == pytest.approx(4096, abs=300)
    assert warning_of(computed(site, snv(site, "chrA", 11)), "unknown_sequence") is None


def test_the_fold_of_a_model_that_was_trained_here(site: Site) -> None:
    path = site.models / "random" / "card.json"
    folds = {"train": [["chrA", 20_000, 21_000]], "test": [["chrA", 22_000, 23_000]]}
    write_card(replace(read_card(path), provenance={"folds": folds}), path)
    assert warning_of(computed(site, snv(site, "chrA", 20_011)), "training_fold")
    assert warning_of(computed(site, snv(site, "chrA", 22_011)), "training_fold") is None


def test_another_models_kept_effect_is_held_against_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights under another name, and a stored effect of theirs whose signs were turned around."""
    install_random_model(site.models / "second")
    (site.models / "damaged").mkdir()
    (site.models / "damaged" / "card.json").write_text("{}")  # none of this one's
    monkeypatch.setattr(warnings_module, "MIN_CHANGE", 1e-6)  # random weights hardly tell variants apart
    variant = snv(site, "chrB", 10_000)
    question = effect_question(site, EffectRequest("random", "tiny", [str(variant)]))
    effects.compute(site, question)
    stored = site.effects / question.id / "effect.json"
    as_computed, second = stored.read_text(), effect_question(site, EffectRequest("second", "tiny", [str(variant)]))
    assert warning_of(effects.compute(site, second), "models_disagree") is None
    turned = json.loads(as_computed)
    for track in turned["tracks"]:
        track["log2fc"] = -1.0 if track["log2fc"] > 0 else 1.0
    stored.write_text(json.dumps(turned))
    shutil.rmtree(site.effects / second.id)
    found = warning_of(effects.compute(site, second), "models_disagree")
    assert found
    assert {row["effect"] for row in found["evidence"]["tracks"]} == {question.id}
    assert 0 in {row["index"] for row in found["evidence"]["tracks"]}
