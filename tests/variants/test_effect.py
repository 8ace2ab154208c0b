from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.tolerance import FLOAT64, assert_close
from trackserver.catalogue.site import Site
from trackserver.cone.cone import Cones
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.effects.tilesets import open_effect_tileset
from trackserver.errors import (
    BadVariant,
    InvalidRequest,
    NoSequence,
    ReferenceMismatch,
    SiteReadOnly,
    UnknownChromosome,
    UnknownModel,
    UnknownTileset,
    UnknownTrack,
)
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode
from trackserver.genome.variant import Variant, haplotype
from trackserver.models.compact import margin, read_config
from trackserver.predict.engine import load_predictor
from trackserver.predict.ensemble import Ensemble, EnsembleOptions
from trackserver.sweep.plan import Plan
from trackserver.sweep.run import predict_chunks
from trackserver.tiles.tileset import TileId
from trackserver.tiles.wire import decode_dense
from trackserver.variants.effect import GRID_STEPS, check_known, effect, input_window, output_bins, window_around
from trackserver.variants.warnings import signed_sizes


def snv(site: Site, chrom: str, position: int) -> Variant:
    ref = decode(site.reference("tiny").genome.codes(Locus(chrom, position - 1, position)))
    return Variant(chrom, position, ref, "A" if ref != "A" else "C")


def test_ref_is_the_genome_wide_track_and_alt_is_not(shared_site: Site) -> None:
    """An effect's bins lie on the genome-wide grid, so REF equals the swept track."""
    predictor = load_predictor(shared_site.models, "random")
    genome, assembly = shared_site.reference("tiny").genome, shared_site.assembly("tiny")
    found = effect(predictor, genome, assembly, [snv(shared_site, "chrA", 20_011)])
    ((_, swept),) = predict_chunks(predictor, genome, Plan(predictor.card, assembly, (found.locus,)), [0])
    assert_close(found.ref, swept, predictor.module)
    assert np.abs(found.delta).max() > 0
    assert found.delta.dtype == np.float32


def test_where_the_change_cannot_reach_delta_is_exactly_zero(shared_site: Site) -> None:
    predictor = load_predictor(shared_site.models, "random")
    variant = snv(shared_site, "chrA", 20_011)
    found = effect(predictor, shared_site.reference("tiny").genome, shared_site.assembly("tiny"), [variant])
    reach = margin(read_config(predictor.card.config)) + 32
    starts = found.locus.start + 32 * np.arange(found.delta.shape[1])
    outside = (starts + 32 <= variant.start - reach) | (starts > variant.start + reach)
    assert outside.sum() > 50
    assert (found.delta[:, outside] == 0).all()


def test_swapping_the_alleles_turns_delta_around(shared_site: Site) -> None:
    """ALT of a variant is REF of its inverse: the same arithmetic on the same sequences."""
    predictor = load_predictor(shared_site.models, "random")
    variant = snv(shared_site, "chrA", 20_011)
    genome, assembly = shared_site.reference("tiny").genome, shared_site.assembly("tiny")
    found = effect(predictor, genome, assembly, [variant])
    window = input_window(predictor.card, [variant], assembly)
    changed = variant.apply(genome.codes(window), window)
    back = predictor.predict(np.stack([changed, variant.swapped.apply(changed, window)]))
    _, bins = output_bins(predictor.card, window, assembly)
    np.testing.assert_array_equal(back[1][:, bins] - back[0][:, bins], -found.delta)


@pytest.mark.parametrize(("chrom", "position"), [("chrA", 1), ("chrA", 70_000), ("chrC", 12_345), ("chrB", 3_001)])
def test_at_the_ends_of_chromosomes(shared_site: Site, chrom: str, position: int) -> None:
    predictor = load_predictor(shared_site.models, "random")
    found = effect(
        predictor,
        shared_site.reference("tiny").genome,
        shared_site.assembly("tiny"),
        [snv(shared_site, chrom, position)],
    )
    size = shared_site.assembly("tiny").chromsizes[chrom]
    assert 0 <= found.locus.start < position <= found.locus.end <= size
    assert found.ref.shape[1] == -(-len(found.locus) // 32)
    assert np.isfinite(found.delta).all()


def test_several_variants_are_one_haplotype(shared_site: Site) -> None:
    predictor = load_predictor(shared_site.models, "random")
    genome, assembly = shared_site.reference("tiny").genome, shared_site.assembly("tiny")
    pair = [snv(shared_site, "chrA", 20_011), snv(shared_site, "chrA", 20_500)]
    both = effect(predictor, genome, assembly, pair)
    window = input_window(predictor.card, pair, assembly)
    codes = genome.codes(window)
    for variant in pair:
        codes = variant.apply(codes, window)
    alone = predictor.predict(np.stack([genome.codes(window), codes]))[1]
    _, bins = output_bins(predictor.card, window, assembly)
    np.testing.assert_array_equal(both.alt, alone[:, bins])


def read_from(site: Site, chrom: str, position: int, length: int) -> str:
    return decode(site.reference("tiny").genome.codes(Locus(chrom, position - 1, position - 1 + length)))


@pytest.mark.parametrize("position", [1, 33, 4096, 20_011, 69_000, 70_000])
@pytest.mark.parametrize("ensemble", [Ensemble(), Ensemble(both_strands=True, shifts=(-3, 0))])
def test_what_a_change_can_reach_is_all_it_changes(shared_site: Site, position: int, ensemble: Ensemble) -> None:
    """From the reference's kept activations or by two full predictions: the same, up to float32's rounding."""
    predictor = load_predictor(shared_site.models, "random", ensemble=ensemble)
    genome, assembly = shared_site.reference("tiny").genome, shared_site.assembly("tiny")
    variants = [snv(shared_site, "chrA", position)]
    in_full = effect(predictor, genome, assembly, variants)
    found = effect(predictor, genome, assembly, variants, Cones(1 << 28))
    scale = np.abs(in_full.ref).max()
    for name in ("ref", "delta"):
        assert_close(getattr(found, name), getattr(in_full, name), predictor.module, scale=scale)
    assert (found.delta[in_full.delta == 0] == 0).mean() > 0.99


@pytest.mark.parametrize("length_change", [0, -3])
@pytest.mark.parametrize("cones", [None, Cones(1 << 28)])
def test_strands_and_shifts_are_known_one_by_one(shared_site: Site, length_change: int, cones: Cones | None) -> None:
    predictor = load_predictor(shared_site.models, "random", ensemble=Ensemble(both_strands=True, shifts=(-3, 0)))
    genome, assembly = shared_site.reference("tiny").genome, shared_site.assembly("tiny")
    text = read_from(shared_site, "chrA", 20_011, 1 - length_change)
    variant = Variant("chrA", 20_011, text, text[0]) if length_change else snv(shared_site, "chrA", 20_011)
    found = effect(predictor, genome, assembly, [variant], cones)
    assert len(found.members) == 4
    for name in ("ref", "alt"):
        mean = np.mean([getattr(member, name) for member in found.members], axis=0)
        assert_close(mean, getattr(found, name), predictor.module)
    assert np.std([signed_sizes(member) for member in found.members], axis=0).max() > 0
    alone = load_predictor(shared_site.models, "random", ensemble=Ensemble(shifts=(-3,)))
    first = effect(alone, genome, assembly, [variant])
    assert_close(found.members[0].delta, first.delta, predictor.module, scale=np.abs(found.ref).max())
    assert first.members == ()


def test_neighbours_share_a_window(shared_site: Site) -> None:
    card, assembly = load_predictor(shared_site.models, "random").card, shared_site.assembly("tiny")
    windows = {input_window(card, [snv(shared_site, "chrA", p)], assembly) for p in range(20_000, 20_400)}
    step = card.n_bins(card.window) // GRID_STEPS * card.bin_width
    assert len(windows) <= 1 + -(-400 // step) < 4
    for position in range(20_000, 20_400):
        window = window_around(card, "chrA", position, assembly)
        assert abs(position - (window.start + window.end) // 2) <= step
        assert (window.start + card.crop) % card.bin_width == 0


@pytest.mark.parametrize(("ref", "alt"), [(1, 4), (6, 1), (3, 3), (2, 5), (1, 201), (401, 1)])
def test_an_indel_is_read_with_either_side_in_place(shared_site: Site, ref: int, alt: int) -> None:
    predictor = load_predictor(shared_site.models, "random")
    genome, assembly = shared_site.reference("tiny").genome, shared_site.assembly("tiny")
    text = read_from(shared_site, "chrA", 20_011, ref)
    variant = Variant("chrA", 20_011, text, text[0] + "ACGT" * (alt // 4) if alt > ref else text[0] + "TTT"[: alt - 1])
    found = effect(predictor, genome, assembly, [variant])
    window = input_window(predictor.card, [variant], assembly)
    _, bins = output_bins(predictor.card, window, assembly)
    anchors = ("left", "right") if variant.length_change else ("left",)
    codes = [haplotype(genome, window, [variant], anchor) for anchor in anchors]
    expected = [values[:, bins] for values in predictor.predict(np.stack([genome.codes(window), *codes]))]
    np.testing.assert_array_equal(found.ref, expected[0])
    for got, alone in zip(found.alignments, expected[1:], strict=True):
        np.testing.assert_array_equal(got, alone)
    first = (variant.change.start - found.origin) // 32
    last = (max(variant.change.end - 1, variant.change.start) - found.origin) // 32
    np.testing.assert_array_equal(found.alt[:, :first], found.alignments[0][:, :first])
    np.testing.assert_array_equal(found.alt[:, last + 1 :], found.alignments[-1][:, last + 1 :])
    reach = margin(read_config(predictor.card.config)) // 32 + 2
    assert not found.delta[:, : first - reach].any()
    assert not found.delta[:, last + 1 + reach :].any()  # what follows an indel is as it was
    assert np.abs(found.delta).max() > 0


def test_scores_of_an_indel_are_the_mean_of_those_of_its_alignments(shared_site: Site) -> None:
    predictor = load_predictor(shared_site.models, "random")
    text = read_from(shared_site, "chrA", 20_011, 7)
    variant = Variant("chrA", 20_011, text, text[0])
    found = effect(predictor, shared_site.reference("tiny").genome, shared_site.assembly("tiny"), [variant])
    scored = found.scores
    ref = found.ref.astype(np.float64)
    by_hand = [np.sqrt(((alt - ref) ** 2).sum(axis=1)) for alt in found.alignments]
    assert_close(scored["d2"], np.mean(by_hand, axis=0), ref.shape[1], roundoff=FLOAT64)
    changes = np.mean([(alt - ref).sum(axis=1) for alt in found.alignments], axis=0)
    assert_close(scored["sad"], changes, ref.shape[1], scale=ref.sum(1).max(), roundoff=FLOAT64)


@pytest.mark.parametrize("position", [1, 37, 4096, 20_011, 65_000, 69_999, 70_000])
def test_placed_as_the_published_tools_do(shared_site: Site, position: int) -> None:
    """At 0-based L / 2 - 1; the bins that are shown lie where the window's bins do, on the chromosome."""
    assembly = shared_site.assembly("tiny")
    card = replace(load_predictor(shared_site.models, "random").card, placement="centre")
    window = input_window(card, [snv(shared_site, "chrA", position)], assembly)
    assert position - 1 - window.start == card.window // 2 - 1
    locus, bins = output_bins(card, window, assembly)
    origin = window.start + card.crop + bins.start * 32
    assert origin <= locus.start == max(origin, 0) < origin + 32
    assert locus.end == min(70_000, window.end - card.crop)
    assert -(-(locus.end - origin) // 32) == bins.stop - bins.start

    one_value = replace(card, window=1000, crop=400, bin_width=200, shortest=None)
    window = input_window(one_value, [snv(shared_site, "chrA", position)], assembly)
    assert position - 1 - window.start == 499
    locus, bins = output_bins(one_value, window, assembly)
    assert bins == slice(0, 1)
    assert locus == Locus("chrA", max(position - 100, 0), min(position + 100, 70_000))


def test_an_effect_is_stored_once_and_served_as_tiles(site: Site) -> None:
    variant = snv(site, "chrB", 10_000)
    question = effect_question(site, EffectRequest("random", "tiny", [str(variant)]))
    found = effects.compute(site, question)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert effects.compute(site, question)["provenance"]["date"] == found["provenance"]["date"]
    assert [path.name for path in site.effects.iterdir()] == [question.id]

    ranks = [abs(track["log2fc"]) for track in found["tracks"]]
    assert ranks == sorted(ranks, reverse=True)
    strongest = found["tracks"][0]
    tiles = {}
    for allele, uid in strongest["tilesets"].items():
        tileset = open_effect_tileset(site, uid)
        zoom = tileset.info()["max_zoom"]
        x = site.assembly("tiny").absolute("chrB", strongest["at"]["start"]) // 1024
        tiles[allele] = decode_dense(tileset.tile(TileId(uid, zoom, x)))
    at = site.assembly("tiny").absolute("chrB", strongest["at"]["start"]) % 1024
    assert tiles["delta"][at] == np.float32(strongest["delta"])
    assert (tiles["ref"][at], tiles["alt"][at]) == (np.float32(strongest["ref"]), np.float32(strongest["alt"]))
    np.testing.assert_array_equal(tiles["delta"], tiles["alt"] - tiles["ref"])


def test_the_id_is_the_whole_question(site: Site) -> None:
    variant, other = snv(site, "chrB", 10_000), snv(site, "chrB", 10_001)
    question = effect_question(site, EffectRequest("random", "tiny", [str(variant)]))
    assert (
        effect_question(site, EffectRequest("random", "tiny", [f"B-10000-{variant.ref}-{variant.alt}"])).id
        == question.id
    )
    ids = {
        question.id,
        effect_question(site, EffectRequest("random", "tiny", [str(other)])).id,
        effect_question(site, EffectRequest("random", "tiny", [str(variant), str(other)])).id,
        effect_question(site, EffectRequest("random", "tiny", [str(variant)], "0")).id,
        effect_question(
            site, EffectRequest("random", "tiny", [str(variant)], ensemble=EnsembleOptions(ensemble=("rc",)))
        ).id,
        effect_question(
            site, EffectRequest("random", "tiny", [str(variant)], ensemble=EnsembleOptions(shifts=(0, 1)))
        ).id,
    }
    assert len(ids) == 6
    assert effect_question(site, EffectRequest("random", "tiny", [str(other), str(variant)])).id in ids


@pytest.mark.parametrize(
    ("variants", "error", "why"),
    [
        (["chrB:100:A:C"], NoSequence, "has N at chrB:100"),
        (["chrZ:100:A:C"], UnknownChromosome, "chrA, chrB, chrC"),
        (["chrA:70001:A:C"], BadVariant, "ends at 70,000"),
        (["chrA:20011"], BadVariant, "is not a variant"),
        ([], BadVariant, "at least one variant"),
    ],
)
def test_questions_that_cannot_be_answered(
    shared_site: Site, variants: list[str], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        effect_question(shared_site, EffectRequest("random", "tiny", variants))


def test_a_reference_that_is_not_read_there(shared_site: Site) -> None:
    variant = snv(shared_site, "chrA", 20_011)
    with pytest.raises(ReferenceMismatch, match=f"tiny has {variant.ref} there.*did you mean {variant}"):
        effect_question(shared_site, EffectRequest("random", "tiny", [str(variant.swapped)]))


def test_unknown_sequence_is_refused_where_it_is_nearly_all_and_said_where_it_is_some(site: Site) -> None:
    """ChrB begins with 3 kb of N, and a window around its start reaches 1 kb beyond the chromosome."""
    found = effects.compute(
        site, effect_question(site, EffectRequest("random", "tiny", [str(snv(site, "chrB", 3_001))]))
    )
    warning, beyond = found["warnings"]
    assert (warning["code"], warning["severity"]) == ("unknown_sequence", "caution")
    assert (beyond["code"], beyond["severity"]) == ("chromosome_end", "note")
    assert warning["evidence"]["unknown"] == pytest.approx(4120 / 8192, abs=0.02)
    codes = np.full(8192, 4, np.uint8)
    codes[:2000] = 1
    with pytest.raises(NoSequence, match="76% of the model's window chrB:1-7,072 of tiny is N"):
        check_known(codes, Locus("chrB", -1120, 7072), site.assembly("tiny"))


def test_unknown_model_track_and_far_apart_variants(shared_site: Site) -> None:
    variant = snv(shared_site, "chrA", 20_011)
    with pytest.raises(UnknownModel, match="installed: random"):
        effect_question(shared_site, EffectRequest("enformer", "tiny", [str(variant)]))
    with pytest.raises(UnknownTrack):
        effect_question(shared_site, EffectRequest("random", "tiny", [str(variant)], "99"))
    with pytest.raises(BadVariant, match="too far apart"):
        effect_question(
            shared_site, EffectRequest("random", "tiny", [str(variant), str(snv(shared_site, "chrA", 40_000))])
        )
    with pytest.raises(BadVariant, match="same base"):
        effect_question(shared_site, EffectRequest("random", "tiny", [str(variant), str(variant)]))


def test_a_damaged_effect_and_unknown_uids(site: Site) -> None:
    question = effect_question(site, EffectRequest("random", "tiny", [str(snv(site, "chrB", 10_000))]))
    uid = effects.compute(site, question)["tracks"][0]["tilesets"]["delta"]
    for unknown in ("fx-", f"fx-{'0' * 20}-0-ref", uid.replace("-delta", "-gamma"), uid[:-7] + "9-delta"):
        with pytest.raises(UnknownTileset):
            open_effect_tileset(site, unknown)
    (site.effects / question.id / "alt.npy").write_bytes(b"x")
    with pytest.raises(InvalidRequest, match="damaged"):
        open_effect_tileset(site, uid)


def test_where_effects_cannot_be_written(site: Site) -> None:
    question = effect_question(site, EffectRequest("random", "tiny", [str(snv(site, "chrB", 10_000))]))
    site.effects.rmdir()
    site.effects.write_text("in the way")
    with pytest.raises(SiteReadOnly, match="cannot be stored"):
        effects.compute(site, question)
