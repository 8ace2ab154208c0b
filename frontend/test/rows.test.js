import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe, effectRows, genesRow, offered, pairRow, readEffectUid, sequenceRow, signalRow, titleOf, withEffect, withEffectTrack, withoutTileset, withTileset } from '../src/rows.js';
import { effectIn, fromViewconf, layout, scaled, signalsIn, totalHeight, toViewconf, VIEW } from '../src/viewconf.js';

const tileset = (uuid, kind, pair = null, more = {}) => ({ uuid, kind, pair, name: uuid, datatype: 'vector', coordSystem: 'demo', assay: 'DNase', biosample: 'K562', ...more });
const catalogue = new Map([
  tileset('p1', 'predicted', 'o1'), tileset('o1', 'observed', 'p1'), tileset('p2', 'predicted'), tileset('o3', 'observed'),
].map((each) => [each.uuid, each]));
const get = (uid) => catalogue.get(uid);
const assembly = { name: 'demo', length: 3600, chromsizes: [['a', 3600]], chromsizes_uid: 'chromsizes-demo', genes_uid: 'genes-demo', has_sequence: true };
const palette = Object.fromEntries(['bg', 'panel', 'ink', 'dim', 'rule', 'pred', 'obs', 'ref', 'alt', 'up', 'down', 'gene', 'mark', 'base-a', 'base-c', 'base-g', 'base-t'].map((name) => [name, `#${name}`]));
const track = (index) => ({ index, name: 'GATA1 K562', target: 'GATA1', biosample: 'K562' });
const ids = (rows) => rows.map(({ id }) => id);

test('a name is what and where, with its strand', () => {
  assert.equal(titleOf({ name: 'x', target: 'GATA1', assay: 'TF ChIP', biosample: 'K562' }), 'GATA1 · K562');
  assert.equal(titleOf({ name: 'x', assay: 'CAGE', biosample: 'K562', strand: '-' }), 'CAGE · K562 (−)');
  assert.equal(titleOf({ name: 'anything' }), 'anything');
});

test('a long name is bold only in what it is', () => {
  const says = (more) => describe(signalRow(tileset('p1', 'predicted', null, more)), catalogue, { models: new Map([['m', 'M']]), assembly: 'demo' });
  assert.deepEqual(says({ target: 'GATA1' }), { title: 'GATA1 · K562', place: '', role: 'predicted' });
  assert.deepEqual(says({ assay: 'DNASE', biosample: 'erythroid-like (synthetic)' }), { title: 'DNase', place: 'erythroid-like (synthetic)', role: 'predicted' });
});

test('a pair says what makes it one, and where others would have fitted as well', () => {
  const says = (more) => {
    const [predicted, observed] = [tileset('p', 'predicted', 'o', { pair_reason: 'same assay', ...more }), tileset('o', 'observed', 'p')];
    return describe(pairRow(predicted, observed), new Map([['p', predicted], ['o', observed]]), { models: new Map(), assembly: 'demo' });
  };
  assert.deepEqual(says({ pair_confidence: 'likely' }), { title: 'DNase · K562', place: '', role: 'predicted over measured', why: 'same assay' });
  assert.equal(says({ pair_confidence: 'ambiguous' }).role, 'predicted over one of several measured');
  assert.equal(says({ pair_confidence: 'ambiguous', pair: 'other' }).why, null);
});

test('a tileset comes with its counterpart, once', () => {
  const rows = withTileset([], 'o1', catalogue);
  assert.deepEqual(rows, [pairRow(get('p1'), get('o1'))]);
  assert.equal(withTileset(rows, 'p1', catalogue), rows);
  assert.deepEqual(ids(withTileset(rows, 'p2', catalogue)), ['pair-p1', 'signal-p2']);
});

test('half a pair stays when the other half goes, and becomes a pair again', () => {
  const half = withoutTileset(withTileset([], 'p1', catalogue), 'o1', catalogue);
  assert.deepEqual(half, [signalRow(get('p1'))]);
  assert.deepEqual(withTileset(half, 'o1', catalogue), [pairRow(get('p1'), get('o1'))]);
  assert.deepEqual(withoutTileset(half, 'p1', catalogue), []);
});

test('where several would fit, the counterpart waits to be asked for', () => {
  const unsure = new Map([tileset('p', 'predicted', 'o', { pair_confidence: 'ambiguous' }), tileset('o', 'observed', 'p', { pair_confidence: 'ambiguous' })].map((each) => [each.uuid, each]));
  const rows = withTileset([], 'p', unsure);
  assert.deepEqual(ids(rows), ['signal-p']);
  const both = pairRow(unsure.get('p'), unsure.get('o'));
  assert.deepEqual(offered(rows[0], rows, unsure), both);
  assert.deepEqual(offered(signalRow(unsure.get('o')), [], unsure), both);
  assert.equal(offered(signalRow(unsure.get('o')), [both], unsure), null);
  assert.equal(offered(both, [both], unsure), null);
  assert.equal(offered(signalRow(get('p2')), [], catalogue), null);
});

test('an effect stands under the genes, in the place of the one before', () => {
  const rows = [genesRow('g'), signalRow(get('p2'))];
  const first = withEffect(rows, effectRows('aa', track(3), 1));
  assert.deepEqual(ids(first), ['genes', 'fx-aa-3-alleles', 'fx-aa-3-delta', 'signal-p2']);
  assert.deepEqual(ids(withEffect(first, effectRows('bb', track(4), 1))), ['genes', 'fx-bb-4-alleles', 'fx-bb-4-delta', 'signal-p2']);
  assert.deepEqual(withEffect(first, []), rows);
});

test('the letters stand under the genes, and under an effect that is shown', () => {
  const rows = [genesRow('g'), sequenceRow('sequence-demo'), signalRow(get('p2'))];
  assert.deepEqual(ids(withEffect(rows, effectRows('aa', track(3), 1))), ['genes', 'fx-aa-3-alleles', 'fx-aa-3-delta', 'sequence', 'signal-p2']);
});

test('the colours of the letters are in the order of the rows of their tiles: A, T, G, C', () => {
  const screen = toViewconf(state, palette, { screen: true });
  const { options } = screen.views[0].tracks.top.find(({ type }) => type === 'horizontal-sequence');
  assert.deepEqual(options.colorScale.slice(0, 4), ['#base-a', '#base-t', '#base-g', '#base-c']);
});

test('one more track of an effect goes below its others, whole', () => {
  const [alleles, delta] = effectRows('aa', track(3), 1);
  const more = effectRows('aa', track(5), 1);
  assert.deepEqual(ids(withEffectTrack([alleles, delta], more)), [...ids([alleles, delta]), ...ids(more)]);
  assert.deepEqual(ids(withEffectTrack([alleles], [alleles, delta])), ids([alleles, delta]));
});

test('an effect is known by the uids of its tilesets', () => {
  assert.deepEqual(readEffectUid('fx-0a1b-12-delta'), { effect: '0a1b', track: 12, part: 'delta' });
  assert.equal(readEffectUid('pred-1'), null);
});

const rows = [genesRow('genes-demo'), ...effectRows('0a1b', track(3), 4.1), sequenceRow('sequence-demo'), pairRow(get('p1'), get('o1')), signalRow(get('p2')), signalRow(get('o3'))];
const state = { rows, domain: [1000, 2000], assembly, marks: [1500.5] };

test('what a link stores reads back as the same rows', () => {
  const read = fromViewconf(JSON.parse(JSON.stringify(toViewconf(state, palette))), catalogue);
  assert.deepEqual(read, { rows, domain: [1000, 2000], chromsizes: 'chromsizes-demo', shapes: false });
  assert.equal(effectIn(read.rows), '0a1b');
});

test('so does what HiGlass has made of it: absolute addresses, more options', () => {
  const viewconf = toViewconf(state, palette);
  const absolute = (each) => { if (each.server) each.server = 'http://localhost/api/v1'; each.contents?.forEach(absolute); };
  viewconf.views[0].tracks.top.forEach(absolute);
  assert.deepEqual(fromViewconf(viewconf, catalogue).rows, rows);
});

test('the screen leaves room for what the page writes, a link does not', () => {
  const screen = toViewconf(state, palette, { screen: true });
  const link = toViewconf(state, palette);
  const types = (viewconf) => viewconf.views[0].tracks.top.map(({ type }) => type);
  assert.equal(types(screen).filter((type) => type === 'empty').length, rows.length + 1);
  assert.deepEqual(types(link), ['chromosome-labels', 'gene-annotations', 'combined', 'divergent-bar', 'multivec', 'combined', 'line', 'bar']);
  assert.equal(link.views[0].tracks.whole[0].x, 1500.5);
  assert.equal(link.views[0].options, undefined);
});

test('what is drawn in a row shares one scale from zero; a difference is symmetric', () => {
  const viewconf = toViewconf(state, palette, { screen: true });
  const { locksByViewUid, locksDict } = viewconf.valueScaleLocks;
  for (const row of rows) {
    const locks = new Set(scaled(row).map((uid) => locksByViewUid[`${VIEW}.${uid}`]));
    assert.ok(locks.size <= 1 && !locks.has(undefined));
    for (const uid of scaled(row)) assert.deepEqual(locksDict[[...locks][0]][`${VIEW}.${uid}`], { view: VIEW, track: uid });
  }
  const tracks = viewconf.views[0].tracks.top.flatMap((each) => each.contents ?? [each]);
  for (const { type, options } of tracks) if (type === 'bar' || type === 'line') assert.equal(options.valueScaleMin, 0);
  const delta = tracks.find(({ type }) => type === 'divergent-bar').options;
  assert.deepEqual([delta.valueScaleMin, delta.valueScaleMax], [-4.1, 4.1]);
});

test('shapes are compared on scales of their own, in a link too', () => {
  const tops = (uid) => (uid.endsWith('observed') ? 12.5 : 0.8);
  const link = JSON.parse(JSON.stringify(toViewconf({ ...state, tops }, palette)));
  const [bars, line] = link.views[0].tracks.top.find(({ uid }) => uid === 'pair-p1').contents;
  assert.deepEqual([bars.options.valueScaleMax, line.options.valueScaleMax], [12.5, 0.8]);
  assert.deepEqual(Object.keys(link.valueScaleLocks.locksByViewUid).filter((uid) => uid.includes('pair')), []);
  assert.deepEqual(fromViewconf(link, catalogue), { rows, domain: [1000, 2000], chromsizes: 'chromsizes-demo', shapes: true });
});

test('the tilesets that a view draws as signals', () => {
  assert.deepEqual(signalsIn(toViewconf(state, palette)), ['o1', 'p1', 'p2', 'o3']);
  assert.deepEqual(signalsIn(null), []);
});

test('the heights of the tracks fill the canvas to less than one line of the grid', () => {
  for (const compact of [false, true]) {
    const tracks = toViewconf(state, palette, { screen: true, compact }).views[0].tracks.top.reduce((sum, { height }) => sum + height, 0);
    const total = totalHeight(rows, compact);
    assert.ok(total % 12 === 0 && total - tracks >= 0 && total - tracks < 12);
    assert.equal(layout(rows, compact).length, rows.length);
  }
});

test('views that were made elsewhere', () => {
  const heatmap = { views: [{ uid: 'v', initialXDomain: [0, 1], tracks: { top: [], center: [{ type: 'heatmap' }] } }] };
  assert.equal(fromViewconf(heatmap, catalogue), null);
  assert.equal(fromViewconf({ views: [{}, {}] }, catalogue), null);
  assert.equal(fromViewconf(null, catalogue), null);
  const foreign = { type: 'horizontal-bar', uid: 'x', server: 'https://higlass.io/api/v1', tilesetUid: 'abc', height: 40, options: { name: 'Hi-C' } };
  const view = { uid: 'v', initialXDomain: [0, 1], tracks: { top: [foreign] } };
  assert.deepEqual(fromViewconf({ views: [view] }, catalogue).rows, [{ kind: 'other', id: 'x', track: foreign }]);
});
