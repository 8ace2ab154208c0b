import { ceilNice } from './format.js';

/**
 * What a row of the page shows. Rows are held in the viewconf and nowhere else: each can be written as an ordinary
 * HiGlass track and read back from it (viewconf.js).
 *
 * @typedef {{kind: 'genes', id: string, uid: string}} GenesRow
 * @typedef {{kind: 'sequence', id: string, uid: string}} SequenceRow  the letters of the reference
 * @typedef {{kind: 'signal', id: string, uid: string, role: 'predicted' | 'observed', title: string}} SignalRow
 * @typedef {{kind: 'pair', id: string, predicted: string, observed: string, title: string}} PairRow
 * @typedef {{kind: 'alleles', id: string, effect: string, track: number, title: string}} AllelesRow
 * @typedef {{kind: 'delta', id: string, effect: string, track: number, title: string, max: number}} DeltaRow
 * @typedef {{kind: 'logo' | 'map', id: string, mutagenesis: string, track: number, title: string, min: number, max: number}} BasesRow
 *   what each base does: the reference's letters as high as they are important, and the score of every base
 * @typedef {{kind: 'pending', id: string}} PendingRow  the place kept for an effect that is being computed
 * @typedef {{kind: 'other', id: string, track: any}} OtherRow  a track this page did not make, kept as it is
 * @typedef {GenesRow | SequenceRow | SignalRow | PairRow | AllelesRow | DeltaRow | BasesRow | PendingRow | OtherRow} Row
 * @typedef {Map<string, import('./api.js').Tileset>} Catalogue
 */

/** An effect's tileset uid tells which effect, which track of the model and which allele. */
const EFFECT_UID = /^fx-([0-9a-f]+)-(\d+)-(ref|alt|delta)$/;

/** @param {string} effect @param {number} track @param {'ref' | 'alt' | 'delta'} part */
export const effectUid = (effect, track, part) => `fx-${effect}-${track}-${part}`;

/** @param {string} uid @returns {{effect: string, track: number, part: string} | null} */
export function readEffectUid(uid) {
  const found = EFFECT_UID.exec(uid);
  return found && { effect: found[1], track: Number(found[2]), part: found[3] };
}

/** A mutagenesis' tileset uid tells which mutagenesis, which track of the model and what of it. */
const BASES_UID = /^ism-([0-9a-f]+)-(\d+)-(map|logo|importance)$/;

/** @param {string} mutagenesis @param {number} track @param {'map' | 'logo' | 'importance'} part */
export const basesUid = (mutagenesis, track, part) => `ism-${mutagenesis}-${track}-${part}`;

/** @param {string} uid @returns {{mutagenesis: string, track: number, part: string} | null} */
export function readBasesUid(uid) {
  const found = BASES_UID.exec(uid);
  return found && { mutagenesis: found[1], track: Number(found[2]), part: found[3] };
}

/** @param {string} uid @returns {GenesRow} */
export const genesRow = (uid) => ({ kind: 'genes', id: 'genes', uid });

/** @param {string} uid @returns {SequenceRow} */
export const sequenceRow = (uid) => ({ kind: 'sequence', id: 'sequence', uid });

/** @param {import('./api.js').Tileset} tileset @returns {SignalRow} */
export const signalRow = (tileset) => ({
  kind: 'signal', id: `signal-${tileset.uuid}`, uid: tileset.uuid, role: tileset.kind ?? 'observed', title: titleOf(tileset),
});

/** @param {import('./api.js').Tileset} a @param {import('./api.js').Tileset} b one predicted, one observed @returns {PairRow} */
export function pairRow(a, b) {
  const [predicted, observed] = a.kind === 'predicted' ? [a, b] : [b, a];
  return { kind: 'pair', id: `pair-${predicted.uuid}`, predicted: predicted.uuid, observed: observed.uuid, title: titleOf(predicted) };
}

/** @param {string} effect @param {import('./api.js').EffectTrack} track @param {number} max @returns {[AllelesRow, DeltaRow]} */
export function effectRows(effect, track, max) {
  const shared = { effect, track: track.index, title: titleOf(track) };
  return [
    { kind: 'alleles', id: `fx-${effect}-${track.index}-alleles`, ...shared },
    { kind: 'delta', id: `fx-${effect}-${track.index}-delta`, ...shared, max },
  ];
}

const SHALLOWEST = 0.2; // part of a logo's larger side that the other has at least

/** @param {import('./api.js').Mutagenesis} mutagenesis one track of it @returns {[BasesRow, BasesRow]} */
export function basesRows({ id, tracks: [track] }) {
  const shared = { mutagenesis: id, track: track.index, title: titleOf(track) };
  const heights = track.importance.map((value) => value ?? 0);
  const [deepest, tallest] = [-Math.min(0, ...heights), Math.max(0, ...heights)];
  // Either side has room for a letter that can be read as one.
  const least = SHALLOWEST * Math.max(deepest, tallest);
  const largest = ceilNice(Math.abs(track.strongest.score));
  return [
    { kind: 'logo', id: basesUid(id, track.index, 'logo'), ...shared, min: -ceilNice(Math.max(deepest, least)), max: ceilNice(Math.max(tallest, least)) },
    { kind: 'map', id: basesUid(id, track.index, 'map'), ...shared, min: -largest, max: largest },
  ];
}

/** @param {Row} row */
export const isBases = (row) => row.kind === 'logo' || row.kind === 'map';

/** @param {Row} row */
export const isEffect = (row) => row.kind === 'alleles' || row.kind === 'delta' || row.kind === 'pending' || isBases(row);

/** The tilesets of the catalogue that a row shows. @param {Row} row @returns {string[]} */
export function shownIn(row) {
  if (row.kind === 'signal') return [row.uid];
  return row.kind === 'pair' ? [row.predicted, row.observed] : [];
}

/**
 * Adds a tileset: into the row of its counterpart where that stands alone, else with its counterpart as a new row.
 *
 * @param {Row[]} rows @param {string} uid @param {Catalogue} catalogue
 * @returns {Row[]}
 */
export function withTileset(rows, uid, catalogue) {
  const tileset = catalogue.get(uid);
  if (!tileset || rows.some((row) => shownIn(row).includes(uid))) return rows;
  // Where several would fit, the counterpart comes only when it is asked for.
  const pair = tileset.pair && tileset.pair_confidence !== 'ambiguous' ? catalogue.get(tileset.pair) : undefined;
  if (!pair) return [...rows, signalRow(tileset)];
  const alone = rows.findIndex((row) => row.kind === 'signal' && row.uid === pair.uuid);
  return alone < 0 ? [...rows, pairRow(tileset, pair)] : rows.with(alone, pairRow(tileset, pair));
}

/**
 * What a row that shows one tileset alone could show besides: what was measured, or what was predicted.
 *
 * @param {Row} row @param {Row[]} rows @param {Catalogue} catalogue
 * @returns {PairRow | null}
 */
export function offered(row, rows, catalogue) {
  const tileset = row.kind === 'signal' ? catalogue.get(row.uid) : undefined;
  const pair = tileset?.pair ? catalogue.get(tileset.pair) : undefined;
  const both = tileset && pair ? pairRow(tileset, pair) : null;
  return both && rows.some(({ id }) => id === both.id) ? null : both;
}

/**
 * Takes a tileset away; its counterpart stays.
 *
 * @param {Row[]} rows @param {string} uid @param {Catalogue} catalogue
 * @returns {Row[]}
 */
export function withoutTileset(rows, uid, catalogue) {
  return rows.flatMap((row) => {
    if (!shownIn(row).includes(uid)) return [row];
    const rest = shownIn(row).filter((other) => other !== uid).map((other) => catalogue.get(other)).filter((other) => other !== undefined);
    return rest.map(signalRow);
  });
}

/**
 * Puts an effect's rows under the genes, in the place of what an earlier one showed.
 *
 * @param {Row[]} rows @param {Row[]} added
 * @returns {Row[]}
 */
export function withEffect(rows, added) {
  const rest = rows.filter((row) => !isEffect(row));
  const place = rest.findIndex((row) => row.kind !== 'genes');
  return rest.toSpliced(place < 0 ? rest.length : place, 0, ...added);
}

/** Adds one more track of the effect that is shown, below its others. @param {Row[]} rows @param {Row[]} added */
export function withEffectTrack(rows, added) {
  if (rows.some((row) => row.id === added[0].id) && rows.some((row) => row.id === added[1].id)) return rows;
  const shown = [...rows.filter((row) => isEffect(row) && !added.some((other) => other.id === row.id)), ...added];
  return withEffect(rows, shown);
}

/** Puts what each base does below the effect's rows, in the place of what was shown before. @param {Row[]} rows @param {Row[]} added */
export const withBases = (rows, added) => withEffect(rows, [...rows.filter((row) => isEffect(row) && !isBases(row)), ...added]);

/** Assays that catalogues write in capitals. */
const ASSAYS = { CHIP: 'ChIP', DNASE: 'DNase', MNASE: 'MNase' };

/** @param {string} assay */
export const assayName = (assay) => ASSAYS[assay] ?? assay;

/**
 * What a track is known by: what was bound or opened, and where.
 *
 * @param {{name: string, target?: string | null, assay?: string | null, biosample?: string | null, strand?: string | null}} track
 * @returns {{what: string, where: string}}
 */
export function nameOf({ name, target, assay, biosample, strand }) {
  const what = target || (assay && assayName(assay));
  if (!what) return { what: name, where: '' };
  const side = { '+': ' (+)', '-': ' (−)' }[strand ?? ''] ?? '';
  return biosample ? { what, where: biosample + side } : { what: what + side, where: '' };
}

/** @param {Parameters<typeof nameOf>[0]} track */
export const titleOf = (track) => [nameOf(track).what, nameOf(track).where].filter(Boolean).join(' · ');

const SHORT = 18; // letters of a title beside a track

/** A title as bold and quiet words: what alone is bold, unless there is room for where as well. @param {string} title @returns {[string, string]} */
export function parted(title) {
  const [what, ...where] = title.split(' · ');
  return title.length <= SHORT ? [title, ''] : [what, where.join(' · ')];
}

/**
 * What stands beside a row: its name, its place where that has not found room in the name, and what is drawn.
 *
 * @param {Row} row @param {Catalogue} catalogue @param {{models: Map<string, string>, assembly: string}} names
 * @returns {{title: string, place: string, role: string, why?: string | null}} why: what makes two tilesets a pair
 */
export function describe(row, catalogue, names) {
  const model = (/** @type {string} */ uid) => {
    const id = catalogue.get(uid)?.model;
    // With one model only, its name stands in the header and says nothing here.
    return id && names.models.size > 1 ? ` · ${names.models.get(id) ?? id}` : '';
  };
  const titled = (/** @type {string} */ full, /** @type {string} */ role) => {
    const [title, place] = parted(full);
    return { title, place, role };
  };
  switch (row.kind) {
    case 'genes': return titled('Genes', names.assembly);
    case 'sequence': return titled('Sequence', '');
    case 'pair': {
      const { pair, pair_reason: reason, pair_confidence: confidence } = catalogue.get(row.predicted) ?? {};
      const measured = pair === row.observed && confidence === 'ambiguous' ? 'one of several measured' : 'measured';
      return { ...titled(row.title, `predicted over ${measured}${model(row.predicted)}`), why: pair === row.observed ? reason : null };
    }
    case 'signal': return titled(row.title, row.role === 'predicted'
      ? `predicted${model(row.uid)}`
      : ['measured', catalogue.get(row.uid)?.accession].filter(Boolean).join(' · '));
    case 'alleles': return titled(row.title, 'REF and ALT');
    case 'delta': return titled(row.title, 'Δ = ALT − REF');
    case 'logo': return titled(row.title, 'importance of each base');
    case 'map': return titled(row.title, 'Δ by each other base');
    case 'pending': return titled('Effect', 'REF, ALT and Δ');
    default: return titled(row.track.options?.name ?? row.track.tilesetUid ?? row.track.type, '');
  }
}
