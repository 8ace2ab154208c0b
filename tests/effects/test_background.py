from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.tolerance import assert_close
from tests.variants.test_effect import snv
from trackserver.catalogue.site import Site
from trackserver.cli import main
from trackserver.effects import background, effects
from trackserver.effects.background import DrawOptions, build
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.errors import DataError, InvalidRequest
from trackserver.genome.locus import Locus
from trackserver.genome.regions import whole_genome
from trackserver.genome.sequence import N, decode
from trackserver.models import registry
from trackserver.models.card import read_card, write_card
from trackserver.predict.ensemble import Ensemble
from trackserver.variants.effect import effect, input_window
from trackserver.variants.random_variants import RandomVariants, cell_of
from trackserver.variants.scores import Background, rank


def draw(
    site: Site, regions: list[Locus] | None = None, seed: int = 1, per_window: int = 4, **changes: str
) -> RandomVariants:
    assembly = site.assembly("tiny")
    card = replace(registry.card(site.models, "random"), **changes)  # type: ignore[arg-type]
    return RandomVariants(
        site.reference("tiny").genome, assembly, card, regions or whole_genome(assembly), seed, per_window
    )


# --- Drawing ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_in_any_order(shared_site: Site) -> None:
    one, other = draw(shared_site), draw(shared_site)
    forward = [one.variant(number) for number in range(40)]
    assert [other.variant(number) for number in reversed(range(40))] == forward[::-1]
    assert [draw(shared_site, seed=2).variant(number) for number in range(40)] != forward


def test_variants_are_substitutions_of_known_bases_that_share_windows(shared_site: Site) -> None:
    drawn, assembly, genome = draw(shared_site), shared_site.assembly("tiny"), shared_site.reference("tiny").genome
    for group in range(25):
        variants = [drawn.variant(4 * group + number) for number in range(4)]
        assert len(set(variants)) == 4
        assert len({input_window(drawn.card, [variant], assembly) for variant in variants}) == 1
        for variant in variants:
            assert decode(genome.codes(variant.locus)) == variant.ref != variant.alt
            assert len(variant.ref) == len(variant.alt) == 1
            assert variant.alt in "ACGT"


def test_a_cell_is_all_that_has_the_window(shared_site: Site) -> None:
    assembly, card = shared_site.assembly("tiny"), registry.card(shared_site.models, "random")
    for start in range(19_000, 21_000, 97):
        base = Locus("chrA", start, start + 1)
        cell = cell_of(card, base, 70_000)
        windows = [
            input_window(card, [replace(snv(shared_site, "chrA", 20_011), position=at + 1)], assembly)
            for at in (cell.start - 1, cell.start, start, cell.end - 1, cell.end)
        ]
        assert windows[1] == windows[2] == windows[3]
        assert windows[1] not in (windows[0], windows[4])


def test_uniform_over_the_known_bases_of_regions(shared_site: Site) -> None:
    """ChrB's first 3 kb are N: 200 bases of a region are known, of another 400, and each is drawn as often."""
    regions = [Locus("chrB", 2_800, 3_200), Locus("chrB", 20_000, 20_400)]
    drawn = draw(shared_site, regions, per_window=3)
    positions = [drawn.variant(number).start for number in range(6_000)]
    assert all(any(region.start <= position < region.end for region in regions) for position in positions)
    assert all(
        shared_site.reference("tiny").genome.codes(Locus("chrB", position, position + 1))[0] != N
        for position in positions[:50]
    )
    counts = Counter(position // 100 for position in positions)
    assert set(counts) == {30, 31, 200, 201, 202, 203}
    for count in counts.values():
        assert count == pytest.approx(1_000, abs=200)  # three of a window are drawn together: wider than one by one
    alts = Counter(drawn.variant(number).alt for number in range(2_000))
    assert min(alts.values()) > 400


def test_models_that_place_each_variant_have_none_that_share(shared_site: Site) -> None:
    drawn = draw(shared_site, placement="centre")
    assert drawn.per_window == 1
    chroms = {drawn.variant(number).chrom for number in range(60)}
    assert chroms == {"chrA", "chrB", "chrC"}


def test_where_nothing_is_known(shared_site: Site) -> None:
    with pytest.raises(InvalidRequest, match="Hardly any"):
        draw(shared_site, [Locus("chrB", 0, 1_000)]).variant(0)


# --- Computing -------------------------------------------------------------------------------------------------------


def arrays(site: Site) -> tuple[np.ndarray, np.ndarray]:
    (folder,) = (site.path / "backgrounds").iterdir()
    return np.load(folder / "sizes.npy"), np.load(folder / "activities.npy")


def test_rows_are_the_sorted_scores_of_its_variants(site: Site) -> None:
    description = build(site, "random", "tiny", DrawOptions(10, per_window=4))
    sizes, activities = arrays(site)
    assert (sizes.shape, sizes.dtype, description["n"], description["regions"]) == ((3, 10), np.float32, 10, None)
    from trackserver.predict.engine import load_predictor

    predictor, drawn = load_predictor(site.models, "random"), draw(site)
    reference = site.reference("tiny").genome, site.assembly("tiny")
    scored = [effect(predictor, *reference, [drawn.variant(number)]).scores for number in range(10)]
    for rows, name in ((sizes, "size"), (activities, "activity")):
        expected = np.sort([one[name] for one in scored], axis=0).T
        assert_close(rows, expected, predictor.module, scale=max(1, expected.max()))
    assert json.loads(json.dumps(description, allow_nan=False)) == description


def test_chunks_and_a_stop_change_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    build(site, "random", "tiny", DrawOptions(13, per_window=4))
    whole = arrays(site)
    monkeypatch.setattr(background, "CHUNK", 5)

    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise Stopped

    with pytest.raises(Stopped):
        build(site, "random", "tiny", DrawOptions(13, per_window=4), report=stop)
    np.testing.assert_array_equal(arrays(site)[0], whole[0])  # what was there before stays until another is whole
    seen: list[int] = []
    build(site, "random", "tiny", DrawOptions(13, per_window=4), resume=True, report=lambda done, _: seen.append(done))
    assert seen[:2] == [5, 6]
    for old, new in zip(whole, arrays(site), strict=True):
        np.testing.assert_array_equal(old, new)
    assert list((site.cache / "background").glob("[!.]*")) == []


def test_of_some_tracks_and_some_regions(site: Site) -> None:
    description = build(site, "random", "tiny", DrawOptions(4, regions=[Locus("chrA", 0, 50_000)]), selection="2")
    assert (description["tracks"], description["regions"]) == ([2], {"count": 1, "bases": 50_000})
    found = effects.compute(
        site, effect_question(site, EffectRequest("random", "tiny", [str(snv(site, "chrB", 10_000))]))
    )
    known = {track["index"]: track["effect_percentile"] for track in found["tracks"]}
    assert (known[0], known[1], known[2] is not None) == (None, None, True)
    with pytest.raises(InvalidRequest, match="not for hg38"):
        build(site, "random", "hg38", DrawOptions(2000))


# --- Percentiles -----------------------------------------------------------------------------------------------------


def test_percentiles_of_a_known_distribution() -> None:
    sizes = np.tile(np.arange(100, dtype=np.float32), (2, 1))
    background_of_two = Background((4, 7), sizes, sizes * 10)
    assert background_of_two.percentiles(7, 50.0, 50.0) == (50.0, 5.0)
    assert background_of_two.percentiles(4, -1.0, 1e6) == (0.0, 100.0)
    assert background_of_two.percentiles(4, 0.5, 995.0) == (1.0, 100.0)
    assert background_of_two.percentiles(5, 1.0, 1.0) is None
    with pytest.raises(DataError, match="as many rows"):
        Background((1,), sizes, sizes)


def test_ranks_say_percentiles_where_there_is_a_background(shared_site: Site) -> None:
    from trackserver.predict.engine import load_predictor

    predictor = load_predictor(shared_site.models, "random")
    found = effect(
        predictor, shared_site.reference("tiny").genome, shared_site.assembly("tiny"), [snv(shared_site, "chrB", 9000)]
    )
    none = rank(found)
    assert {(row.effect_percentile, row.activity_percentile) for row in none} == {(None, None)}
    zeros = np.zeros((3, 4), np.float32)
    shares = rank(found, Background((0, 1, 2), zeros, zeros + 1e9))
    assert {(row.effect_percentile, row.activity_percentile) for row in shares} == {(100.0, 0.0)}


def test_only_the_background_of_exactly_this_question_counts(site: Site) -> None:
    def percentiles(**options: object) -> set[bool]:
        question = effect_question(
            site,
            EffectRequest.from_fields(
                {"model": "random", "assembly": "tiny", "variants": [str(snv(site, "chrB", 10_000))], **options}
            ),
        )  # type: ignore[arg-type]
        effects.compute(site, question)
        found = effects.stored_effect(site, question.id) or pytest.fail("not stored")
        assert (found["provenance"]["background"] is not None) == (found["tracks"][0]["size"] is not None and all(
            track["effect_percentile"] is not None for track in found["tracks"]))  # fmt: skip
        return {track["effect_percentile"] is not None for track in found["tracks"]}

    assert percentiles() == {False}
    build(site, "random", "tiny", DrawOptions(4))
    assert percentiles() == {True}  # of an effect that was there before, too
    assert percentiles(ensemble=["rc"]) == {False}
    build(site, "random", "tiny", DrawOptions(4), ensemble=Ensemble(both_strands=True))
    assert percentiles(ensemble=["rc"]) == {True}
    path = site.models / "random" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    from trackserver.storage import sha256

    card = site.models / "random" / "card.json"
    write_card(replace(read_card(card), weights_sha256=sha256(path)), card)
    assert percentiles() == {False}


def test_a_background_that_was_made_anew_counts_at_once(site: Site) -> None:
    question = effect_question(site, EffectRequest("random", "tiny", [str(snv(site, "chrB", 10_000))]))
    effects.compute(site, question)
    for n in (3, 5):
        build(site, "random", "tiny", DrawOptions(n))
        found = effects.stored_effect(site, question.id) or pytest.fail("not stored")
        assert found["provenance"]["background"]["n"] == n
        sizes, _ = arrays(site)
        for track in found["tracks"]:
            share = 100 * float(np.mean(sizes[track["index"]] < np.float32(track["size"])))
            assert track["effect_percentile"] == pytest.approx(share)


def test_a_damaged_background_is_named(site: Site) -> None:
    build(site, "random", "tiny", DrawOptions(3))
    (folder,) = (site.path / "backgrounds").iterdir()
    (folder / "sizes.npy").write_bytes(b"x")
    question = effect_question(site, EffectRequest("random", "tiny", [str(snv(site, "chrB", 10_000))]))
    with pytest.raises(DataError, match="compute it again"):
        effects.compute(site, question)


def run(site: Site, *arguments: object) -> str:
    done = CliRunner().invoke(main, [*map(str, arguments), "--site", str(site.path)])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_verbs(site: Site, tmp_path: Path) -> None:
    assert "effects now have percentiles" in run(site, "background", "random", "--n", 5, "--per-window", 5)
    variant = snv(site, "chrA", 20_011)
    (tmp_path / "names.vcf").write_text(
        f"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\nchrA\t20011\trs7\t{variant.ref}\t{variant.alt}\n"
    )
    assert "1 rsIDs of tiny" in run(site, "rsids", tmp_path / "names.vcf")
    found = json.loads(run(site, "variant", "random", "rs7", "--json").split("\n}\n")[0] + "\n}")
    assert found["variants"][0]["text"] == str(variant)
    assert found["tracks"][0]["effect_percentile"] is not None
