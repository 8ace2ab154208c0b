import assert from 'node:assert/strict';
import { test } from 'node:test';
import { valuesOf, wanted } from '../src/facets.js';

const choice = (entries) => new Map(Object.entries(entries).map(([key, values]) => [key, new Set(values)]));

test('the server is asked for the words, what is chosen and the assembly', () => {
  assert.deepEqual(wanted(' dnase k562 ', choice({ assay: ['DNASE', 'ATAC'], target: [] }), 'hg38'), {
    ac: 'dnase k562', assay: ['DNASE', 'ATAC'], assembly: 'hg38', dt: 'vector',
  });
  assert.deepEqual(wanted(' ', choice({}), 'hg38'), { assembly: 'hg38', dt: 'vector' });
});

const found = { count: 3, facets: { assay: [{ value: 'DNASE', count: 2 }, { value: 'CAGE', count: 1 }] }, more: {} };

test('values come in the order of the server, a chosen one stays at none', () => {
  assert.deepEqual(valuesOf(found, choice({}), 'assay'), [['DNASE', 2], ['CAGE', 1]]);
  assert.deepEqual(valuesOf(found, choice({ assay: ['ATAC', 'CAGE'] }), 'assay'), [['DNASE', 2], ['CAGE', 1], ['ATAC', 0]]);
  assert.deepEqual(valuesOf(found, choice({}), 'source'), []);
});
