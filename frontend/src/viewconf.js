import { SERVER } from './api.js';
import { basesUid, effectUid, genesRow, readBasesUid, readEffectUid, sequenceRow } from './rows.js';

/**
 * @typedef {import('./rows.js').Row} Row
 * @typedef {import('./theme.js').Palette} Palette
 * @typedef {(track: string) => number | undefined} Tops  the end of a track's own scale; none before it has data
 */

export const VIEW = 'view';
export const AXIS = 'axis';

/** How the uid of an assembly's bases begins. */
export const SEQUENCE = 'sequence-';

/** Track heights in pixels; a pending effect holds the place of one REF/ALT and Δ pair. */
const HEIGHTS = { genes: 62, sequence: 16, signal: 60, pair: 68, alleles: 60, delta: 46, logo: 54, map: 52, pending: 110, other: 60 };
const AXIS_HEIGHT = 28;

/**
 * The room above a row: between rows at a desk, on a phone a line for the row's name and two for a pair's figures. A Δ stays close to its alleles, and
 * the letters to what stands above them.
 *
 * @param {Row[]} rows @param {number} index @param {boolean} compact
 */
function gapAbove(rows, index, compact) {
  const [row, before] = [rows[index], rows[index - 1]];
  if (row.kind === 'sequence') return 8;
  const below = { delta: 'alleles', map: 'logo' }[row.kind];
  const tight = Boolean(below) && before?.kind === below && before.track === row.track;
  if (compact) return { pair: 60 }[row.kind] ?? (tight ? 22 : 30);
  return tight ? 4 : 17;
}

/** @param {Row} row */
export const heightOf = (row) => (row.kind === 'other' ? row.track.height ?? HEIGHTS.other : HEIGHTS[row.kind]);

/**
 * Where rows lie, top to bottom, before HiGlass has drawn them.
 *
 * @param {Row[]} rows @param {boolean} compact
 * @returns {{row: Row, gap: number, height: number}[]}
 */
export const layout = (rows, compact) => rows.map((row, index) => ({ row, gap: gapAbove(rows, index, compact), height: heightOf(row) }));

/**
 * HiGlass lays its views out on a grid of twelve lines of whole pixels: a height that twelve does not divide would
 * move the tracks.
 *
 * @param {Row[]} rows @param {boolean} compact
 */
export const totalHeight = (rows, compact) => Math.ceil(layout(rows, compact).reduce((sum, { gap, height }) => sum + gap + height, AXIS_HEIGHT) / 12) * 12;

/**
 * The viewconf of the page's state. For the screen, the axis and the room between rows are left empty, as the page
 * writes on them itself; for a link, it is plain HiGlass that any viewer can show.
 *
 * @param {{rows: Row[], domain: [number, number], assembly: import('./genome.js').Assembly, marks: number[], tops?: Tops | null}} state
 *   marks: places on the axis of all chromosomes; tops: where shapes are compared, the end of each track's own scale
 * @param {Palette} palette
 * @param {{screen?: boolean, compact?: boolean}} [how]
 */
export function toViewconf({ rows, domain, assembly, marks, tops = null }, palette, { screen = false, compact = false } = {}) {
  const shown = screen ? rows : rows.filter((row) => row.kind !== 'pending');
  const write = (/** @type {Row} */ row) => trackOf(row, palette, screen, tops);
  const top = screen
    ? [empty(AXIS, AXIS_HEIGHT), ...layout(shown, compact).flatMap(({ row, gap }) => [empty(`gap-${row.id}`, gap), write(row)])]
    : [axisTrack(assembly, palette), ...shown.map(write)];
  const view = {
    uid: VIEW,
    initialXDomain: domain.map(Math.round),
    layout: { x: 0, y: 0, w: 12, h: 12 },
    tracks: {
      top,
      ...(!screen && marks.length && { whole: marks.map((x, index) => ({ type: 'vertical-rule', uid: `mark-${index}`, x, options: { color: palette.mark } })) }),
    },
    // Outside HiGlass's schema, hence not in links: without it the background is white in both themes.
    ...(screen && { options: { backgroundColor: palette.bg } }),
  };
  return {
    editable: false,
    zoomFixed: false,
    trackSourceServers: [SERVER],
    exportViewUrl: `${SERVER}/viewconfs/`,
    views: [view],
    valueScaleLocks: locksOf(tops ? shown.filter(({ kind }) => kind !== 'pair') : shown),
  };
}

/** @param {string} uid @param {number} height */
const empty = (uid, height) => ({ type: 'empty', uid, height, options: {} });

/** @param {import('./genome.js').Assembly} assembly @param {Palette} palette */
const axisTrack = (assembly, palette) => ({
  type: 'chromosome-labels', uid: AXIS, server: SERVER, tilesetUid: assembly.chromsizes_uid, height: AXIS_HEIGHT,
  options: { color: palette.dim, stroke: palette.bg, tickColor: palette.mark, fontSize: 11, tickPositions: 'even', tickFormat: 'plain' },
});

/** @param {Row} row @param {Palette} palette @param {boolean} screen @param {Tops | null} tops */
function trackOf(row, palette, screen, tops) {
  const height = heightOf(row);
  const track = (/** @type {string} */ type, /** @type {string} */ uid, /** @type {string} */ tilesetUid, /** @type {object} */ options) => ({
    type, uid, server: SERVER, tilesetUid, height,
    options: { labelPosition: 'hidden', axisPositionHorizontal: 'hidden', ...options },
  });
  const bar = (/** @type {string} */ uid, /** @type {string} */ tileset, /** @type {string} */ colour, /** @type {object} */ more) =>
    track('bar', uid, tileset, { barFillColor: colour, barOpacity: 1, valueScaleMin: 0, ...more });
  const line = (/** @type {string} */ uid, /** @type {string} */ tileset, /** @type {string} */ colour, /** @type {object} */ more) =>
    track('line', uid, tileset, { lineStrokeColor: colour, lineStrokeWidth: 1.5, valueScaleMin: 0, ...more });
  const own = (/** @type {string} */ uid) => (tops ? { valueScaleMax: tops(uid) ?? 1 } : {});
  const named = (/** @type {string} */ name) => ({ name, ...(!screen && { labelPosition: 'topLeft', labelColor: palette.ink, labelBackgroundOpacity: 0 }) });
  switch (row.kind) {
    case 'genes':
      return track('gene-annotations', row.id, row.uid, {
        name: 'Genes', plusStrandColor: palette.gene, minusStrandColor: palette.gene, labelBackgroundColor: palette.bg, fontSize: 11,
        geneAnnotationHeight: 11, geneStrandSpacing: 3,
      });
    case 'sequence':
      // In a link it is a track that every HiGlass has, a row for each letter.
      return screen
        ? track('horizontal-sequence', row.id, row.uid, { colorScale: ['a', 't', 'g', 'c'].map((base) => palette[`base-${base}`]).concat(palette.mark) })
        : { ...track('multivec', row.id, row.uid, { ...named('Sequence: A T G C'), ...LETTER_ROWS, colorRange: [palette.bg, palette.ink] }), height: 48 };
    case 'signal':
      return row.role === 'predicted'
        ? line(row.id, row.uid, palette.pred, named(row.title))
        : bar(row.id, row.uid, palette.obs, named(row.title));
    case 'pair':
      return {
        type: 'combined', uid: row.id, height, contents: [
          bar(`${row.id}-observed`, row.observed, palette.obs, { name: row.title, ...own(`${row.id}-observed`) }),
          line(`${row.id}-predicted`, row.predicted, palette.pred, { ...named(row.title), ...own(`${row.id}-predicted`) }),
        ],
      };
    case 'alleles':
      return {
        type: 'combined', uid: row.id, height, contents: [
          bar(`${row.id}-ref`, effectUid(row.effect, row.track, 'ref'), palette.ref, { name: row.title }),
          line(`${row.id}-alt`, effectUid(row.effect, row.track, 'alt'), palette.alt, named(row.title)),
        ],
      };
    case 'delta':
      return track('divergent-bar', row.id, effectUid(row.effect, row.track, 'delta'), {
        barFillColorTop: palette.up, barFillColorBottom: palette.down, barOpacity: 1, valueScaleMin: -row.max, valueScaleMax: row.max, ...named(row.title),
      });
    case 'logo': {
      const colorScale = ['a', 'c', 'g', 't'].map((base) => palette[`base-${base}`]);
      const bars = { barFillColorTop: palette.up, barFillColorBottom: palette.down, barOpacity: 1, valueScaleMin: row.min, valueScaleMax: row.max };
      return screen
        ? track('horizontal-sequence', row.id, basesUid(row.mutagenesis, row.track, 'logo'), { colorScale, letters: 'ACGT', tallest: row.max, deepest: -row.min })
        : track('divergent-bar', row.id, basesUid(row.mutagenesis, row.track, 'importance'), { ...bars, ...named(row.title) });
    }
    case 'map':
      return track('horizontal-multivec', row.id, basesUid(row.mutagenesis, row.track, 'map'), {
        colorRange: [palette.down, palette.bg, palette.up], valueScaleMin: row.min, valueScaleMax: row.max, heatmapValueScaling: 'linear', colorbarPosition: 'hidden',
        labelShowAssembly: false, labelShowResolution: false, ...named(screen ? row.title : `${row.title}: A C G T`),
      });
    case 'pending': return empty(row.id, height);
    default: return row.track;
  }
}

const LETTER_ROWS = {
  selectRows: [0, 1, 2, 3], selectRowsAggregationMethod: 'client', valueScaleMin: 0, valueScaleMax: 1, heatmapValueScaling: 'linear', colorbarPosition: 'hidden',
  labelShowAssembly: false, labelShowResolution: false,
};

/** The tracks of a row that a scale belongs to. @param {Row} row @returns {string[]} */
export function scaled(row) {
  switch (row.kind) {
    case 'signal': return [row.id];
    case 'pair': return [`${row.id}-observed`, `${row.id}-predicted`];
    case 'alleles': return [`${row.id}-ref`, `${row.id}-alt`];
    default: return [];
  }
}

/**
 * One lock per row, so that what is drawn in a row shares a scale. A track alone is locked with itself: HiGlass
 * rescales a track to what is in view only while its scale is wholly free or locked, and ours starts at a fixed 0.
 *
 * @param {Row[]} rows
 */
function locksOf(rows) {
  const locksByViewUid = {};
  const locksDict = {};
  for (const row of rows) {
    const tracks = scaled(row);
    if (!tracks.length) continue;
    const lock = `scale-${row.id}`;
    locksDict[lock] = { uid: lock, ignoreOffScreenValues: true };
    for (const track of tracks) {
      locksByViewUid[`${VIEW}.${track}`] = lock;
      locksDict[lock][`${VIEW}.${track}`] = { view: VIEW, track };
    }
  }
  return { locksByViewUid, locksDict };
}

/**
 * Reads rows back. A view with more than one panel, or with tracks elsewhere than on top, is not one of ours: it gets
 * null, and is shown as it is.
 *
 * @param {any} viewconf
 * @param {import('./rows.js').Catalogue} catalogue
 * @returns {{rows: Row[], domain: [number, number], chromsizes: string | null, shapes: boolean} | null}
 *   shapes: whether pairs are drawn each on a scale of its own
 */
export function fromViewconf(viewconf, catalogue) {
  const view = viewconf?.views?.length === 1 ? viewconf.views[0] : null;
  const elsewhere = ['left', 'right', 'center', 'bottom', 'gallery'].some((side) => view?.tracks?.[side]?.length);
  if (!view?.tracks?.top?.length || elsewhere || !view.initialXDomain) return null;
  const top = view.tracks.top.filter((/** @type {any} */ track) => track.type !== 'empty');
  const isAxis = (/** @type {any} */ track) => track.type.endsWith('chromosome-labels');
  return {
    rows: top.filter((/** @type {any} */ track) => !isAxis(track)).map((/** @type {any} */ track, /** @type {number} */ index) => readTrack(track, catalogue, index)),
    domain: view.initialXDomain.map(Number),
    chromsizes: top.find(isAxis)?.tilesetUid ?? null,
    shapes: top.some((/** @type {any} */ track) => track.type === 'combined' && track.contents.every((/** @type {any} */ part) => part.options?.valueScaleMax !== undefined)),
  };
}

/** The tilesets of the catalogue that a view draws as signals. @param {any} viewconf @returns {string[]} */
export const signalsIn = (viewconf) => (viewconf?.views ?? []).flatMap((/** @type {any} */ view) => view.tracks?.top ?? [])
  .flatMap((/** @type {any} */ track) => track.contents ?? [track])
  .filter((/** @type {any} */ track) => /(bar|line)$/.test(track.type ?? '') && isHere(track) && !readEffectUid(track.tilesetUid) && !readBasesUid(track.tilesetUid))
  .map((/** @type {any} */ track) => track.tilesetUid);

/** @param {any} track @param {import('./rows.js').Catalogue} catalogue @param {number} index @returns {Row} */
function readTrack(track, catalogue, index) {
  const other = /** @type {const} */ ({ kind: 'other', id: track.uid ?? `other-${index}`, track: { uid: `other-${index}`, ...track } });
  const parts = track.type === 'combined' ? track.contents : [track];
  if (!parts.every(isHere)) return other;
  const [first, second] = parts;
  const title = first.options?.name ?? first.tilesetUid;
  const effect = readEffectUid(first.tilesetUid);
  if (track.type === 'combined') {
    if (parts.length !== 2 || !first.type.endsWith('bar') || !second.type.endsWith('line')) return other;
    return effect
      ? { kind: 'alleles', id: track.uid, effect: effect.effect, track: effect.track, title }
      : { kind: 'pair', id: track.uid, observed: first.tilesetUid, predicted: second.tilesetUid, title };
  }
  if (track.type.endsWith('gene-annotations')) return genesRow(track.tilesetUid);
  if (first.tilesetUid.startsWith(SEQUENCE) && /(multivec|sequence)$/.test(track.type)) return sequenceRow(track.tilesetUid);
  const bases = readBasesUid(first.tilesetUid);
  if (bases && /(divergent-bar|multivec)$/.test(track.type)) {
    const kind = bases.part === 'map' ? 'map' : 'logo';
    const { valueScaleMin: min = -1, valueScaleMax: max = 1 } = track.options ?? {};
    return { kind, id: track.uid, mutagenesis: bases.mutagenesis, track: bases.track, title: title.replace(/: A C G T$/, ''), min, max };
  }
  if (effect?.part === 'delta' && track.type.endsWith('divergent-bar')) {
    return { kind: 'delta', id: track.uid, effect: effect.effect, track: effect.track, title, max: track.options?.valueScaleMax ?? 1 };
  }
  const role = catalogue.get(first.tilesetUid)?.kind ?? (first.type.endsWith('line') ? 'predicted' : 'observed');
  return ['bar', 'line'].includes(first.type) ? { kind: 'signal', id: track.uid, uid: first.tilesetUid, role, title } : other;
}

/** Whether a track's data come from this server: HiGlass makes addresses absolute when it exports. @param {any} track */
function isHere(track) {
  if (!track.uid || !track.tilesetUid || !track.server) return false;
  const here = new URL(SERVER, globalThis.location?.href ?? 'http://localhost');
  return new URL(track.server, here).href.replace(/\/$/, '') === here.href;
}

/** The effect a view shows, if any. @param {Row[]} rows @returns {string | null} */
export function effectIn(rows) {
  const row = rows.find((each) => each.kind === 'alleles' || each.kind === 'delta');
  return row?.kind === 'alleles' || row?.kind === 'delta' ? row.effect : null;
}
