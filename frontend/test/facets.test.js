import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counts, filter } from '../src/facets.js';

const tileset = (uuid, kind, assay, biosample) => ({ uuid, kind, assay, biosample, name: `${assay} ${biosample}`, datatype: 'vector' });
const all = [
  tileset('1', 'predicted', 'DNase', 'K562'), tileset('2', 'observed', 'DNase', 'K562'), tileset('3', 'predicted', 'DNase', 'HepG2'),
  tileset('4', 'predicted', 'CAGE', 'K562'),
];
const choice = (entries) => new Map(Object.entries(entries).map(([key, values]) => [key, new Set(values)]));
const uuids = (tilesets) => tilesets.map(({ uuid }) => uuid).join('');

test('any value within a facet, all facets together, all words', () => {
  assert.equal(uuids(filter(all, '', choice({}))), '1234');
  assert.equal(uuids(filter(all, '', choice({ assay: ['DNase'], kind: ['predicted'] }))), '13');
  assert.equal(uuids(filter(all, '', choice({ assay: ['DNase', 'CAGE'], biosample: ['K562'] }))), '124');
  assert.equal(uuids(filter(all, 'k562 dna', choice({}))), '12');
});

test('counts say what each value would leave, its own facet aside', () => {
  assert.deepEqual(counts(all, '', choice({ assay: ['CAGE'] }), 'assay'), [['DNase', 3], ['CAGE', 1]]);
  assert.deepEqual(counts(all, '', choice({ assay: ['CAGE'] }), 'biosample'), [['K562', 1]]);
});

test('a chosen value stays, even at none', () => {
  assert.deepEqual(counts(all, 'hepg2', choice({ assay: ['CAGE'] }), 'assay'), [['DNase', 1], ['CAGE', 0]]);
});
