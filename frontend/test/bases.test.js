import assert from 'node:assert/strict';
import { test } from 'node:test';
import { basesRows, withBases, withEffect } from '../src/rows.js';
import { fromViewconf, toViewconf } from '../src/viewconf.js';

const palette = Object.fromEntries(['bg', 'ink', 'dim', 'mark', 'up', 'down', 'gene', 'ref', 'alt', 'pred', 'obs', 'base-a', 'base-c', 'base-g', 'base-t'].map((name) => [name, `#${name}`]));
const assembly = { name: 'tiny', chromsizes: [['chrA', 70000]], chromsizes_uid: 'chromsizes-tiny' };
const found = {
  id: '0123456789abcdef0123', tracks: [{ index: 7, name: 'DNase', assay: 'DNASE', biosample: 'K562', importance: [0.5, null, -0.04, 0], strongest: { score: -1.234 } }],
};
const genes = { kind: 'genes', id: 'genes', uid: 'genes-tiny' };
const delta = { kind: 'delta', id: 'fx-abc-7-delta', effect: 'abc', track: 7, title: 'DNase · K562', max: 1 };
const sequence = { kind: 'sequence', id: 'sequence', uid: 'sequence-tiny' };

test('a logo has more room above its line than below, a map as much', () => {
  const [logo, map] = basesRows(found);
  assert.deepEqual([logo.kind, logo.min, logo.max], ['logo', -0.1, 0.5]);
  assert.deepEqual([map.kind, map.min, map.max], ['map', -1.3, 1.3]);
  assert.equal(logo.title, 'DNase · K562');
});

test('they stand below the effect, once, and leave with it', () => {
  const rows = withBases([genes, delta, sequence], basesRows(found));
  assert.deepEqual(rows.map(({ kind }) => kind), ['genes', 'delta', 'logo', 'map', 'sequence']);
  assert.deepEqual(withBases(rows, basesRows(found)), rows);
  assert.deepEqual(withEffect(rows, []), [genes, sequence]);
});

test('a link says them in tracks that every HiGlass has, and they are read back', () => {
  const rows = [genes, ...basesRows(found)];
  const conf = toViewconf({ rows, domain: [0, 100], assembly, marks: [] }, palette);
  const tracks = conf.views[0].tracks.top.slice(2);
  assert.deepEqual(tracks.map(({ type }) => type), ['divergent-bar', 'horizontal-multivec']);
  assert.deepEqual(tracks.map(({ tilesetUid }) => tilesetUid.split('-').pop()), ['importance', 'map']);
  assert.deepEqual(fromViewconf(conf, new Map()).rows, rows);
});

test('on the screen the logo is letters', () => {
  const [logo] = toViewconf({ rows: basesRows(found), domain: [0, 100], assembly, marks: [] }, palette, { screen: true })
    .views[0].tracks.top.filter(({ type }) => type !== 'empty');
  assert.equal(logo.type, 'horizontal-sequence');
  assert.deepEqual([logo.options.letters, logo.options.tallest, logo.options.deepest], ['ACGT', 0.5, 0.1]);
});
