"""Questions as people write them: names, other assemblies, several on one haplotype."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import CHROMSIZES
from tests.tolerance import assert_close
from trackserver.catalogue.read_variants import haplotype_parts
from trackserver.catalogue.search import search
from trackserver.catalogue.site import Site
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.errors import BadVariant, InvalidRequest, UnknownRsid
from trackserver.genome.locus import Locus
from trackserver.genome.rsids import index_rsids
from trackserver.genome.sequence import decode
from trackserver.genome.variant import Variant
from trackserver.predict.engine import load_predictor


def read_from(site: Site, position: int, length: int = 1) -> str:
    return decode(site.reference("tiny").genome.codes(Locus("chrA", position - 1, position - 1 + length)))


def snv(site: Site, position: int) -> Variant:
    ref = read_from(site, position)
    return Variant("chrA", position, ref, "A" if ref != "A" else "C")


def test_every_spelling_of_an_indel_is_one_question(site: Site) -> None:
    text = read_from(site, 20_001, 40)
    at = next(i for i in range(1, 30) if text[i] == text[i + 1])  # one of two equal bases is deleted: either
    one = f"chrA:{20_001 + at - 1}:{text[at - 1 : at + 1]}:{text[at - 1]}"
    other = f"chrA:{20_001 + at}:{text[at : at + 2]}:{text[at + 1]}"
    question = effect_question(site, EffectRequest("random", "tiny", [one]))
    assert effect_question(site, EffectRequest("random", "tiny", [other])).id == question.id
    found = effects.compute(site, question)
    assert found["variants"][0]["kind"] == "deletion"
    assert found["tracks"][0]["max_abs_delta"] > 0


def test_full_is_another_question_with_the_same_answer(site: Site) -> None:
    variant = str(snv(site, 20_011))
    quick, full = (
        effect_question(site, EffectRequest("random", "tiny", [variant], full=full)) for full in (False, True)
    )
    assert quick.id != full.id
    one, other = (effects.compute(site, question) for question in (quick, full))
    module = load_predictor(site.models, "random").module
    for track, same in zip(one["tracks"], other["tracks"], strict=True):
        assert_close(track["delta"], same["delta"], module, scale=track["max_value"])


def test_an_rsid_is_what_the_sites_table_says(site: Site, tmp_path: Path) -> None:
    variant = snv(site, 20_011)
    with pytest.raises(InvalidRequest, match="no table of rsIDs for tiny"):
        effect_question(site, EffectRequest("random", "tiny", ["rs42"]))
    vcf = tmp_path / "known.vcf"
    lines = [
        f"chrA\t20011\trs42\t{variant.ref}\t{variant.alt}",
        f"chrA\t20020\trs43\t{read_from(site, 20_020)}\tA,C,G,T",
    ]
    vcf.write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + "".join(
        f"{line}\t.\t.\t.\n" for line in lines
    ))  # fmt: skip
    site.reference("tiny").rsid_table.parent.mkdir()
    index_rsids(vcf, site.reference("tiny").rsid_table, site.assembly("tiny"))
    assert (
        effect_question(site, EffectRequest("random", "tiny", ["rs42"])).id
        == effect_question(site, EffectRequest("random", "tiny", [str(variant)])).id
    )
    assert search(site, "rs42", "tiny")["variants"][0]["text"] == str(variant)
    with pytest.raises(UnknownRsid):
        effect_question(site, EffectRequest("random", "tiny", ["rs44"]))
    with pytest.raises(BadVariant, match="several alleles"):
        effect_question(site, EffectRequest("random", "tiny", ["rs43"]))


def test_a_variant_of_another_assembly_is_lifted_and_it_is_said(site: Site, tmp_path: Path) -> None:
    """The old assembly lacks the first 1,000 bases of chrA."""
    size = CHROMSIZES["chrA"]
    chain = f"chain 1 chrA {size - 1000} + 0 {size - 1000} chrA {size} + 1000 {size} 1\n{size - 1000}\n\n"
    (site.path / "old.chain").write_text(chain)
    (site.path / "old.sizes").write_text(f"chrA\t{size - 1000}\n")
    settings = site.path / "trackserver.toml"
    text = settings.read_text().replace(
        "[assemblies.tiny]",
        '[assemblies.old]\nchromsizes = "old.sizes"\n\n[assemblies.tiny]\nchains = { old = "old.chain" }',
    )
    settings.write_text(text)
    site = Site(site.path)
    variant = snv(site, 20_011)
    old = replace(variant, position=19_011)
    question = effect_question(site, EffectRequest("random", "tiny", [str(old)], lift_from="old"))
    assert question.id == effect_question(site, EffectRequest("random", "tiny", [str(variant)])).id
    (sentence,) = effects.compute(site, question)["lifted"]
    assert "19,011" in sentence or "19011" in sentence
    assert "old" in sentence
    assert effects.compute(site, effect_question(site, EffectRequest("random", "tiny", [str(variant)])))["lifted"] == []
    with pytest.raises(InvalidRequest, match="no chain file from hg19 to tiny"):
        effect_question(site, EffectRequest("random", "tiny", [str(variant)], lift_from="hg19"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("chr1:5:A:T", ["chr1:5:A:T"]),
        ("chr1:5:A:T + rs7", ["chr1:5:A:T", "rs7"]),
        ("rs7", ["rs7"]),
        ("TAL1", []),
        ("chr1:1-5", []),
        ("HLA+A", []),
    ],
)
def test_what_is_a_haplotype(text: str, parts: list[str]) -> None:
    assert haplotype_parts(text) == parts


def test_a_haplotype_is_found_and_shown_whole(site: Site) -> None:
    pair = [snv(site, 20_011), snv(site, 20_500)]
    found = search(site, " + ".join(map(str, pair)), "tiny")
    assert [variant["text"] for variant in found["variants"]] == [str(variant) for variant in pair]
    assert found["start"] < 20_010 < 20_500 < found["end"]
