"""Citations of ENCODE data: the Consortium's papers, the producing laboratories and the accessions."""

from __future__ import annotations

from collections.abc import Iterable

from trackserver.catalogue.store import TilesetRecord

HOME = "https://www.encodeproject.org"
PAPERS = (
    "The ENCODE Project Consortium et al. Expanded encyclopaedias of DNA elements in the human and mouse genomes. "
    "Nature 583, 699-710 (2020). https://doi.org/10.1038/s41586-020-2493-4",
    "Luo Y. et al. New developments on the Encyclopedia of DNA Elements (ENCODE) data portal. "
    "Nucleic Acids Research 48, D882-D889 (2020). https://doi.org/10.1093/nar/gkz1062",
)


def encode_tracks(records: Iterable[TilesetRecord]) -> list[TilesetRecord]:
    """The tilesets that came from ENCODE, in order."""
    return [record for record in records if "encode" in record.provenance]


def cite_track(record: TilesetRecord) -> str:
    """Cite an ENCODE file in one line: accession, assay and sample, experiment, and laboratory."""
    encode = record.provenance["encode"]
    sample = " ".join(filter(None, [encode["assay_title"], encode["target"], encode["biosample"]]))
    signal = f"{sample} ({encode['output_type']}, {encode['assembly']})" if sample else encode["output_type"]
    facts = [record.accession, signal]
    facts += [f"experiment {encode['experiment']}"] if encode["experiment"] else []
    facts += [f"produced by {encode['lab']}"] if encode["lab"] else []
    return "; ".join(facts)


def cite(records: Iterable[TilesetRecord]) -> str:
    """Write the text to publish with tracks; empty if none of them came from ENCODE."""
    tracks = encode_tracks(records)
    if not tracks:
        return ""
    labs = dict.fromkeys(track.provenance["encode"]["lab"] for track in tracks)
    producers = "; ".join(filter(None, labs))
    return "\n".join([
        f"Data: the ENCODE Consortium ({HOME}).",
        *(f"- {cite_track(track)}" for track in tracks),
        "",
        "We thank the ENCODE Consortium" + (f" and the laboratories that produced these data: {producers}." if producers
                                            else "."),
        "",
        *PAPERS,
    ])  # fmt: skip
