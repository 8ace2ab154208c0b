"""How ENCODE's data are cited: the Consortium's papers, who produced the data, and each accession used."""

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
    """Those of the tilesets that are ENCODE's files, in order."""
    return [record for record in records if "encode" in record.provenance]


def citation(record: TilesetRecord) -> str:
    """One of ENCODE's files in a line: what it is, its accession, its experiment's, and who produced it."""
    said = record.provenance["encode"]
    what = " ".join(filter(None, [said["assay_title"], said["target"], said["biosample"]]))
    facts = [record.accession, f"{what} ({said['output_type']}, {said['assembly']})" if what else said["output_type"]]
    facts += [f"experiment {said['experiment']}"] if said["experiment"] else []
    facts += [f"produced by {said['lab']}"] if said["lab"] else []
    return "; ".join(facts)


def cite(records: Iterable[TilesetRecord]) -> str:
    """What to write where tracks of ENCODE are published, such as those of a view; empty where none is ENCODE's."""
    tracks = encode_tracks(records)
    if not tracks:
        return ""
    labs = dict.fromkeys(track.provenance["encode"]["lab"] for track in tracks)
    producers = "; ".join(filter(None, labs))
    return "\n".join([
        f"Data: the ENCODE Consortium ({HOME}).",
        *(f"- {citation(track)}" for track in tracks),
        "",
        "We thank the ENCODE Consortium" + (f" and the laboratories that produced these data: {producers}." if producers
                                            else "."),
        "",
        *PAPERS,
    ])  # fmt: skip
