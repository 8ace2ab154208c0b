import { whole } from './format.js';

/**
 * An assembly as the server lists it. Inside, places are 0-based half-open on the axis of all chromosomes laid end to
 * end; people read and type 1-based inclusive ones.
 *
 * @typedef {{name: string, length: number, chromsizes: [string, number][], chromsizes_uid: string, genes_uid: string | null, has_sequence: boolean}} Assembly
 * @typedef {{chrom: string, start: number, end: number}} Locus
 */

/** @param {Assembly} assembly @returns {{chrom: string, offset: number, length: number}[]} */
export function chromosomes(assembly) {
  let offset = 0;
  return assembly.chromsizes.map(([chrom, length]) => {
    const entry = { chrom, offset, length };
    offset += length;
    return entry;
  });
}

/** @param {Assembly} assembly @param {string} chrom @returns {number | null} */
export function offsetOf(assembly, chrom) {
  return chromosomes(assembly).find((entry) => entry.chrom === chrom)?.offset ?? null;
}

/** @param {Assembly} assembly @param {Locus} locus @returns {[number, number] | null} */
export function toDomain(assembly, locus) {
  const offset = offsetOf(assembly, locus.chrom);
  return offset === null ? null : [offset + locus.start, offset + locus.end];
}

/** The chromosome and the 0-based position of a place; beyond an end, the nearest. @param {Assembly} assembly @param {number} place */
export function at(assembly, place) {
  const all = chromosomes(assembly);
  const found = all.findLast((entry) => entry.offset <= place) ?? all[0];
  return { chrom: found.chrom, position: Math.min(Math.max(place - found.offset, 0), found.length - 1) };
}

/**
 * The place as people write it, "chr1:1,001-2,000", or with both chromosomes where it spans several.
 *
 * @param {Assembly} assembly
 * @param {[number, number]} domain
 * @param {(value: number) => string} [digits]
 */
export function locusText(assembly, [from, to], digits = whole) {
  const a = at(assembly, Math.max(0, Math.round(from)));
  const b = at(assembly, Math.max(0, Math.round(to) - 1));
  const [start, end] = [digits(a.position + 1), digits(b.position + 1)];
  return a.chrom === b.chrom ? `${a.chrom}:${start}-${end}` : `${a.chrom}:${start}-${b.chrom}:${end}`;
}

/** What is in view, a locus for each chromosome. @param {Assembly} assembly @param {[number, number]} domain @returns {Locus[]} */
export function lociIn(assembly, [from, to]) {
  return chromosomes(assembly)
    .map(({ chrom, offset, length }) => ({ chrom, start: Math.max(0, Math.round(from) - offset), end: Math.min(length, Math.round(to) - offset) }))
    .filter(({ start, end }) => end > start);
}

/** A locus as the server reads it. @param {Locus} locus */
export const plainLocus = ({ chrom, start, end }) => `${chrom}:${start + 1}-${end}`;

/** What `locusText` writes, read back. @param {Assembly} assembly @param {string} text @returns {[number, number] | null} */
export function parseLocus(assembly, text) {
  const parts = /^([^:\s]+):([\d,]+)-(?:([^:\s]+):)?([\d,]+)$/.exec(text.trim());
  if (!parts) return null;
  const from = offsetOf(assembly, parts[1]);
  const to = offsetOf(assembly, parts[3] ?? parts[1]);
  if (from === null || to === null) return null;
  const plain = (/** @type {string} */ value) => Number(value.replaceAll(',', ''));
  const domain = /** @type {[number, number]} */ ([from + plain(parts[2]) - 1, to + plain(parts[4])]);
  return domain[1] > domain[0] ? domain : null;
}

/** @param {{chrom: string, position: number, ref: string, alt: string}} variant */
export const variantText = (variant) => `${variant.chrom}:${whole(variant.position)} ${short(variant.ref)}>${short(variant.alt)}`;

/** Long alleles are told by their length. @param {string} allele */
const short = (allele) => (allele.length > 8 ? `${allele.slice(0, 5)}…(${allele.length})` : allele || '–');
